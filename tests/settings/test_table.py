"""The table of settings: what is read of it, and that a setting is in force if and only if something reads it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import headwater
from headwater.errors import IllegalArgumentException
from headwater.settings.setting import Standing
from headwater.settings.table import PREFIXES, SECTIONS, SETTINGS, find, read, without_effect


# ------------------------------------------------------------------------------------------------- read
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.streaming.blockInterval", 200),
        ("spark.streaming.blockQueueSize", 10),
        ("spark.streaming.concurrentJobs", 1),
        ("spark.streaming.unpersist", True),
        ("spark.streaming.stopGracefullyOnShutdown", False),
        ("spark.streaming.gracefulStopTimeout", None),
        ("spark.streaming.receiver.maxRate", None),
        ("spark.streaming.receiver.blockStoreTimeout", 30_000),
        ("spark.streaming.receiverRestartDelay", 2000),
        ("spark.streaming.receiver.writeAheadLog.rollingIntervalSecs", 60_000),
        ("spark.streaming.driver.writeAheadLog.batchingTimeout", 5000),
        ("spark.streaming.backpressure.pid.integral", 0.2),
        ("spark.streaming.backpressure.initialRate", None),
        ("spark.streaming.kafka.consumer.poll.ms", 120_000),
        ("spark.streaming.dynamicAllocation.scalingInterval", 60_000),
        ("spark.task.maxFailures", 4),
        ("spark.locality.wait", 3000),
        ("spark.locality.wait.node", 3000),
        ("spark.python.worker.memory", 512 * 2**20),
        ("spark.driver.maxResultSize", 2**30),
        ("spark.io.compression.codec", "zstd"),
        ("spark.default.parallelism", None),
        ("spark.master", ""),
        ("headwater.shuffle.inlineLimit", 65_536),
        ("headwater.streaming.receiver.memoryLimit", 2**29),
        ("headwater.streaming.receiver.spillLimit", 2**30),
    ],
)
def test_read_of_an_unset_key_gives_the_default(key: str, value: object) -> None:
    assert read({}, key) == value
    assert type(read({}, key)) is type(value)


def test_read_derives_a_default_from_the_setting_that_it_follows() -> None:
    limit = "headwater.streaming.receiver.memoryLimit"
    pairs = {"spark.executor.memory": "4g", "spark.network.timeout": "7s", "spark.streaming.receiver.maxRate": "50"}
    assert read(pairs, limit) == 2 * 2**30
    assert read(pairs | {limit: "1m"}, limit) == 2**20
    assert read(pairs, "spark.streaming.kafka.consumer.poll.ms") == 7000
    assert read(pairs, "spark.streaming.backpressure.initialRate") == 50


def test_read_of_a_key_in_an_open_family_gives_its_text() -> None:
    assert read({"spark.hadoop.fs.x": "1"}, "spark.hadoop.fs.x") == "1"


def test_read_refuses_a_key_that_is_not_in_the_table() -> None:
    with pytest.raises(KeyError, match="spark.no.such.key"):
        read({}, "spark.no.such.key")


def test_read_takes_an_older_name_of_a_key() -> None:
    old, new = "spark.streaming.minRememberDuration", "spark.streaming.fileStream.minRememberDuration"
    assert read({old: "5s"}, new) == read({new: "5s"}, old) == 5000


def test_read_of_invalid_pairs_raises() -> None:
    with pytest.raises(IllegalArgumentException, match="spark.task.cpus: 'two' is not an integer"):
        read({"spark.task.cpus": "two"}, "spark.task.cpus")


# ---------------------------------------------------------------------------------------- settings without effect
@pytest.mark.parametrize(
    ("key", "value", "idle"),
    [
        ("spark.speculation", "true", True),  # without effect
        ("spark.speculation", "False", False),  # its default
        ("spark.network.timeout", "2min", False),  # its default, in another unit
        ("spark.executor.instances", "2", True),  # has no default
        ("spark.eventLog.dir", "", False),  # set to nothing, as by default
        ("spark.metrics.sink", "x", True),  # one of a family
        ("spark.locality.wait.node", "3s", False),  # the default of the setting that it follows
        ("spark.locality.wait.node", "0", True),
        ("spark.locality.wait", "0", False),  # in force
        ("spark.kryo.registrator", "a.B", False),  # accepted
        ("my.key", "1", False),  # the program's own
    ],
)
def test_setting_is_without_effect_when_it_differs_from_its_default(key: str, value: str, idle: bool) -> None:
    assert without_effect({key: value}) == ([key] if idle else [])


# ------------------------------------------------------------------------------------------------- the table
def keys_read(code: str) -> set[str]:
    """The keys that code reads: `conf.get(key)`, `conf.read(key)`, `read(pairs, key)`; a family's prefix as a literal.

    >>> sorted(keys_read("self._conf.get('spark.a'); properties.get('spark.b'); read(pairs, 'spark.c')"))
    ['spark.a', 'spark.c']
    """
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value + "*" in SETTINGS:
            found.add(node.value + "*")
        if isinstance(node, ast.Call) and _reads(node.func):
            found |= {str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)}
    return {key for key in found if key.startswith(PREFIXES)}


def _reads(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute) and function.attr == "get":
        owner = function.value
        name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        return name in ("conf", "_conf")
    return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")) == "read"


@pytest.fixture(scope="module")
def keys_in_use() -> set[str]:
    """The table's keys that the package reads, and those that they take their default from."""
    package = Path(headwater.__file__).parent
    keys: set[str] = set()
    for path in package.rglob("*.py"):
        keys |= keys_read(path.read_text())
    settings = [setting for key in keys if (setting := find(key)) is not None]
    return {setting.key for setting in settings} | {setting.same_as for setting in settings if setting.same_as}


def test_setting_in_force_is_read(keys_in_use: set[str]) -> None:
    in_force = {setting.key for setting in SETTINGS.values() if setting.standing is Standing.IN_FORCE}
    assert in_force - keys_in_use == set(), "nothing reads these: they have no effect, are accepted, or go"


def test_setting_that_is_read_is_in_force(keys_in_use: set[str]) -> None:
    idle = {setting.key for setting in SETTINGS.values() if setting.standing is not Standing.IN_FORCE}
    assert idle & keys_in_use == set(), "these are read: they are in force"


def test_settings_of_our_own_are_all_in_force() -> None:
    renamed = ("headwater.streaming.log.keyFile", "headwater.streaming.log.keyVariable")
    ours = [s for s in SETTINGS.values() if s.key.startswith("headwater.") and s.key not in renamed]
    assert ours
    assert all(setting.standing is Standing.IN_FORCE for setting in ours)


def test_table_lists_a_section_by_standing() -> None:
    order = list(Standing)
    for section in SECTIONS.values():
        places = [order.index(setting.standing) for setting in section]
        assert places == sorted(places), section[0].key


def test_table_has_valid_defaults_that_follow_settings_of_the_table() -> None:
    for setting in SETTINGS.values():
        if setting.default:
            setting.parse(setting.default)
        assert not setting.same_as or setting.same_as in SETTINGS
        assert setting.meaning.endswith("."), setting.key


def test_table_has_each_key_once() -> None:
    keys = [setting.key for section in SECTIONS.values() for setting in section]
    assert len(keys) == len(set(keys)) == len(SETTINGS)
