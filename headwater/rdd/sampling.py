"""Random samples of an RDD. With a seed they are the same in every run, for the same records in the same partitions."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from headwater.engine.lineage import PerPartition
from headwater.errors import IllegalArgumentException
from headwater.rdd.checks import check_int, check_not_negative
from headwater.rdd.numeric import Numeric

T = TypeVar("T")

# takeSample asks for a bit more than it needs, so that it has to try again once in ten thousand times.
_SHORTFALL_RISK = 0.00005
_POISSON_STEP = 30.0  # exp(-30) is far above the smallest float; larger means are drawn in steps


class Sampling(Numeric[T]):
    """The samples of an `RDD`."""

    def sample(self, withReplacement: bool, fraction: float, seed: int | None = None) -> Any:
        """A random sample; about `fraction` of the records, not exactly.

        Args:
            withReplacement: a record may be drawn more than once.
            fraction: how often a record is drawn on average; without replacement, the chance that it is drawn.
            seed: makes the sample repeatable; None takes another one each time.

        Raises:
            ValueError: the fraction is negative, or above 1 without replacement.

        >>> sc.parallelize(range(100), 4).sample(False, 0.1, seed=81).count() < 30
        True
        """
        check_not_negative("fraction", fraction)
        if not withReplacement and fraction > 1:
            raise IllegalArgumentException(f"fraction is {fraction}: without replacement it can't be above 1")
        draw = _sampled_with_replacement if withReplacement else _sampled
        return self._narrow(PerPartition(partial(draw, _seed(seed), fraction)), True)

    def randomSplit(self, weights: Sequence[float], seed: int | None = None) -> list[Any]:
        """RDDs among which the records are divided at random, by the weights. Each record is in exactly one.

        Raises:
            ValueError: a weight is negative, or all are 0.

        >>> low, high = sc.parallelize(range(500), 1).randomSplit([2, 3], 17)
        >>> low.count() + high.count()
        500
        """
        for weight in weights:
            check_not_negative("each weight", weight)
        total = float(sum(weights))
        if not total:
            raise IllegalArgumentException(f"the weights {weights!r} have no sum above 0 to divide the records by")
        seed = _seed(seed)
        splits, until = [], 0.0
        for number, weight in enumerate(weights, start=1):
            since = until
            # The last bound is just 1, whatever the sums were rounded to: no record may be lost.
            until = 1.0 if number == len(weights) else since + weight / total
            splits.append(self._narrow(PerPartition(partial(_drawn_between, seed, since, until)), True))
        return splits

    def takeSample(self, withReplacement: bool, num: int, seed: int | None = None) -> list[T]:
        """`num` records drawn at random, in random order; all, if there are fewer and none is drawn twice.

        Raises:
            ValueError: `num` is negative.

        >>> ten = sc.parallelize(range(10))
        >>> len(ten.takeSample(False, 5, 2)), len(ten.takeSample(True, 20, 1))
        (5, 20)
        """
        check_int("num", num)
        if num < 0:
            raise ValueError("Sample size cannot be negative.")
        total = self.count() if num else 0
        if not total:
            return []
        rng = random.Random(_seed(seed))
        if not withReplacement and num >= total:
            drawn = self.collect()
        else:
            fraction = _fraction_for(num, total, withReplacement)
            drawn = self.sample(withReplacement, fraction, rng.randrange(sys.maxsize)).collect()
            while len(drawn) < num:
                drawn = self.sample(withReplacement, fraction, rng.randrange(sys.maxsize)).collect()
        rng.shuffle(drawn)
        return drawn[:num]

    def sampleByKey(self, withReplacement: bool, fractions: Mapping[Any, float], seed: int | None = None) -> Any:
        """A random sample of pairs, with a fraction of its own for each key.

        Args:
            fractions: key -> fraction, as `sample` takes it; for each key that occurs.

        Raises:
            ValueError: a fraction is negative.

        >>> pairs = sc.parallelize(["a", "b"]).cartesian(sc.parallelize(range(1000)))
        >>> counts = pairs.sampleByKey(False, {"a": 0.2, "b": 0.0}, 2).countByKey()
        >>> 100 < counts["a"] < 300, counts["b"]
        (True, 0)
        """
        for key, fraction in fractions.items():
            check_not_negative(f"fractions[{key!r}]", fraction)
        draw = partial(_sampled_by_key, _seed(seed), withReplacement, dict(fractions))
        return self._narrow(PerPartition(draw), True)


def _seed(seed: int | None) -> int:
    return random.randrange(sys.maxsize) if seed is None else seed


def _rng(seed: int, partition: int) -> random.Random:
    """Random's seeding mixes well: neighbouring seeds and partitions give unrelated numbers."""
    return random.Random(f"{seed}/{partition}")


def _fraction_for(num: int, total: int, with_replacement: bool) -> float:
    """A fraction by which a sample of `num` records is hardly ever too small.

    With replacement several deviations of the Poisson distribution above the mean; without, by Chernoff's bound.
    """
    fraction = num / total
    if with_replacement:
        deviations = 9 if num < 12 else 5
        return fraction + deviations * math.sqrt(fraction / total)
    gamma = -math.log(_SHORTFALL_RISK) / total
    return min(1.0, fraction + gamma + math.sqrt(gamma * gamma + 2 * gamma * fraction))


def _sampled(seed: int, fraction: float, partition: int, records: Iterator[Any]) -> Iterator[Any]:
    draw = _rng(seed, partition).random
    return (record for record in records if draw() < fraction)


def _sampled_with_replacement(seed: int, mean: float, partition: int, records: Iterator[Any]) -> Iterator[Any]:
    draw = _rng(seed, partition).random
    return (record for record in records for _ in range(_poisson(mean, draw)))


def _drawn_between(seed: int, since: float, until: float, partition: int, records: Iterator[Any]) -> Iterator[Any]:
    draw = _rng(seed, partition).random
    return (record for record in records if since <= draw() < until)


def _sampled_by_key(
    seed: int, with_replacement: bool, fractions: Mapping[Any, float], partition: int, pairs: Iterator[Any]
) -> Iterator[Any]:
    draw = _rng(seed, partition).random
    for pair in pairs:
        fraction = fractions[pair[0]]
        times = _poisson(fraction, draw) if with_replacement else draw() < fraction
        for _ in range(times):
            yield pair


def _poisson(mean: float, draw: Callable[[], float]) -> int:
    """A Poisson number, by multiplying uniform ones until they fall below exp(-mean)."""
    events = 0
    while mean > 0:
        limit = math.exp(-min(mean, _POISSON_STEP))
        product = draw()
        while product > limit:
            events += 1
            product *= draw()
        mean -= _POISSON_STEP
    return events
