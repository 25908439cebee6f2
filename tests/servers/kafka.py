"""A Kafka broker in KRaft mode, on loopback: with a plain listener, and one with TLS and passwords.

A broker keeps its data and its ports from one start to the next: brokers that are killed are what the tests are about.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.servers import jars, leave_out
from tests.servers.certificates import certificate
from tests.servers.processes import START_SECONDS_MAX, await_answer, free_port, running

MEMORY = ("-Xms128m", "-Xmx512m", "-XX:TieredStopAtLevel=1")
ADMIN_SECONDS = 30
USER, PASSWORD = "reader", "not-to-be-shown"
_LOGGING = """
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
"""


class KafkaBroker:
    """One broker, which is its own controller.

    Args:
        jars: of Kafka.
        directory: of its configuration, its log and its data; must be empty.
    """

    def __init__(self, jars: Path, directory: Path) -> None:
        self._jars = jars
        self._directory = directory
        self._running = ExitStack()
        self._port, self._secure_port, controller_port = free_port(), free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self._port}"
        self.secure_bootstrap = f"127.0.0.1:{self._secure_port}"
        listeners = f"PLAINTEXT://{self.bootstrap},SECURE://{self.secure_bootstrap}"
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.plain.sasl.jaas.config": f'{login} user_{USER}="{PASSWORD}";',
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": directory / "keystore.pem",
            "log.dirs": directory / "data",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 500,
            "auto.create.topics.enable": "false",
            "log.retention.check.interval.ms": 200,
            "log.cleaner.backoff.ms": 100,
            "log.initial.task.delay.ms": 100,
            "file.delete.delay.ms": 100,
            "log.cleaner.dedupe.buffer.size": 4 << 20,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate, key = certificate(directory)
        (directory / "keystore.pem").write_bytes(key.read_bytes() + self.certificate.read_bytes())
        (directory / "log4j.properties").write_text(_LOGGING)
        self._properties = directory / "server.properties"
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        format_command = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c"]
        done = subprocess.run(
            [*self._java(), *format_command, str(self._properties)],
            capture_output=True,
            text=True,
            timeout=START_SECONDS_MAX,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start it; returns when it answers and knows its topics."""
        log = self._directory / "log"
        process = self._running.enter_context(running([*self._java(), "kafka.Kafka", str(self._properties)], log))
        await_answer(self._port, process, log)
        self.admin.list_topics(timeout=ADMIN_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._running.close()

    def _java(self) -> list[str]:
        logging = f"-Dlog4j.configuration=file:{self._directory / 'log4j.properties'}"
        return ["java", *MEMORY, logging, "-cp", f"{self._jars}/*"]

    # -------------------------------------------------------------------------------------------- what tests do
    @cached_property
    def admin(self) -> Any:
        """confluent-kafka's client for topics and groups."""
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 2})

    def topic(self, partitions: int = 1, name: str = "", **settings: object) -> str:
        """A new topic; dots in the settings' names are written as underscores."""
        from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

        name = name or f"topic-{uuid.uuid4().hex[:8]}"
        config = {key.replace("_", "."): str(value) for key, value in settings.items()}
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
        for future in self.admin.create_topics([new], operation_timeout=ADMIN_SECONDS).values():
            future.result(ADMIN_SECONDS)
        return name

    def remake(self, topic: str) -> None:
        """Delete a topic, and make another one of its name, with one partition."""
        for future in self.admin.delete_topics([topic], operation_timeout=ADMIN_SECONDS).values():
            future.result(ADMIN_SECONDS)
        self.topic(name=topic)

    def add_partitions(self, topic: str, total: int) -> None:
        """Have a topic have so many partitions."""
        from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

        for future in self.admin.create_partitions([NewPartitions(topic, total)]).values():
            future.result(ADMIN_SECONDS)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Have the records before an offset expire."""
        from confluent_kafka import TopicPartition

        for future in self.admin.delete_records([TopicPartition(topic, partition, before)]).values():
            future.result(ADMIN_SECONDS)

    def send(
        self,
        topic: str,
        records: Sequence[Any],
        partition: int = 0,
        *,
        transaction: str | None = None,
        commit: bool = True,
        **more: Any,
    ) -> None:
        """Put values, or (key, value) pairs, into a partition; returns when the broker has them.

        Args:
            transaction: id of one that has them all; None: none has.
            commit: whether it's committed, or aborted.
            more: of each message.
        """
        from confluent_kafka import Producer

        settings: dict[str, Any] = {"bootstrap.servers": self.bootstrap, "linger.ms": 2, "log_level": 2}
        if transaction is not None:
            settings["transactional.id"] = transaction
        producer = Producer(settings)
        if transaction is not None:
            producer.init_transactions(ADMIN_SECONDS)
            producer.begin_transaction()
        for record in records:
            key, value = record if isinstance(record, tuple) else (None, record)
            while True:
                try:
                    producer.produce(topic, value, key, partition, **more)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        assert producer.flush(ADMIN_SECONDS) == 0
        if transaction is not None:
            producer.commit_transaction(ADMIN_SECONDS) if commit else producer.abort_transaction(ADMIN_SECONDS)

    def end(self, topic: str, partition: int = 0) -> int:
        """The offset that the next record will have."""
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

        asked = TopicPartition(topic, partition)
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return int(self.admin.list_offsets({asked: latest})[asked].result(ADMIN_SECONDS).offset)

    def commit(self, group: str, topic: str, offset: int, partition: int = 0) -> None:
        """Have a group's offset be this."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "log_level": 2})
        try:
            consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
        finally:
            consumer.close()

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """A group's offset; None if it has none."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "log_level": 2})
        try:
            (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=ADMIN_SECONDS)
        finally:
            consumer.close()
        return found.offset if found.offset >= 0 else None

    def members(self, group: str) -> int:
        """How many members a group has."""
        found = self.admin.describe_consumer_groups([group])[group].result(ADMIN_SECONDS)
        return len(found.members)

    def read(self, topic: str, partitions: int = 1, isolation: str = "read_committed") -> list[list[tuple[Any, Any]]]:
        """All (key, value) of a topic, a list a partition."""
        from confluent_kafka import Consumer, TopicPartition

        settings = {"bootstrap.servers": self.bootstrap, "group.id": "reader", "isolation.level": isolation}
        consumer = Consumer({**settings, "enable.partition.eof": True, "enable.auto.commit": False, "log_level": 2})
        found: list[list[tuple[Any, Any]]] = [[] for _ in range(partitions)]
        try:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
            ended = 0
            while ended < partitions:
                message = consumer.poll(ADMIN_SECONDS)
                assert message is not None, f"{topic} can't be read"
                error, place = message.error(), message.partition()
                if error is None:
                    assert place is not None
                    found[place].append((message.key(), message.value()))
                else:
                    assert error.name() == "_PARTITION_EOF", error
                    ended += 1
        finally:
            consumer.close()
        return found


def new_broker(directory: Path) -> KafkaBroker:
    """A broker that runs; skips the test where there is none."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        leave_out("Kafka", "pip install 'headwater[kafka]'")
    broker = KafkaBroker(jars("Kafka (a broker in KRaft mode)", "kafka"), directory)
    broker.start()
    return broker


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker, started once; whoever kills it starts it again."""
    broker = new_broker(tmp_path_factory.mktemp("kafka"))
    try:
        yield broker
    finally:
        broker.kill()
