"""RDDs: distributed collections that remember how they were computed. Each base of `RDD` adds a family of methods."""

from __future__ import annotations

from typing import TypeVar

from headwater.base.hashing import portable_hash
from headwater.rdd.approximate import BoundedFloat
from headwater.rdd.hadoopsaving import HadoopOutput
from headwater.rdd.partitioner import Partitioner
from headwater.resultiterable import ResultIterable
from headwater.statcounter import StatCounter

__all__ = ["RDD", "BoundedFloat", "Partitioner", "PipelinedRDD", "ResultIterable", "StatCounter", "portable_hash"]

T = TypeVar("T")


class RDD(HadoopOutput[T]):
    """A collection of records in partitions, computed when an action asks for it and as often as it does.

    Transformations return another RDD at once; actions run a job and return its result. Made by a `SparkContext`.

    >>> words = sc.parallelize(["a b", "b"]).flatMap(str.split)
    >>> sorted(words.map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b).collect())
    [('a', 1), ('b', 2)]
    """


# PySpark's name for an RDD that was transformed; here every one is of the same class.
PipelinedRDD = RDD
