"""The receiver of `KafkaUtils.createStream`: members of a consumer group, in an executor.

Offsets are committed once their records are stored as the stream's level and the write-ahead log promise: what a dead
executor had not stored comes again, to whichever member has its partitions then.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from headwater.base.threads import WatchedThread
from headwater.errors import HeadwaterError
from headwater.storagelevel import StorageLevel
from headwater.streaming.kafka.brokers import READING
from headwater.streaming.kafka.params import KafkaParams
from headwater.streaming.receivers.receiver import Receiver

# Messages that are stored at once, and how long a member waits for that many.
STORED_AT_ONCE = 5000
WAIT_SECONDS = 0.1
# Unless the program says otherwise a member may store for a day: that it waits for room doesn't mean that it's dead.
_PATIENT = {"max.poll.interval.ms": 86_400_000}
_INSTANCE = "group.instance.id"


class KafkaReceiver(Receiver):
    """Stores (key, value) pairs of bytes.

    Args:
        params: of the stream; with a group.
        topics: topic -> how many members of the group read for it.
        storageLevel: of the blocks.
    """

    def __init__(self, params: KafkaParams, topics: Mapping[str, int], storageLevel: StorageLevel) -> None:
        super().__init__(storageLevel)
        self._params = params
        self._topics = dict(topics)
        self._ending: threading.Event | None = None  # of the threads of the latest start

    def onStart(self) -> None:
        self._ending = threading.Event()
        for number in range(self._members):
            name = f"kafka-receiver-{self.streamId()}-{number}"
            receive, failed = partial(self._receive, number, self._ending), partial(self._failed, self._ending)
            WatchedThread(receive, name=name, on_failure=failed).start()

    def onStop(self) -> None:
        if self._ending is not None:
            self._ending.set()

    @property
    def _members(self) -> int:
        return sum(self._topics.values())

    def _settings(self, number: int, ending: threading.Event) -> dict[str, Any]:
        """Of a member's client."""
        own = {
            "group.id": self._params.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error" if self._params.reset == "none" else self._params.reset,
            "error_cb": lambda error: self._told(error, ending),
        }
        if _INSTANCE in self._params.settings and self._members > 1:
            own[_INSTANCE] = f"{self._params.settings[_INSTANCE]}-{number}"
        return self._params.client(own, READING | _PATIENT)

    def _receive(self, number: int, ending: threading.Event) -> None:
        from confluent_kafka import Consumer

        try:
            consumer = Consumer(self._settings(number, ending))
            try:
                consumer.subscribe(list(self._topics))
                while not ending.is_set():
                    self._take(consumer, ending)
            finally:
                consumer.close()
        except Exception as error:
            self._failed(ending, error)

    def _failed(self, ending: threading.Event, error: BaseException) -> None:
        if not ending.is_set():
            ending.set()  # the other members too: one restart is enough
            self.restart("Error receiving from Kafka", error)

    def _take(self, consumer: Any, ending: threading.Event) -> None:
        came = consumer.consume(STORED_AT_ONCE, WAIT_SECONDS)
        messages = [message for message in came if message.error() is None]
        for message in came:
            if message.error() is not None:
                self._told(message.error(), ending)
        if not messages:
            return
        try:
            self.store([(message.key(), message.value()) for message in messages])
        except HeadwaterError:
            if ending.is_set():
                return  # not stored, so not committed
            raise
        self._commit(consumer, messages)

    def _commit(self, consumer: Any, messages: Sequence[Any]) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        ends = {(message.topic(), message.partition()): message.offset() + 1 for message in messages}
        try:
            consumer.commit(offsets=[TopicPartition(*each, at) for each, at in ends.items()], asynchronous=False)
        except KafkaException as error:
            # Its partitions have another member by now, which reads them again.
            self.reportError("Kafka offsets could not be committed, so records may come twice", error)

    def _told(self, error: Any, ending: threading.Event) -> None:
        from confluent_kafka import KafkaError, KafkaException

        if error.fatal() or error.code() == KafkaError._FATAL:
            raise KafkaException(error)
        if not ending.is_set():
            self.reportError(f"Kafka at {self._params.brokers}: {error.str()}")
