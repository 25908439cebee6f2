"""Output operations: what happens to the batches of a DStream outside of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from headwater.base.callables import takes_time
from headwater.base.tracebacks import call_site
from headwater.streaming.dstream.state import StateOperations
from headwater.streaming.graph.output import Output, printer
from headwater.streaming.outputs.batchoutput import BatchOutput, FunctionOutput
from headwater.streaming.outputs.fileoutputs import WithFileOutputs
from headwater.streaming.outputs.transactions import TABLE, TransactionalOutput

if TYPE_CHECKING:
    from headwater.streaming.dstream import DStream
    from headwater.streaming.pool import ConnectionPool

T_co = TypeVar("T_co", covariant=True)


class OutputOperations(StateOperations[T_co], WithFileOutputs):
    """The methods of `DStream` that make things happen. Without one of them nothing is computed.

    A batch's outputs run in the order in which they are defined, one at a time, unless
    `spark.streaming.concurrentJobs` says otherwise.
    """

    def foreachRDD(self, func: Callable[..., Any]) -> None:
        """Call a function for each batch, in order; actions in it make things happen.

        Args:
            func: `func(rdd)` or `func(time, rdd)`, called in the driver. What it raises fails this output of this
                batch: see `awaitTermination`.

        Raises:
            AssertionError: `func` takes neither one nor two arguments.

        >>> counts = []
        >>> harness.stream([["a", "b"], ["c"]]).foreachRDD(lambda rdd: counts.append(rdd.count()))
        >>> _ = harness.run(2)
        >>> counts
        [2, 1]
        """
        self._output("foreachRDD", func, with_time=takes_time(func, 1))

    def pprint(self, num: int = 10) -> None:
        """Print the first records of each batch, below its time, on the driver's standard output.

        Args:
            num: records of a batch at most; a line of `...` says that there are more.

        >>> harness.stream([["a", "b", "c"]]).pprint(2)
        >>> _ = harness.run()
        -------------------------------------------
        Time: 1970-01-12 ...
        -------------------------------------------
        a
        b
        ...
        <BLANKLINE>
        """
        self._output("pprint", printer(num), with_time=True)

    def print(self, num: int = 10) -> None:
        """`pprint`, under the name that Scala programs have for it.

        Args:
            num: records of a batch at most.

        >>> harness.stream([["a"]]).print()
        >>> _ = harness.run()
        -------------------------------------------
        Time: 1970-01-12 ...
        -------------------------------------------
        a
        <BLANKLINE>
        """
        self._output("print", printer(num), with_time=True)

    def foreachTransaction(
        self,
        connect: Callable[[], Any] | ConnectionPool[Any],
        write: Callable[..., Any],
        name: str,
        table: str = TABLE,
    ) -> None:
        """Write each batch to a database, exactly once, though tasks and batches may run twice.

        Each partition is one transaction: what `write` does, and a note of output, batch time and partition. A task
        that finds its note, of an earlier attempt or of a previous driver, writes nothing. Notes of old batches are
        removed after `headwater.streaming.output.commitRetention`.

        Args:
            connect: returns a DB-API 2.0 connection that doesn't commit by itself; called in workers. They keep
                connections from batch to batch, in a pool; a `ConnectionPool` of yours has other bounds.
            write: `write(cursor, iterator over the records)`, or with the batch time before these, called in a worker
                for each partition, empty ones too. It must not commit. What it raises undoes the partition's
                transaction, and the task is tried again.
            name: of the output: no other one that writes to this database has it, and it stays over restarts. After
                another one all batches count as not written.
            table: for the notes; it is made if it isn't there, in the database that is written to.

        Raises:
            AssertionError: `write` takes neither two nor three arguments.
            TypeError: `connect` is no function, or a name no string.
            IllegalArgumentException: `table` is no name, `name` is empty or another output's.

        >>> import sqlite3
        >>> from functools import partial
        >>> connect = partial(sqlite3.connect, f"{directory}/words.db")
        >>> _ = connect().execute("CREATE TABLE words (word TEXT)")
        >>> def write(cursor, words):
        ...     cursor.executemany("INSERT INTO words VALUES (?)", [(word,) for word in words])
        >>> harness.stream([["a", "b"]]).foreachTransaction(connect, write, "words")
        >>> _ = harness.run()
        >>> sorted(connect().execute("SELECT * FROM words"))
        [('a',), ('b',)]
        """
        retention_ms: int = self._sc.conf.read("headwater.streaming.output.commitRetention")
        with_time = takes_time(write, 2)
        sink = TransactionalOutput(
            connect, write, with_time=with_time, name=name, table=table, retention_ms=retention_ms
        )
        self._add_output("foreachTransaction", sink)

    def output(self, sink: BatchOutput) -> None:
        """Have each batch written by an output of the program's own, with what Headwater's own outputs build on.

        Args:
            sink: called in the driver, once a batch and once more whenever it runs again; see `BatchOutput`.

        Raises:
            TypeError: it is no `BatchOutput`, or its name no string.
            IllegalArgumentException: another output has its name.

        >>> from headwater.streaming import BatchOutput
        >>> class Ledger(BatchOutput):
        ...     unique_name = "ledger"
        ...     batches: dict[tuple[str, int], list[int]] = {}
        ...     def write(self, batch, rdd):
        ...         self.batches[batch.identity] = rdd.collect()  # once more is the same
        >>> harness.stream([[1, 2], [3]]).output(Ledger())
        >>> _ = harness.run(2)
        >>> list(Ledger.batches.values())
        [[1, 2], [3]]
        """
        if not isinstance(sink, BatchOutput):
            raise TypeError(
                f"output: expected a headwater.streaming.BatchOutput, got {sink!r} of type {type(sink).__name__}. A "
                "function is called with each batch by foreachRDD."
            )
        if not isinstance(sink.unique_name, str):
            raise TypeError(f"output: unique_name should be a str, got {sink.unique_name!r}")
        self._add_output("output", sink)

    def saveToKafka(
        self,
        topic: str | None,
        kafkaParams: Mapping[str, Any],
        keyEncoder: Callable[[Any], str | bytes | None] | None = None,
        valueEncoder: Callable[[Any], str | bytes | None] | None = None,
        exactlyOnce: str = "",
        offsetsOf: DStream[Any] | None = None,
    ) -> None:
        """Write each batch to Kafka: at least once, or exactly once. Needs `headwater[kafka]`.

        A pair is a record's key and value, a `ProducerRecord` says more, anything else is a value.

        With `exactlyOnce` each partition of a batch is a transaction, with a note in it that the batch is written; a
        task that finds the note writes nothing. Readers must have `isolation.level=read_committed`. With `offsetsOf`
        besides, a whole batch is one transaction, written by one task, which moves the source's consumer group on, too:
        then a program that starts without a checkpoint goes on exactly where its output ends.

        Args:
            topic: where records go; None if each says so itself.
            kafkaParams: Kafka's settings, with `bootstrap.servers`.
            keyEncoder: key -> str or bytes; called in tasks. None: it is that already.
            valueEncoder: value -> str or bytes, likewise.
            exactlyOnce: names the output: no other one of these brokers has it, and it stays over restarts. Empty: at
                least once. Without `offsetsOf` it needs a directory for checkpoints.
            offsetsOf: the direct stream that the batches are made of, with a `group.id`.

        Raises:
            TypeError: `kafkaParams` is no dict, or `offsetsOf` no direct stream.
            IllegalArgumentException: a setting of Kafka is missing or wrong, the name is another output's, or
                something that belongs to it is missing.
            SparkException: confluent-kafka isn't installed.

        >>> counts = harness.stream([["a", "b", "a"]]).countByValue()
        >>> counts.saveToKafka("counts", {"bootstrap.servers": "localhost:9092"}, valueEncoder=str)
        """
        from headwater.streaming.kafka.stream import kafka_output

        sink = kafka_output(topic, kafkaParams, keyEncoder, valueEncoder, exactlyOnce, offsetsOf)
        self._add_output("saveToKafka", sink)

    def _output(self, operation: str, function: Callable[..., Any], *, with_time: bool) -> None:
        self._add_output(operation, FunctionOutput(function, with_time=with_time))

    def _add_output(self, operation: str, sink: BatchOutput) -> None:
        name, description = call_site(operation)
        self._ssc.add_output(Output(self._node, sink, operation=operation, name=name, description=description))
