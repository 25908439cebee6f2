"""What the driver asks of the brokers: which partitions there are, where they begin and end, what a group has read.

- `Brokers` asks and waits. `BrokerWatch` asks on a thread of its own, so that brokers that don't answer hold up no
  batch: what isn't known in time is left to the next one.
- Offsets are committed without being a member of the group: its members would share the partitions with us.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

from headwater.base.daemonpool import DaemonPool
from headwater.clock import SystemClock
from headwater.errors import SparkException
from headwater.streaming.kafka.offsets import Positions, TopicAndPartition
from headwater.streaming.kafka.params import KafkaParams
from headwater.streaming.kafka.strategies import ConsumerStrategy

logger = logging.getLogger("headwater.streaming.kafka")

ANSWER_SECONDS_MAX = 10.0
# A start that waits longer for brokers says so.
START_SAID_SECONDS = 1.0
START_PAUSE_MS = 500
START_TIMEOUT = "headwater.streaming.kafka.startTimeout"
# As Java's clients do unless a program says otherwise.
READING = {"isolation.level": "read_uncommitted"}
# Timestamps by which Kafka's protocol asks for the ends of a partition.
_LATEST, _EARLIEST = -1, -2
# What confluent-kafka has where there is none.
NO_OFFSET = -1001


class Brokers:
    """A client of the brokers for one thread at a time.

    Args:
        params: of the stream.
    """

    def __init__(self, params: KafkaParams) -> None:
        from confluent_kafka import Consumer

        self._params = params
        self._trouble = ""  # what the client has reported last, for the next error
        self._client = Consumer(
            params.client(
                {"group.id": params.group or "headwater", "enable.auto.commit": False, "error_cb": self._hear}, READING
            )
        )

    @property
    def addresses(self) -> str:
        """Where the brokers are to be, for texts."""
        return self._params.brokers

    def partitions(self, strategy: ConsumerStrategy) -> list[TopicAndPartition]:
        """The partitions that a strategy selects, of those that there are, sorted.

        Raises:
            SparkException: the brokers don't answer.
        """
        names = strategy.topics
        topics: dict[str, Any] = {}
        for name in [None] if names is None else names:
            topics.update(self._ask(partial(self._client.list_topics, name, ANSWER_SECONDS_MAX)).topics)
        found = (
            TopicAndPartition(name, partition)
            for name, topic in topics.items()
            if topic.error is None
            for partition in topic.partitions
        )
        return sorted(each for each in found if strategy.selects(each))

    def leaders(self, partitions: Iterable[TopicAndPartition]) -> dict[TopicAndPartition, str]:
        """The host of each partition's leader, as far as there is one.

        Raises:
            SparkException: the brokers don't answer.
        """
        wanted = set(partitions)
        found = self._ask(lambda: self._client.list_topics(timeout=ANSWER_SECONDS_MAX))
        leaders = {}
        for each in wanted:
            topic = found.topics.get(each.topic)
            partition = topic.partitions.get(each.partition) if topic is not None else None
            if partition is not None and partition.leader in found.brokers:
                leaders[each] = str(found.brokers[partition.leader].host)
        return leaders

    def latest(self, partitions: Sequence[TopicAndPartition]) -> dict[TopicAndPartition, int]:
        """Where each partition ends for this reader: with `read_committed`, before the first open transaction.

        Raises:
            SparkException: the brokers don't answer, or don't have one of them.
        """
        return self._offsets(partitions, _LATEST)

    def earliest(self, partitions: Sequence[TopicAndPartition]) -> dict[TopicAndPartition, int]:
        """The oldest offset that each partition still has.

        Raises:
            SparkException: the brokers don't answer, or don't have one of them.
        """
        return self._offsets(partitions, _EARLIEST)

    def committed(self, partitions: Sequence[TopicAndPartition]) -> dict[TopicAndPartition, int]:
        """The group's offsets, of those partitions for which it has one.

        Raises:
            SparkException: the brokers don't answer.
        """
        asked = [native(each) for each in partitions]
        found = self._ask(lambda: self._client.committed(asked, timeout=ANSWER_SECONDS_MAX))
        self._check_each(found)
        return {_ours(each): each.offset for each in found if each.offset >= 0}

    def commit(self, offsets: Positions) -> None:
        """Have the group's offsets be these.

        Raises:
            SparkException: the brokers don't answer, or refuse.
        """
        asked = [native(each, offset) for each, offset in offsets.items()]
        self._check_each(self._ask(lambda: self._client.commit(offsets=asked, asynchronous=False)))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _offsets(self, partitions: Sequence[TopicAndPartition], timestamp: int) -> dict[TopicAndPartition, int]:
        asked = [native(each, timestamp) for each in partitions]
        found = self._ask(lambda: self._client.offsets_for_times(asked, timeout=ANSWER_SECONDS_MAX))
        self._check_each(found)
        return {_ours(each): each.offset for each in found}

    def _ask(self, call: Callable[[], Any]) -> Any:
        from confluent_kafka import KafkaException

        try:
            return call()
        except KafkaException as error:
            self._client.poll(0)  # hears what was behind it
            heard = f" ({self._trouble})" if self._trouble else ""
            raise SparkException(f"Kafka at {self._params.brokers}: {error.args[0].str()}{heard}") from error

    def _check_each(self, found: Iterable[Any]) -> None:
        for each in found:
            if each.error is not None:
                raise SparkException(f"Kafka at {self._params.brokers}: {_ours(each)}: {each.error.str()}")

    def _hear(self, error: Any) -> None:
        self._trouble = str(error.str())


class BrokerView(NamedTuple):
    """What a look at the brokers has brought.

    `earliest`: where partitions began when they were listed last. `leaders`: the leaders' hosts, if they are wanted.
    """

    partitions: Sequence[TopicAndPartition]
    latest: Positions
    earliest: Positions
    leaders: Mapping[TopicAndPartition, str]


class BrokerWatch:
    """Looks at the brokers and commits to them, on a thread of its own, which `close` ends.

    Args:
        params: of the stream.
        strategy: selects the partitions.
        renew_ms: how often to look for new partitions.
        wait_ms: how long a batch waits for a look.
        name: of the stream, for the log.
        leaders: whether to look for the partitions' leaders too.
    """

    def __init__(
        self, params: KafkaParams, strategy: ConsumerStrategy, *, renew_ms: int, wait_ms: int, name: str, leaders: bool
    ) -> None:
        self._brokers = Brokers(params)
        self._strategy = strategy
        self._renew_seconds = renew_ms / 1000
        self._wait_seconds = wait_ms / 1000
        self._name = name
        self._wants_leaders = leaders
        self._thread = DaemonPool(1, "kafka-watch")
        self._partitions: list[TopicAndPartition] = []  # of the thread's, as are the next three: what was listed last
        self._earliest: Positions = {}
        self._leaders: Mapping[TopicAndPartition, str] = {}
        self._listed = float("-inf")  # when that was
        self._look = BrokerView((), {}, {}, {})  # the latest; of the caller's thread, as are those below
        self._under_way: Future[BrokerView] | None = None
        self._trouble = ""  # why looks fail now; said once

    def begin(
        self, positions: Callable[[Brokers, Sequence[TopicAndPartition]], Positions], timeout_ms: int
    ) -> Positions:
        """Find out where to begin: `positions(brokers, partitions)`, tried again while brokers don't answer.

        Args:
            positions: is called on the watch's thread.
            timeout_ms: how long brokers may not answer.

        Raises:
            SparkException: they haven't, or what `positions` raises.
        """
        clock = SystemClock()
        until_ms = clock.now_ms() + timeout_ms
        said = False
        looking = self._thread.submit(self._find)
        while True:
            try:
                self._look = look = looking.result(None if said else START_SAID_SECONDS)
                break
            except NotYet:
                why = "no answer yet"
            except SparkException as error:
                if clock.now_ms() >= until_ms:
                    raise SparkException(
                        f"{self._name}: {error}. The start has waited {timeout_ms / 1000:g} s for the brokers, as "
                        f"{START_TIMEOUT} says. Are they at {self._brokers.addresses}, and can this machine reach them?"
                    ) from error
                why = str(error)
            if not said:
                said = True
                logger.warning(
                    "%s: waiting for the brokers at %s, for about %g s at most (%s): %s",
                    self._name,
                    self._brokers.addresses,
                    timeout_ms / 1000,
                    START_TIMEOUT,
                    why,
                )
            if looking.done():
                clock.get(SimpleQueue[Any](), clock.now_ms() + START_PAUSE_MS)
                looking = self._thread.submit(self._find)
        return self._thread.submit(positions, self._brokers, look.partitions).result()

    @property
    def known(self) -> BrokerView:
        """The newest look that there is."""
        return self._look

    def latest(self) -> BrokerView:
        """The newest look that is there in the time that a batch waits; an older one if the brokers don't answer."""
        if self._under_way is None:
            self._under_way = self._thread.submit(self._find)
        try:
            # Once they have failed they are not waited for, until they have answered again.
            self._look = self._under_way.result(0 if self._trouble else self._wait_seconds)
        except NotYet:
            self._fail(f"no answer within {self._wait_seconds:g} s")
            return self._look
        except SparkException as error:
            self._fail(str(error))
        else:
            if self._trouble:
                self._trouble = ""
                logger.info("%s: the brokers answer again", self._name)
        self._under_way = None
        return self._look

    def ask(self, question: Callable[[Brokers], Any]) -> Any:
        """The answer to a question, for which the caller waits.

        Raises:
            SparkException: the brokers don't answer.
        """
        return self._thread.submit(question, self._brokers).result()

    def commit(self, offsets: Positions, callback: Callable[[Positions, Exception | None], Any] | None) -> None:
        """Commit offsets for the group, later; `callback(offsets, error or None)` is called on the watch's thread."""
        self._thread.submit(self._commit, offsets, callback)

    def close(self) -> None:
        """End the thread, when what was to be committed is, and close the connections."""
        if self._under_way is not None:
            self._under_way.cancel()
        self._thread.shutdown()
        self._brokers.close()

    # -------------------------------------------------------------------------------------------- on the thread
    def _find(self) -> BrokerView:
        if time.monotonic() >= self._listed + self._renew_seconds or not self._partitions:
            self._list()
        try:
            latest = self._brokers.latest(self._partitions) if self._partitions else {}
        except SparkException:
            self._listed = float("-inf")  # one may have gone: list them again
            raise
        return BrokerView(self._partitions, latest, self._earliest, self._leaders)

    def _list(self) -> None:
        now, partitions = time.monotonic(), self._brokers.partitions(self._strategy)
        self._earliest = self._brokers.earliest(partitions) if partitions else {}
        if self._wants_leaders:
            self._leaders = self._brokers.leaders(partitions)
        self._partitions, self._listed = partitions, now

    def _commit(self, offsets: Positions, callback: Callable[[Positions, Exception | None], Any] | None) -> None:
        failure: Exception | None = None
        try:
            self._brokers.commit(offsets)
        except SparkException as error:
            failure = error
            logger.warning("%s: offsets could not be committed: %s", self._name, error)
        if callback is not None:
            try:
                callback(offsets, failure)
            except BaseException:
                logger.error("%s: the callback of commitAsync raised", self._name, exc_info=True)

    # -------------------------------------------------------------------------------------------- on the caller's
    def _fail(self, why: str) -> None:
        if not self._trouble:
            self._trouble = why
            text = "%s: %s. Batches bring nothing new until the brokers answer; nothing is lost."
            logger.warning(text, self._name, why)


def native(partition: TopicAndPartition, offset: int = NO_OFFSET) -> Any:
    """confluent-kafka's form of a partition and an offset."""
    from confluent_kafka import TopicPartition

    return TopicPartition(partition.topic, partition.partition, offset)


def _ours(native: Any) -> TopicAndPartition:
    return TopicAndPartition(native.topic, native.partition)
