"""The ledger: entries, images, replay, and what a restart has to run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import SparkException
from headwater.streaming.recovery.ledger import (
    BatchBegun,
    BatchDone,
    BatchDropped,
    BatchesAmended,
    Block,
    BlockAdded,
    Forgotten,
    Ledger,
    LogsLost,
    Started,
    VersionsStored,
    decode_entry,
    encode_entry,
    replay,
)
from headwater.streaming.recovery.segment import LogPosition
from tests.effort import tries


def block(number: int, *, logged: bool = True) -> Block:
    position = LogPosition(f"/dir/receivedData/0/log-{number}", 16, 100)
    return Block(f"input-0-{number}", 10, 0, position if logged else None)


def begun(time_ms: int, *, files: Any = None, blocks: list[str] | None = None, memory: Any = None) -> BatchBegun:
    return BatchBegun(
        time_ms, {"files": files} if files else {}, {"receiver": blocks} if blocks else {}, {"files": memory or {}}
    )


def ledger_of(*entries: Any) -> Ledger:
    ledger = Ledger(1000, 10_000)
    for entry in entries:
        ledger.apply(entry)
        ledger.check()
    return ledger


# ------------------------------------------------------------------------------------------------ entries
def test_batch_takes_the_blocks_that_it_names_and_leaves_the_others() -> None:
    ledger = ledger_of(
        *(BlockAdded("receiver", block(number)) for number in (1, 2, 3)),
        begun(11_000, blocks=["input-0-1", "input-0-3"]),
    )
    assert ledger.inputs["receiver"] == {11_000: [block(1), block(3)]}
    assert ledger.waiting["receiver"] == [block(2)]


def test_start_drops_what_died_with_the_driver_before() -> None:
    ledger = ledger_of(
        BlockAdded("receiver", block(1, logged=False)),
        BlockAdded("receiver", block(2)),
        BlockAdded("gone", block(3)),
        begun(11_000, files=["a"], memory={"/a": [1]}),
        VersionsStored([["state", 11_000, 0, ["1/a"]], ["state", 12_000, 0, ["1/b"]], ["old", 11_000, 0, ["1/c"]]]),
        Started(["receiver", "files"], {"state": (1, 11_000), "new": (2, None)}),
    )
    assert ledger.waiting == {"receiver": [block(2)]}
    assert ledger.versions == {"state": {11_000: {0: ["1/a"]}}}
    assert ledger.partitions == {"state": 1, "new": 2}
    assert ledger.memory == {"files": {"/a": [1]}}


def test_memory_is_what_changed_last_and_forgets_what_it_is_told_to() -> None:
    ledger = ledger_of(
        begun(11_000, memory={"/a": 1, "/b": 2}), begun(12_000, memory={"/a": None, "/b": 3}), begun(13_000)
    )
    assert ledger.memory == {"files": {"/b": 3}}


def test_forgotten_inputs_and_versions_are_gone_and_failed_batches_given_up() -> None:
    ledger = ledger_of(
        *(begun(time_ms, files=[time_ms]) for time_ms in (11_000, 12_000, 13_000)),
        VersionsStored([["state", time_ms, 0, [f"{time_ms}"]] for time_ms in (11_000, 12_000, 13_000)]),
        BatchDone(12_000),
        Forgotten({"files": 11_000}, {"state": [12_000, 13_000]}, 11_000),
    )
    assert ledger.inputs["files"] == {12_000: [12_000], 13_000: [13_000]}
    assert [*ledger.versions["state"]] == [12_000, 13_000]
    assert [*ledger.pending] == [13_000]


def test_dropped_batch_did_not_take_place_and_what_it_brought_is_taken() -> None:
    ledger = ledger_of(
        *(begun(time_ms, files=[time_ms]) for time_ms in (11_000, 12_000, 13_000)),
        BatchDropped(12_000),
        BatchDropped(11_000),
        begun(16_000),
    )
    assert [*ledger.pending] == [13_000, 16_000]
    assert ledger.skipped == [(10_000, 12_000), (11_000, 13_000), (13_000, 16_000)]
    assert [*ledger.inputs["files"]] == [11_000, 12_000, 13_000]


def test_entry_of_a_later_version_is_refused() -> None:
    with pytest.raises(SparkException, match="'Future' of a log: it was written by a later version"):
        decode_entry(b'["Future", 1]')


# ------------------------------------------------------------------------------------------------ what is missed
@pytest.mark.parametrize(
    ("entries", "until_ms", "missed"),
    [
        ([], 11_000, []),
        ([begun(11_000), BatchDone(11_000)], 12_000, []),
        ([begun(11_000)], 12_000, [11_000]),
        ([begun(11_000), BatchDone(11_000)], 14_000, [12_000, 13_000]),
        ([begun(11_000), begun(12_000), BatchDone(12_000)], 14_000, [11_000, 13_000]),
        ([begun(11_000), begun(12_000)], 13_000, [11_000, 12_000]),
    ],
)
def test_missed_batches_are_the_pending_ones_and_those_of_the_down_time(
    entries: list[Any], until_ms: int, missed: list[int]
) -> None:
    assert ledger_of(*entries).missed(until_ms) == missed


def test_skipped_batches_are_known_as_long_as_inputs_of_before_are_needed() -> None:
    ledger = ledger_of(begun(11_000), begun(15_000), begun(16_000))
    assert ledger.skipped == [(11_000, 15_000)]
    ledger.apply(Forgotten({"files": 14_000}, {}, -1))
    assert ledger.skipped == [(11_000, 15_000)]
    ledger.apply(Forgotten({"files": 15_000}, {}, -1))
    assert ledger.skipped == []


def test_blocks_of_lost_logs_are_in_no_log_any_more() -> None:
    lost, kept = block(1), block(2)
    ledger = ledger_of(BlockAdded("receiver", lost), BlockAdded("receiver", kept), begun(11_000, blocks=["input-0-1"]))
    ledger.apply(LogsLost("receiver", ["/dir/receivedData/0/log-1"]))
    assert ledger.inputs["receiver"] == {11_000: [block(1, logged=False)]}
    assert ledger.waiting["receiver"] == [block(2)]


def test_amended_batch_brings_less_and_one_that_is_forgotten_stays_so() -> None:
    ledger = ledger_of(BatchBegun(11_000, {"files": [["a"], ["b"]]}, {}, {"files": {"a": True, "b": True}}))
    ledger.apply(BatchesAmended([["files", 11_000, [["b"]]], ["files", 10_000, []]], {"files": {"a": None}}))
    assert (ledger.inputs, ledger.memory) == ({"files": {11_000: [["b"]]}}, {"files": {"b": True}})
    assert list(ledger.pending) == [11_000]


# ------------------------------------------------------------------------------------------------ the format
SEGMENT = "/dir/receivedData/0/log-1000-61000-1-0123abcd"

#: As logs and images of format 2 have had them from the beginning, byte by byte.
ENTRIES_OF_FORMAT_2 = [
    b'["Started",["clicks","files"],{"totals":[2,null]},{"clicks":["receiver stream of x.Y","h:1 (00)"],'
    b'"files":["file stream of","file:/in"]}]',
    b'["BlockAdded","clicks",["input-0-1",10,1,["/dir/receivedData/0/log-1000-61000-1-0123abcd",16,100]]]',
    b'["BlockAdded","clicks",["input-0-2",10,1,null]]',
    b'["BlockAdded","clicks",["input-0-3",10,1,["/dir/receivedData/0/log-1000-61000-1-0123abcd",48,100]]]',
    b'["BatchBegun",11000,{"files":[["/in/a",3,5,"7-9"]]},{"clicks":["input-0-1","input-0-2"]},'
    b'{"files":{"/in/a":true}}]',
    b'["VersionsStored",[["totals",11000,0,["1/a"]]]]',
]
IMAGE_OF_FORMAT_2 = (
    b'{"format":2,"batch_ms":1000,"zero_ms":10000,"generated_ms":11000,"pending":[11000],'
    b'"waiting":{"clicks":[["input-0-3",10,1,["/dir/receivedData/0/log-1000-61000-1-0123abcd",48,100]]]},'
    b'"inputs":{"files":{"11000":[["/in/a",3,5,"7-9"]]},'
    b'"clicks":{"11000":[["input-0-1",10,1,["/dir/receivedData/0/log-1000-61000-1-0123abcd",16,100]],'
    b'["input-0-2",10,1,null]]}},'
    b'"memory":{"files":{"/in/a":true}},"streams":["clicks","files"],'
    b'"sources":{"clicks":["receiver stream of x.Y","h:1 (00)"],"files":["file stream of","file:/in"]},'
    b'"skipped":[],"partitions":{"totals":2},"versions":{"totals":{"11000":{"0":["1/a"]}}}}'
)


def image_of(ledger: Ledger) -> bytes:
    return json.dumps(ledger.image(), separators=(",", ":")).encode()


def blocks_of_format_2() -> tuple[Block, Block, Block]:
    return (
        Block("input-0-1", 10, 1, LogPosition(SEGMENT, 16, 100)),
        Block("input-0-2", 10, 1, None),
        Block("input-0-3", 10, 1, LogPosition(SEGMENT, 48, 100)),
    )


def test_entries_and_image_are_written_as_format_2_has_them() -> None:
    assert [encode_entry(decode_entry(data)) for data in ENTRIES_OF_FORMAT_2] == ENTRIES_OF_FORMAT_2
    assert image_of(replay(Ledger(1000, 10_000), ENTRIES_OF_FORMAT_2)) == IMAGE_OF_FORMAT_2
    assert image_of(Ledger.from_image(json.loads(IMAGE_OF_FORMAT_2))) == IMAGE_OF_FORMAT_2


@pytest.mark.parametrize("replayed", [True, False], ids=["log", "image"])
def test_blocks_of_format_2_are_read_whether_a_batch_has_them_or_not(replayed: bool) -> None:
    ledger = Ledger.from_image(json.loads(IMAGE_OF_FORMAT_2))
    if replayed:
        ledger = replay(Ledger(1000, 10_000), ENTRIES_OF_FORMAT_2)
    first, second, third = blocks_of_format_2()
    assert ledger.received("clicks") == {11_000: [first, second]}
    assert ledger.waiting == {"clicks": [third]}
    assert ledger.blocks("clicks") == [first, second, third]
    assert ledger.positions("clicks") == [first.position, third.position]
    assert ledger.inputs["files"] == {11_000: [["/in/a", 3, 5, "7-9"]]}


def test_blocks_of_an_image_lose_their_logs_as_live_ones_do() -> None:
    ledger = Ledger.from_image(json.loads(IMAGE_OF_FORMAT_2))
    ledger.apply(LogsLost("clicks", [SEGMENT]))
    assert ledger.positions("clicks") == []
    ledger.apply(LogsLost("clicks", [SEGMENT]))
    ledger.apply(LogsLost("new", [SEGMENT]))
    assert [block.id for block in ledger.blocks("clicks")] == ["input-0-1", "input-0-2", "input-0-3"]


# ------------------------------------------------------------------------------------------------ images and replay
names = st.sampled_from(["a", "b"])
times = st.integers(11, 30).map(lambda seconds: seconds * 1000)
segments = st.lists(st.text("abc/", min_size=1), max_size=3)
memories = st.dictionaries(names, st.dictionaries(names, st.one_of(st.none(), st.integers())))
states = st.dictionaries(names, st.tuples(st.integers(1, 2), st.none()))
sources = st.dictionaries(names, st.lists(names, max_size=2))


@st.composite
def histories(draw: st.DrawFn) -> list[Any]:
    """Entries as a program posts them: block ids are new, batches ascend but where one is run again."""
    entries: list[Any] = []
    ids: list[str] = []
    last_ms = 10_000
    for number in range(draw(st.integers(0, 25))):
        kinds = ["start", "block", "begin", "again", "amend", "done", "drop", "version", "forget"]
        kind = draw(st.sampled_from(kinds))
        if kind == "start":
            entries.append(Started(draw(st.lists(names, unique=True)), draw(states), draw(sources)))
        elif kind == "block":
            entries.append(BlockAdded(draw(names), block(number, logged=draw(st.booleans()))))
            ids.append(f"input-0-{number}")
        elif kind in ("begin", "again"):
            again = kind == "again" and any(isinstance(entry, BatchBegun) for entry in entries)
            begun_before = [entry.time_ms for entry in entries if isinstance(entry, BatchBegun)]
            time_ms = draw(st.sampled_from(begun_before)) if again else last_ms + 1000 * draw(st.integers(1, 3))
            last_ms = max(last_ms, time_ms)
            taken = {name: draw(st.lists(st.sampled_from(ids), unique=True)) for name in ("a", "b")} if ids else {}
            inputs = draw(st.dictionaries(names, st.lists(st.integers())))
            entries.append(BatchBegun(time_ms, inputs, taken, draw(memories)))
        elif kind == "amend":
            entries.append(BatchesAmended([[draw(names), draw(times), [draw(st.integers())]]], draw(memories)))
        elif kind == "done":
            entries.append(BatchDone(draw(times)))
        elif kind == "drop":
            entries.append(BatchDropped(draw(times)))
        elif kind == "version":
            stored = [draw(names), draw(times), draw(st.integers(0, 1)), draw(segments)]
            entries.append(VersionsStored([stored]))
        else:
            kept = draw(st.dictionaries(names, st.lists(times)))
            entries.append(Forgotten(draw(st.dictionaries(names, times)), kept, draw(times)))
    return entries


@settings(max_examples=tries(60))
@given(histories(), st.data())
def test_image_and_the_entries_after_it_make_the_same_ledger_as_all_entries(entries: list[Any], data: Any) -> None:
    at = data.draw(st.integers(0, len(entries)))
    whole = Ledger(1000, 10_000)
    for entry in entries:
        whole.apply(entry)
    imaged = Ledger(1000, 10_000)
    for entry in entries[:at]:
        imaged.apply(entry)
    again = Ledger.from_image(json.loads(json.dumps(imaged.image())))
    replay(again, map(encode_entry, entries[at:]))
    assert json.dumps(again.image()) == json.dumps(whole.image())


@given(histories())
def test_replay_applies_what_was_encoded(entries: list[Any]) -> None:
    live = Ledger(1000, 10_000)
    for entry in entries:
        live.apply(entry)
    assert json.dumps(replay(Ledger(1000, 10_000), map(encode_entry, entries)).image()) == json.dumps(live.image())
