"""Keys and values of classes that a script defines: after a restart, and when a changed script takes them over."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.streaming.recovery.driving import Results, put
from tests.streaming.recovery.scripts import ended_script, run_script

CLASSES = """
from collections import namedtuple
from dataclasses import dataclass
from enum import Enum

class Letter(Enum):
    A = "a"
    B = "b"

@dataclass(frozen=True)
class Frozen:
    name: str

@dataclass(frozen=True, slots=True)
class Slotted:
    name: str

class Plain:
    def __init__(self, name):
        self.name = name
    def __eq__(self, other):
        return isinstance(other, Plain) and other.name == self.name
    def __hash__(self):
        return hash(self.name)

Named = namedtuple("Named", "name")

class Outer:
    @dataclass(frozen=True)
    class Frozen:
        name: str
    class Unused:
        class Frozen:
            pass

KINDS = [Letter, Frozen, Slotted, Plain, Named, Outer.Frozen, lambda name: (name, Outer.Unused.Frozen, Letter(name))]
NAMES = ["enum", "dataclass", "slots", "plain", "named", "nested", "within a tuple"]

def keys(line):
    return [((name, kind(line)), 1) for name, kind in zip(NAMES, KINDS)]
"""
PROGRAM = """
def define(ssc):
    counts = ssc.textFileStream(str(root / "in")).flatMap(keys).updateStateByKey(count, 3)
    counts.map(lambda pair: [pair[0][0], pair[1]]).foreachRDD(results.of("counts"))

Driver(root / "checkpoints", define, upgrade={upgrade}).start({start}).until({until})
die()
"""


def program(start: int, until: int, *, upgrade: bool = False) -> str:
    return PROGRAM.format(start=start, until=until, upgrade=upgrade)


def last(root: Path, name: str) -> list[list[object]]:
    """What an output had from the last batch."""
    return Results(root / "results").read(name)[-1][1]  # type: ignore[no-any-return]


def test_equal_keys_are_one_after_a_restart_and_an_upgrade_and_another_restart(tmp_path: Path) -> None:
    programs = [program(-500, 1), program(1600, 2), program(2600, 3, upgrade=True), program(3600, 4)]
    for number, text in enumerate(programs):
        put(tmp_path / "in", f"{number}", "a\nb" if number == 0 else "a", 1000 * number + (900 if number else -100))
        run_script(tmp_path, CLASSES + text)
        seen = defaultdict(list)
        for kind, times in last(tmp_path, "counts"):
            seen[kind].append(times)
        assert seen == {
            name: [1, number + 1]
            for name in ("enum", "dataclass", "slots", "plain", "named", "nested", "within a tuple")
        }, f"after process {number}"


# ------------------------------------------------------------------------------------------------ values
VALUES = """
from dataclasses import dataclass

@dataclass
class Total:
    number: int = 0
    {more}

def key(line):
    return line, len(line)

def update(new, old):
    total = old or Total()
    total.number += {factor} * sum(new)
    return total

def remember(key, value, state):
    state.update(update([value], state.getOption()))

def define(ssc):
    from headwater.streaming import StateSpec
    pairs = ssc.textFileStream(str(root / "in")).map(key)
    pairs.updateStateByKey(update, 2).mapValues({read}).foreachRDD(results.of("update"))
    spec = StateSpec.function(remember).numPartitions(2).timeout(600)
    pairs.mapWithState(spec).stateSnapshots().mapValues({read}).foreachRDD(results.of("map"))

Driver(root / "checkpoints", define, upgrade={upgrade}).start({start}).until({until})
die()
"""


def test_values_are_of_the_new_class_after_an_upgrade(tmp_path: Path) -> None:
    put(tmp_path / "in", "1", "ab\nc", -100)
    old = {"more": "", "factor": 1, "read": "lambda total: total.number"}
    run_script(tmp_path, VALUES.format(**old, upgrade=False, start=-500, until=1))
    put(tmp_path / "in", "2", "ab", 1900)
    new = {"more": "def shown(self): return f'{self.number} in all'", "factor": 10, "read": "lambda t: t.shown()"}
    run_script(tmp_path, VALUES.format(**new, upgrade=True, start=1600, until=2))
    assert last(tmp_path, "update") == last(tmp_path, "map") == [["ab", "22 in all"], ["c", "1 in all"]]


# ------------------------------------------------------------------------------------------------ received records
RECEIVED = (
    CLASSES
    + """
