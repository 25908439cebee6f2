"""Which partitions a stream reads, and where: the strategies of Kafka's 0-10 integration."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from headwater.streaming.kafka.offsets import TopicAndPartition


# ------------------------------------------------------------------------------------------------ where
@dataclass(frozen=True)
class LocationStrategy:
    """On which executors partitions are read; made by `LocationStrategies`.

    `brokers`: on the hosts of the partitions' leaders. `hosts`: those that are given.
    """

    name: str
    brokers: bool = False
    hosts: Mapping[TopicAndPartition, str] = field(default_factory=dict)

    def __call__(self) -> LocationStrategy:
        """Itself: `LocationStrategies.PreferConsistent()` is Java's form."""
        return self


class LocationStrategies:
    """Where partitions are read. Whatever is asked for, a partition has one worker as long as that lives: its consumer
    has fetched ahead."""

    #: Spread evenly over all executors: what to choose unless there is a reason.
    PreferConsistent = LocationStrategy("PreferConsistent")
    #: On the hosts of the partitions' leaders, where executors run on the brokers' machines.
    PreferBrokers = LocationStrategy("PreferBrokers", brokers=True)

    @staticmethod
    def PreferFixed(hostMap: Mapping[TopicAndPartition, str]) -> LocationStrategy:
        """On these hosts, where executors are there; other partitions as with `PreferConsistent`."""
        return LocationStrategy("PreferFixed", hosts=dict(hostMap))


# ------------------------------------------------------------------------------------------------ which
class ConsumerStrategy(ABC):
    """Which partitions a stream reads, by which settings, and from where; made by `ConsumerStrategies`.

    Args:
        kafkaParams: Kafka's settings by name.
        offsets: where to begin, by partition, if the stream doesn't go on from a checkpoint. Others begin where their
            group has committed, or else as `auto.offset.reset` says.
    """

    def __init__(self, kafkaParams: Mapping[str, Any], offsets: Mapping[TopicAndPartition, int] | None = None) -> None:
        if not isinstance(kafkaParams, Mapping):
            raise TypeError(f"kafkaParams should be dict, not {kafkaParams!r}")
        for partition, offset in (offsets or {}).items():
            if not isinstance(partition, TopicAndPartition) or type(offset) is not int or offset < 0:
                raise TypeError(
                    f"offsets should map TopicPartition to an int of 0 or more, not {partition!r} to {offset!r}"
                )
        self.kafkaParams = dict(kafkaParams)
        self.offsets = dict(offsets or {})

    def without_params(self) -> ConsumerStrategy:
        """The same strategy without Kafka's settings, some of which are secrets."""
        bare = copy(self)
        bare.kafkaParams = {}
        return bare

    @abstractmethod
    def selects(self, partition: TopicAndPartition) -> bool:
        """Whether the stream reads a partition."""

    @property
    def topics(self) -> list[str] | None:
        """The topics to look for; None: all that there are."""
        return None


class _Subscribe(ConsumerStrategy):
    def __init__(
        self,
        topics: Iterable[str],
        kafkaParams: Mapping[str, Any],
        offsets: Mapping[TopicAndPartition, int] | None = None,
    ) -> None:
        super().__init__(kafkaParams, offsets)
        if isinstance(topics, str):
            raise TypeError(f"topics should be list of str, not the str {topics!r}")
        self._topics = sorted(set(topics))
        if not self._topics:
            raise ValueError("topics: name one at least")

    @property
    def topics(self) -> list[str]:
        return self._topics

    def selects(self, partition: TopicAndPartition) -> bool:
        return partition.topic in self._topics

    def __str__(self) -> str:
        return ", ".join(self._topics)


class _SubscribePattern(ConsumerStrategy):
    def __init__(
        self,
        pattern: str | re.Pattern[str],
        kafkaParams: Mapping[str, Any],
        offsets: Mapping[TopicAndPartition, int] | None = None,
    ) -> None:
        super().__init__(kafkaParams, offsets)
        self._pattern = re.compile(pattern)

    def selects(self, partition: TopicAndPartition) -> bool:
        # Kafka's own topics are read by streams that name them, not by a pattern for the others.
        return not partition.topic.startswith("__") and self._pattern.fullmatch(partition.topic) is not None

    def __str__(self) -> str:
        return f"the topics {self._pattern.pattern}"


class _Assign(ConsumerStrategy):
    def __init__(
        self,
        topicPartitions: Iterable[TopicAndPartition],
        kafkaParams: Mapping[str, Any],
        offsets: Mapping[TopicAndPartition, int] | None = None,
    ) -> None:
        super().__init__(kafkaParams, offsets)
        self._partitions = frozenset(topicPartitions)
        if not self._partitions or not all(isinstance(each, TopicAndPartition) for each in self._partitions):
            raise TypeError(f"topicPartitions should be list of TopicPartition, not {topicPartitions!r}")

    @property
    def topics(self) -> list[str]:
        return sorted({each.topic for each in self._partitions})

    def selects(self, partition: TopicAndPartition) -> bool:
        return partition in self._partitions

    def __str__(self) -> str:
        return ", ".join(map(str, sorted(self._partitions)))


class ConsumerStrategies:
    """Which partitions a stream reads.

    >>> strategy = ConsumerStrategies.Subscribe(["clicks", "views"], {"bootstrap.servers": "localhost:9092"})
    >>> strategy.selects(TopicAndPartition("views", 3)), strategy.selects(TopicAndPartition("orders", 0))
    (True, False)
    """

    @staticmethod
    def Subscribe(
        topics: Iterable[str],
        kafkaParams: Mapping[str, Any],
        offsets: Mapping[TopicAndPartition, int] | None = None,
    ) -> ConsumerStrategy:
        """All partitions of some topics, also those that are added later."""
        return _Subscribe(topics, kafkaParams, offsets)

    @staticmethod
    def SubscribePattern(
        pattern: str | re.Pattern[str],
        kafkaParams: Mapping[str, Any],
        offsets: Mapping[TopicAndPartition, int] | None = None,
    ) -> ConsumerStrategy:
        """All partitions of the topics whose whole name matches, also of those that are made later."""
        return _SubscribePattern(pattern, kafkaParams, offsets)

    @staticmethod
    def Assign(
        topicPartitions: Iterable[TopicAndPartition],
        kafkaParams: Mapping[str, Any],
        offsets: Mapping[TopicAndPartition, int] | None = None,
    ) -> ConsumerStrategy:
        """These partitions and no others."""
        return _Assign(topicPartitions, kafkaParams, offsets)


class PerPartitionConfig:
    """How fast each partition is read; extend it to tell partitions apart. Pickled with the program.

    Args:
        maxRate: records a second of each partition, 0 for no limit.
        minRate: records a second that back-pressure leaves each partition.
    """

    def __init__(self, maxRate: float = 0, minRate: float = 1) -> None:
        self._max_rate = maxRate
        self._min_rate = minRate

    def maxRatePerPartition(self, topicPartition: TopicAndPartition) -> float:
        """Records a second at most; 0 is no limit. Called in the driver, for each batch."""
        return self._max_rate

    def minRatePerPartition(self, topicPartition: TopicAndPartition) -> float:
        """Records a second at least under back-pressure. Called in the driver, for each batch."""
        return self._min_rate
