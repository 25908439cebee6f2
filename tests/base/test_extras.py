"""A package of an extra that is missing is an error that says what to install."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from headwater.base.extras import require
from headwater.errors import SparkException
from headwater.streaming.flume import FlumeUtils
from headwater.streaming.kafka import KafkaUtils
from headwater.streaming.receivers import MQTTReceiver, RedisStreamReceiver, WebSocketReceiver


@pytest.mark.parametrize(
    ("package", "extra", "make"),
    [
        ("fastavro", "flume", lambda: FlumeUtils.createStream(None, "localhost", 4141)),  # type: ignore[arg-type]
        ("fastavro", "flume", lambda: FlumeUtils.createPollingStream(None, [("a", 1)])),  # type: ignore[arg-type]
        ("paho", "mqtt", lambda: MQTTReceiver("localhost", 1883, "topic", clientId="c")),
        ("redis", "redis", lambda: RedisStreamReceiver("localhost", 6379, "stream", "group")),
        ("confluent_kafka", "kafka", lambda: KafkaUtils.createRDD(None, {}, [])),  # type: ignore[call-overload]
        ("aiohttp", "web", lambda: WebSocketReceiver("ws://localhost")),
    ],
)
def test_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str, make: Any
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SparkException, match=rf"need the package {package}: pip install 'headwater\[{extra}\]'"):
        make()


def test_package_that_misses_something_of_its_own_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_package_at_all")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        require("half_installed", "flume", "Flume streams")
