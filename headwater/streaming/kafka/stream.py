"""How a program makes streams and RDDs of Kafka's records: `KafkaUtils`, of Spark's 0-8 and 0-10 integrations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, overload

from headwater.errors import IllegalArgumentException, SparkException
from headwater.rdd.checks import check_function, check_function_or_none
from headwater.storagelevel import StorageLevel
from headwater.streaming.decoding import utf8_decoder
from headwater.streaming.kafka import offsets, output
from headwater.streaming.kafka.brokers import Brokers
from headwater.streaming.kafka.direct import DirectSettings, KafkaDStream, direct_stream, read_settings
from headwater.streaming.kafka.offsets import Broker, OffsetRange, TopicAndPartition
from headwater.streaming.kafka.output import KafkaOutput
from headwater.streaming.kafka.params import KafkaParams, read_params
from headwater.streaming.kafka.reading import KafkaRDD, KafkaRead, KafkaSplit
from headwater.streaming.kafka.receiver import KafkaReceiver
from headwater.streaming.kafka.records import (
    Build,
    ConsumerRecords,
    Decoder,
    Handled,
    KafkaMessageAndMetadata,
    Pairs,
)
from headwater.streaming.kafka.strategies import (
    ConsumerStrategies,
    ConsumerStrategy,
    LocationStrategies,
    LocationStrategy,
    PerPartitionConfig,
)
from headwater.streaming.kafka.writing import Encoder, Encoding

if TYPE_CHECKING:
    from headwater.conf import SparkConf
    from headwater.context import SparkContext
    from headwater.rdd import RDD
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.dstream import DStream

logger = logging.getLogger("headwater.streaming.kafka")

MessageHandler = Callable[[KafkaMessageAndMetadata], Any]


class KafkaUtils:
    """Makes streams and RDDs of Kafka's records.

    `createDirectStream` and `createRDD` have two forms each: PySpark's, whose records are (key, value) pairs, and that
    of Scala's 0-10 integration, whose records are `ConsumerRecord`s.
    """

    @staticmethod
    def createStream(
        ssc: StreamingContext,
        zkQuorum: str,
        groupId: str,
        topics: Mapping[str, int],
        kafkaParams: Mapping[str, Any] | None = None,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        keyDecoder: Decoder = utf8_decoder,
        valueDecoder: Decoder = utf8_decoder,
    ) -> DStream[Any]:
        """A stream of (key, value) pairs that receivers of a consumer group get, each at least once.

        Offsets are committed to the group once records are stored; with `spark.streaming.receiver.writeAheadLog.enable`
        that means that they survive the driver. `createDirectStream` needs no receiver, and each record comes once.

        Args:
            ssc: the context.
            zkQuorum: accepted for old programs: nothing asks ZooKeeper any more. The brokers are those of kafkaParams'
                `bootstrap.servers`, or of the setting `headwater.streaming.kafka.brokers`.
            groupId: the consumer group.
            topics: topic -> number of members that read for it in the receiver.
            kafkaParams: further settings of Kafka.
            storageLevel: how received blocks are kept.
            keyDecoder: makes a key of bytes or None; called in tasks.
            valueDecoder: makes a value of bytes or None; called in tasks.

        Raises:
            TypeError: `topics` is no dict of numbers.
            IllegalArgumentException: nothing says where the brokers are, or a setting is wrong.
            SparkException: confluent-kafka isn't installed.
        """
        if not isinstance(topics, Mapping) or not all(type(n) is int and n > 0 for n in topics.values()) or not topics:
            raise TypeError(f"topics should be dict of topic to number of members, at least 1 each, not {topics!r}")
        params = {"group.id": groupId, **(kafkaParams or {})}
        if not {"bootstrap.servers", "metadata.broker.list"} & params.keys():
            params["bootstrap.servers"] = _brokers_for(zkQuorum, ssc.sparkContext.conf)
        receiver = KafkaReceiver(read_params(params, group_required=True), topics, storageLevel)
        return ssc.receiverStream(receiver).map(partial(_decoded, keyDecoder, valueDecoder))

    @overload
    @staticmethod
    def createDirectStream(
        ssc: StreamingContext,
        topics: Sequence[str],
        kafkaParams: Mapping[str, Any],
        fromOffsets: Mapping[TopicAndPartition, int] | None = None,
        keyDecoder: Decoder = utf8_decoder,
        valueDecoder: Decoder = utf8_decoder,
        messageHandler: MessageHandler | None = None,
        *,
        minPartitions: int = 0,
    ) -> KafkaDStream: ...

    @overload
    @staticmethod
    def createDirectStream(
        ssc: StreamingContext,
        locationStrategy: LocationStrategy,
        consumerStrategy: ConsumerStrategy,
        perPartitionConfig: PerPartitionConfig | None = None,
        *,
        minPartitions: int = 0,
    ) -> KafkaDStream: ...

    @staticmethod
    def createDirectStream(ssc: StreamingContext, *args: Any, minPartitions: int = 0, **named: Any) -> KafkaDStream:
        """A stream that reads Kafka without a receiver: each batch is a range of offsets of each partition.

        The ranges are fixed when the batch is generated and kept in checkpoints, so each record is read in one batch
        and comes again only with that batch. There is no member of the group: `group.id` only names who commits.

        Two forms: `(ssc, topics, kafkaParams, fromOffsets=None, keyDecoder=utf8_decoder, valueDecoder=utf8_decoder,
        messageHandler=None)` gives (key, value) pairs or what the handler returns; `(ssc, locationStrategy,
        consumerStrategy, perPartitionConfig=None)` gives `ConsumerRecord`s, decoded by `key.deserializer` and
        `value.deserializer` (bytes, if there is none).

        Args:
            ssc: the context.
            topics: a list of names.
            kafkaParams: Kafka's settings, with `bootstrap.servers`; `auto.offset.reset` says where to begin with
                partitions without an offset: `smallest`/`earliest`, `largest`/`latest` (the default) or `none`.
            fromOffsets: partition -> the offset to begin with; other partitions as `auto.offset.reset` says.
            keyDecoder: makes a key of bytes or None; called in tasks.
            valueDecoder: makes a value of bytes or None; called in tasks.
            messageHandler: makes a record of a `KafkaMessageAndMetadata`; called in tasks.
            locationStrategy: where partitions are read, of `LocationStrategies`.
            consumerStrategy: what is read, of `ConsumerStrategies`.
            perPartitionConfig: how fast; None takes `spark.streaming.kafka.maxRatePerPartition` and
                `minRatePerPartition`.
            minPartitions: into how many partitions a batch is cut at least; 0: one for each of Kafka's.

        Raises:
            TypeError: an argument has another type.
            IllegalArgumentException: a setting of Kafka is missing or wrong.
            SparkException: confluent-kafka isn't installed.
        """
        _check_min_partitions(minPartitions)
        first = named.get("locationStrategy", args[0] if args else None)
        make = _settings_of_strategies if isinstance(first, LocationStrategy) else _settings_of_topics
        return direct_stream(ssc, make(ssc.sparkContext.conf, *args, min_partitions=minPartitions, **named))

    @overload
    @staticmethod
    def createRDD(
        sc: SparkContext,
        kafkaParams: Mapping[str, Any],
        offsetRanges: Sequence[OffsetRange],
        leaders: Mapping[TopicAndPartition, Broker] | None = None,
        keyDecoder: Decoder = utf8_decoder,
        valueDecoder: Decoder = utf8_decoder,
        messageHandler: MessageHandler | None = None,
        *,
        minPartitions: int = 0,
    ) -> KafkaRDD: ...

    @overload
    @staticmethod
    def createRDD(
        sc: SparkContext,
        kafkaParams: Mapping[str, Any],
        offsetRanges: Sequence[OffsetRange],
        locationStrategy: LocationStrategy,
        *,
        minPartitions: int = 0,
    ) -> KafkaRDD: ...

    @staticmethod
    def createRDD(
        sc: SparkContext,
        kafkaParams: Mapping[str, Any],
        offsetRanges: Sequence[OffsetRange],
        *args: Any,
        minPartitions: int = 0,
        **named: Any,
    ) -> KafkaRDD:
        """The records of ranges of offsets, a partition a range.

        Two forms: `(sc, kafkaParams, offsetRanges, leaders=None, keyDecoder=utf8_decoder, valueDecoder=utf8_decoder,
        messageHandler=None)` gives (key, value) pairs or what the handler returns; `(sc, kafkaParams, offsetRanges,
        locationStrategy)` gives `ConsumerRecord`s.

        Args:
            sc: the context.
            kafkaParams: Kafka's settings, with `bootstrap.servers`.
            offsetRanges: a list of `OffsetRange`s.
            leaders: accepted for PySpark's sake: the brokers say themselves who leads.
            keyDecoder: makes a key of bytes or None; called in tasks.
            valueDecoder: makes a value of bytes or None; called in tasks.
            messageHandler: makes a record of a `KafkaMessageAndMetadata`; called in tasks.
            locationStrategy: where ranges are read; `PreferBrokers` needs a stream, so give `PreferFixed`.
            minPartitions: into how many partitions the ranges are cut at least; 0: one each.

        Raises:
            TypeError: an argument has another type.
            IllegalArgumentException: a setting of Kafka is missing or wrong.
            SparkException: the brokers don't have such offsets, or confluent-kafka isn't installed.
        """
        _check_min_partitions(minPartitions)
        if not isinstance(offsetRanges, (list, tuple)):
            raise TypeError(f"offsetRanges should be list, not {offsetRanges!r}")
        params = read_params(kafkaParams)
        location = named.pop("locationStrategy", args[0] if args else None)
        build: Build
        if isinstance(location, LocationStrategy):
            if location.brokers:
                raise AssertionError(
                    "createRDD doesn't ask for the brokers' hosts: use LocationStrategies.PreferFixed, or "
                    "PreferConsistent"
                )
            build = ConsumerRecords(params.key_decoder, params.value_decoder)
        else:
            build = _build_of_pairs(*args[1:], **{key: value for key, value in named.items() if key != "leaders"})
        _check_available(params, offsetRanges)
        splits = [KafkaSplit(each) for each in offsets.split(offsetRanges, minPartitions)]
        return KafkaRDD.of_splits(sc, KafkaRead(params, build, read_settings(sc.conf)), splits)

    @staticmethod
    def saveToKafka(
        rdd: RDD[Any],
        topic: str | None,
        kafkaParams: Mapping[str, Any],
        keyEncoder: Encoder | None = None,
        valueEncoder: Encoder | None = None,
    ) -> None:
        """Write an RDD to Kafka, at least once; streams have `DStream.saveToKafka`, which can do better.

        Args:
            rdd: of pairs (key and value), `ProducerRecord`s, or values.
            topic: where records go; None if each says so itself.
            kafkaParams: Kafka's settings, with `bootstrap.servers`.
            keyEncoder: makes str or bytes of a key; called in tasks. None: it is that already.
            valueEncoder: likewise of a value.

        Raises:
            TypeError: a key or a value is neither str nor bytes.
            IllegalArgumentException: a setting of Kafka is missing or wrong.
            SparkException: a record can't be delivered, or confluent-kafka isn't installed.
        """
        encoding = Encoding(topic, keyEncoder, valueEncoder)
        rdd.foreachPartition(partial(output.write_partition, read_params(kafkaParams), encoding))


def kafka_output(
    topic: str | None,
    kafka_params: Mapping[str, Any],
    key_encoder: Encoder | None,
    value_encoder: Encoder | None,
    name: str,
    offsets_of: DStream[Any] | None,
) -> KafkaOutput:
    """The output of `DStream.saveToKafka`, which says what the arguments mean and what is raised."""
    if offsets_of is not None and not isinstance(offsets_of, KafkaDStream):
        raise TypeError(
            f"offsetsOf should be the stream that createDirectStream returned, not {type(offsets_of).__name__}"
        )
    check_function_or_none("keyEncoder", key_encoder)
    check_function_or_none("valueEncoder", value_encoder)
    encoding = Encoding(topic, key_encoder, value_encoder)
    return KafkaOutput(read_params(kafka_params), encoding, name, None if offsets_of is None else offsets_of.node)


# ------------------------------------------------------------------------------------------------ arguments
def _settings_of_topics(
    conf: SparkConf,
    topics: Sequence[str],
    kafkaParams: Mapping[str, Any],
    fromOffsets: Mapping[TopicAndPartition, int] | None = None,
    keyDecoder: Decoder = utf8_decoder,
    valueDecoder: Decoder = utf8_decoder,
    messageHandler: MessageHandler | None = None,
    *,
    min_partitions: int,
) -> DirectSettings:
    if not isinstance(topics, (list, tuple, set)):
        raise TypeError(f"topics should be list, not {topics!r}")
    return DirectSettings(
        read_params(kafkaParams),
        _subscription(topics, fromOffsets),
        LocationStrategies.PreferConsistent,
        _rates(conf),
        _build_of_pairs(keyDecoder, valueDecoder, messageHandler),
        min_partitions,
    )


def _settings_of_strategies(
    conf: SparkConf,
    locationStrategy: LocationStrategy,
    consumerStrategy: ConsumerStrategy,
    perPartitionConfig: PerPartitionConfig | None = None,
    *,
    min_partitions: int,
) -> DirectSettings:
    if not isinstance(consumerStrategy, ConsumerStrategy):
        raise TypeError(f"consumerStrategy should be of ConsumerStrategies, not {consumerStrategy!r}")
    params = read_params(consumerStrategy.kafkaParams)
    return DirectSettings(
        params,
        consumerStrategy.without_params(),
        locationStrategy,
        perPartitionConfig or _rates(conf),
        ConsumerRecords(params.key_decoder, params.value_decoder),
        min_partitions,
    )


def _subscription(topics: Sequence[str], from_offsets: Mapping[TopicAndPartition, int] | None) -> ConsumerStrategy:
    if from_offsets is not None and not isinstance(from_offsets, Mapping):
        raise TypeError(f"fromOffsets should be dict, not {from_offsets!r}")
    strategy = ConsumerStrategies.Subscribe(topics, {}, from_offsets)
    strange = sorted({each.topic for each in from_offsets or ()} - set(topics))
    if strange:
        raise IllegalArgumentException(f"fromOffsets has topics that the stream doesn't read: {', '.join(strange)}")
    return strategy


def _rates(conf: SparkConf) -> PerPartitionConfig:
    return PerPartitionConfig(
        conf.read("spark.streaming.kafka.maxRatePerPartition"), conf.read("spark.streaming.kafka.minRatePerPartition")
    )


def _build_of_pairs(
    keyDecoder: Decoder = utf8_decoder,
    valueDecoder: Decoder = utf8_decoder,
    messageHandler: MessageHandler | None = None,
) -> Build:
    check_function("keyDecoder", keyDecoder)
    check_function("valueDecoder", valueDecoder)
    if messageHandler is None:
        return Pairs(keyDecoder, valueDecoder)
    check_function("messageHandler", messageHandler)
    return Handled(messageHandler, keyDecoder, valueDecoder)


def _check_min_partitions(value: Any) -> None:
    if type(value) is not int or value < 0:
        raise IllegalArgumentException(f"minPartitions must be an int of 0 or more, not {value!r}")


def _check_available(params: KafkaParams, ranges: Sequence[OffsetRange]) -> None:
    """Raises SparkException unless the brokers have all these offsets."""
    partitions = sorted({each.topicPartition() for each in ranges})
    if not partitions:
        return
    brokers = Brokers(params)
    try:
        earliest, latest = brokers.earliest(partitions), brokers.latest(partitions)
    finally:
        brokers.close()
    wrong = [
        f"{each} of [{earliest[each.topicPartition()]} -> {latest[each.topicPartition()]}]"
        for each in ranges
        if not earliest[each.topicPartition()] <= each.fromOffset <= each.untilOffset <= latest[each.topicPartition()]
    ]
    if wrong:
        raise SparkException(f"Offsets not available on leader: {', '.join(wrong)}")


def _brokers_for(zk_quorum: str, conf: SparkConf) -> str:
    """The brokers of a program that names ZooKeeper only.

    Raises:
        IllegalArgumentException: no setting says which.
    """
    brokers: str = conf.read("headwater.streaming.kafka.brokers")
    if not brokers:
        raise IllegalArgumentException(
            f"createStream: Kafka doesn't keep its offsets in ZooKeeper ({zk_quorum}) any more. Name the brokers: "
            "kafkaParams={'bootstrap.servers': 'host:9092'}, or, to leave the program as it is, the setting "
            "headwater.streaming.kafka.brokers=host:9092."
        )
    _say_brokers(zk_quorum, brokers)
    return brokers


@cache
def _say_brokers(zk_quorum: str, brokers: str) -> None:
    """Once, however many streams there are."""
    logger.warning(
        "createStream: Kafka no longer needs ZooKeeper, so zkQuorum=%r is ignored. Records come from the brokers at "
        "%s, as headwater.streaming.kafka.brokers says.",
        zk_quorum,
        brokers,
    )


def _decoded(key: Decoder, value: Decoder, pair: tuple[Any, Any]) -> tuple[Any, Any]:
    return key(pair[0]), value(pair[1])