from headwater.streaming import Receiver

class Once(Receiver):
    def onStart(self):
        if {stores}:
            self.store([Frozen("a"), Plain("a"), Letter("a")])
            (root / "stored").touch()
    def onStop(self):
        pass

def define(ssc):
    keys = ssc.receiverStream(Once())
    known = keys.filter(lambda key: key in (Frozen("a"), Plain("a"), Letter.A))
    known.map(lambda key: type(key).__name__).foreachRDD(results.of("known"))

driver = Driver(root / "checkpoints", define, upgrade={upgrade}).start({start})
if {stores}:
    while not (root / "stored").exists():
        pass
else:
    driver.until(2)
die()
"""
)


def test_received_records_that_wait_are_of_the_new_classes_after_an_upgrade(tmp_path: Path) -> None:
    logged = "spark.streaming.receiver.writeAheadLog.enable=true"
    run_script(tmp_path, RECEIVED.format(stores=True, upgrade=False, start=-500), logged)
    run_script(tmp_path, RECEIVED.format(stores=False, upgrade=True, start=1600), logged)
    assert sorted(Results(tmp_path / "results").records("known")) == ["Frozen", "Letter", "Plain"]


# ------------------------------------------------------------------------------------------------ what can't be taken
KEY = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Key:
    name: str
    def __hash__(self):
        return 5

def keys(line):
    return [(("key", Key(line)), 1)]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of a script that has counted "a" and "A" by its own class; another "a" has come since."""
    put(tmp_path / "in", "1", "a\nA", -100)
    run_script(tmp_path, KEY + program(-500, 1))
    put(tmp_path / "in", "2", "a", 1900)
    return tmp_path


UPGRADE = program(1600, 2, upgrade=True)
IMPORTED = "from shapes import Key\n" + KEY[KEY.index("def keys") :]
RENAMED = KEY.replace("Key", "Renamed")
# As dataclasses compare from Python 3.13 on.
LATE = "Key.__eq__ = lambda a, b: a is b or (a.name == b.name and a.number == b.number)\n"


@pytest.mark.parametrize("script", [IMPORTED, RENAMED + "Key = Renamed\n"], ids=["moved", "renamed"])
def test_class_may_move_and_be_renamed_if_the_script_has_its_name(root: Path, script: str) -> None:
    (root / "shapes.py").write_text(KEY[: KEY.index("def keys")])
    run_script(root, script + UPGRADE)
    assert last(root, "counts") == [["key", 1], ["key", 2]]
    put(root / "in", "3", "a", 2900)
    run_script(root, script + program(2600, 3))
    assert last(root, "counts") == [["key", 1], ["key", 3]]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (RENAMED, "keys are of the class Key, which the new script doesn't have"),
        (KEY.replace("name: str", "name: str\n    number: int"), "object has no attribute 'number'"),
        (KEY + LATE, "object has no attribute 'number'"),
        (KEY + "Key.__hash__ = lambda key: hash((key.name, 'salt'))\n", "belong into another partition"),
        (KEY + "Key.__eq__ = lambda a, b: a.name.lower() == b.name.lower()\n", "different keys .* have become equal"),
    ],
    ids=["gone", "another field", "another field of equal ones", "another hash", "another equality"],
)
def test_upgrade_is_refused_at_the_start_when_keys_cannot_meet_their_successors(
    root: Path, script: str, reason: str
) -> None:
    before = checkpoints(root)
    code, errors = ended_script(root, script + UPGRADE)
    assert code == 1
    message = errors.strip().splitlines()[-1]
    assert message.startswith("headwater.errors.SparkException: the state 'state-0' can't go on with this program")
    assert re.search(reason, message), message
    assert checkpoints(root) == before


def checkpoints(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "checkpoints").glob("checkpoint-*"))
