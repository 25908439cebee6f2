"""Kafka as a source and as an output: direct streams, receivers, RDDs of offset ranges. Needs `headwater[kafka]`."""

from __future__ import annotations

from headwater.streaming.decoding import utf8_decoder
from headwater.streaming.kafka.direct import KafkaDStream
from headwater.streaming.kafka.offsets import Broker, OffsetRange, TopicAndPartition, TopicPartition
from headwater.streaming.kafka.reading import KafkaRDD
from headwater.streaming.kafka.records import ConsumerRecord, KafkaMessageAndMetadata
from headwater.streaming.kafka.strategies import (
    ConsumerStrategies,
    ConsumerStrategy,
    LocationStrategies,
    LocationStrategy,
    PerPartitionConfig,
)
from headwater.streaming.kafka.stream import KafkaUtils
from headwater.streaming.kafka.writing import ProducerRecord

__all__ = [
    "Broker",
    "ConsumerRecord",
    "ConsumerStrategies",
    "ConsumerStrategy",
    "KafkaDStream",
    "KafkaMessageAndMetadata",
    "KafkaRDD",
    "KafkaUtils",
    "LocationStrategies",
    "LocationStrategy",
    "OffsetRange",
    "PerPartitionConfig",
    "ProducerRecord",
    "TopicAndPartition",
    "TopicPartition",
    "utf8_decoder",
]
