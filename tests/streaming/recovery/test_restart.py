"""Going on from a checkpoint: which batches are run, what sources bring, and what a new program may change."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, IllegalStateException, SparkException
from headwater.streaming import StreamingContext
from tests.conftest import SetConf
from tests.streaming.recovery.driving import START_MS, Driver, Results, put

SETTINGS = {
    "spark.streaming.clock": "ManualClock",
    "spark.streaming.fileStream.minRememberDuration": "2s",
    "headwater.streaming.fileStream.stabilityDuration": "0",
}


@pytest.fixture
def sc(no_context: None, request: pytest.FixtureRequest) -> Iterator[SparkContext]:
    """A context with settings of the test's own: `parametrize("sc", [{...}], indirect=True)`."""
    more = getattr(request, "param", {})
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("restart")
    with SparkContext(conf=conf.setAll({**SETTINGS, **more}.items())) as made:
        yield made


def settings(**values: str) -> pytest.MarkDecorator:
    """Settings of a test's context; dots are written `__`."""
    return pytest.mark.parametrize("sc", [{k.replace("__", "."): v for k, v in values.items()}], indirect=True)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def drive(sc: SparkContext, checkpoints: Path) -> Iterator[Callable[..., Driver]]:
    """Makes drivers of the directory; one that still runs is stopped first, and after the test."""
    drivers: list[Driver] = []

    def drive(define: Callable[[StreamingContext], None], **named: Any) -> Driver:
        for driver in drivers:
            driver.stop()
        drivers.append(Driver(checkpoints, define, **named))
        return drivers[-1]

    yield drive
    for driver in drivers:
        driver.stop()


@pytest.fixture
def lines(inbox: Path, results: Results) -> Callable[[StreamingContext], None]:
    """A program that notes the lines of each batch."""
    write = results.of("lines")

    def define(ssc: StreamingContext) -> None:
        ssc.textFileStream(str(inbox)).foreachRDD(write)

    return define


@pytest.fixture
def counts(inbox: Path, results: Results) -> Callable[[StreamingContext], None]:
    """A program that counts lines in windows, by both ways, and the batches of each line."""
    outputs = {name: results.of(name) for name in ("plain", "inverse", "state")}

    def define(ssc: StreamingContext) -> None:
        pairs = ssc.textFileStream(str(inbox)).map(lambda line: (line, 1))
        add = lambda a, b: a + b  # noqa: E731
        pairs.reduceByKeyAndWindow(add, None, 6, 2).foreachRDD(outputs["plain"])
        pairs.reduceByKeyAndWindow(add, lambda a, b: a - b, 6, 2).foreachRDD(outputs["inverse"])
        pairs.updateStateByKey(lambda new, old: (old or 0) + 1).foreachRDD(outputs["state"])

    return define


def count(new: list[int], old: int | None) -> int:
    return (old or 0) + sum(new)


# ------------------------------------------------------------------------------------------------ which batches
def test_missed_batches_run_in_order_and_times_stay_aligned(
    drive: Callable[..., Driver], lines: Callable[..., None], inbox: Path, results: Results
) -> None:
    driver = drive(lines).start()
    put(inbox, "a", "a", 900)
    assert driver.tick(3) == [0, 1, 2]
    put(inbox, "b", "b", 3900)
    driver = drive(lines).start(6300)
    assert driver.heard(4) == [3, 4, 5, 6]
    assert driver.tick() == [7]
    assert results.read("lines") == [[0, []], [1, ["a"]], [2, []], [3, []], [4, ["b"]], [5, []], [6, []], [7, []]]


@settings(headwater__streaming__recovery__missedBatches="merge")
def test_missed_batches_become_one_when_they_are_to_be_merged(
    drive: Callable[..., Driver], lines: Callable[..., None], inbox: Path, results: Results
) -> None:
    drive(lines).start().tick(2)
    put(inbox, "long ago", "1", 2900)  # older than a file stream's window, when the driver comes back
    put(inbox, "late", "2", 99_900)
    driver = drive(lines).start(100_300)
    assert driver.tick(2) == [101, 102]
    assert results.read("lines")[2:] == [[101, ["1", "2"]], [102, []]]


@settings(headwater__streaming__recovery__missedBatchesMax="3")
@pytest.mark.parametrize(("down_ms", "heard"), [(4300, [2, 3, 4, 5]), (5300, [6])])
def test_missed_batches_are_merged_when_they_are_more_than_the_cap(
    drive: Callable[..., Driver], lines: Callable[..., None], down_ms: int, heard: list[int]
) -> None:
    drive(lines).start().tick(2)
    driver = drive(lines).start(down_ms)
    assert (driver.heard(3) if len(heard) > 1 else []) + driver.tick() == heard


@settings(headwater__streaming__recovery__missedBatchesMax="3", spark__streaming__fileStream__minRememberDuration="2h")
def test_windows_and_states_agree_when_the_clock_of_a_running_driver_leaps_and_after_a_restart(
    drive: Callable[..., Driver], counts: Callable[..., None], inbox: Path, results: Results
) -> None:
    driver = drive(counts).start()
    for second in range(4):
        put(inbox, f"{second}", "a\nb", 1000 * second - 100)
        driver.tick()
    put(inbox, "leap", "a", 3700)
    driver.leap(3600)
    assert driver.heard(1) == [3603]
    put(inbox, "then", "b", 3_603_700)
    assert driver.tick(2) == [3604, 3605]
    driver = drive(counts).start(3_607_700)
    assert driver.heard(2) == [3606, 3607]
    driver.tick(2)
    assert results.read("inverse") == results.read("plain")
    assert [seconds for seconds, _ in results.read("plain")] == [1, 3, 3603, 3605, 3607, 3609]
    assert [records for seconds, records in results.read("plain") if seconds > 3] == [
        [["a", 1]],
        [["a", 1], ["b", 1]],
        [["a", 1], ["b", 1]],
        [["b", 1]],
    ]
    # Batches that did not take place evolve no state: from 0 s to 3 s, and from 3603 s on.
    assert [records[0] for _, records in results.read("state") if records] == [["a", n] for n in range(1, 12)]


@settings(headwater__streaming__recovery__missedBatches="merge")
def test_windows_agree_after_merged_batches_and_another_restart(
    drive: Callable[..., Driver], counts: Callable[..., None], inbox: Path, results: Results
) -> None:
    driver = drive(counts).start()
    for second in range(4):  # the last batch is no window's, and the next window is left out
        put(inbox, f"{second}", "a\nb", 1000 * second - 100)
        driver.tick()
    put(inbox, "down", "a", 4900)
    driver = drive(counts).start(6300)
    driver.tick(2)
    driver = drive(counts).start(10_300)
    driver.tick(2)
    assert results.read("inverse") == results.read("plain")
    assert [seconds for seconds, _ in results.read("plain")] == [1, 3, 7, 11]
    assert results.read("plain")[2] == [7, [["a", 3], ["b", 2]]]
    # Batches that did not take place evolve no state.
    assert [records[0] for _, records in results.read("state") if records] == [["a", n] for n in range(1, 9)]


def test_batch_that_failed_is_run_again_with_its_data(
    drive: Callable[..., Driver], inbox: Path, results: Results, tmp_path: Path
) -> None:
    write, broken = results.of("lines"), tmp_path / "broken"
    counts = results.of("counts")

    def define(ssc: StreamingContext) -> None:
        def output(time: Any, rdd: Any) -> None:
            if broken.exists() and not rdd.isEmpty():
                raise ValueError("broken")
            write(time, rdd)

        stream = ssc.textFileStream(str(inbox))
        stream.foreachRDD(output)
        stream.map(lambda line: (line, 1)).updateStateByKey(count).foreachRDD(counts)

    broken.touch()
    put(inbox, "a", "a", 0)
    driver = drive(define).start()
    driver.tick(8)
    broken.unlink()
    driver = drive(define).start(7700)
    assert driver.heard(1) == [0]
    assert driver.tick() == [8]
    assert ["a"] in [records for _, records in results.read("lines")]
    assert results.read("counts")[-1] == [8, [["a", 1]]]


def test_restart_is_refused_when_the_clock_is_far_behind(
    drive: Callable[..., Driver], lines: Callable[..., None]
) -> None:
    drive(lines).start().tick(2)
    driver = drive(lines)
    with pytest.raises(SparkException, match=r"last batch is that of 1700000001000 ms, 3601 s later. Set the clock"):
        driver.start(-3_600_000)


def test_no_batch_is_run_twice_when_the_clock_is_a_little_behind(
    drive: Callable[..., Driver], lines: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    drive(lines).start().tick(3)
    driver = drive(lines)
    with caplog.at_level(logging.WARNING):
        driver.start(-2500)
    assert "The clock is 4.5 s behind" in caplog.text
    driver.ssc.clock.advance(5500)  # type: ignore[attr-defined]
    assert driver.heard(1) == [3]


# ------------------------------------------------------------------------------------------------ file streams
IDENTITY = settings(headwater__streaming__fileStream__selection="identity")


@IDENTITY
@pytest.mark.parametrize("upgrade", [False, True])
def test_file_taken_long_ago_is_not_taken_again(
    drive: Callable[..., Driver], lines: Callable[..., None], inbox: Path, results: Results, upgrade: bool
) -> None:
    put(inbox, "before", "0", -60_000)
    driver = drive(lines).start()
    put(inbox, "a", "1", 0)
    put(inbox, "b", "2", 0)
    driver.tick(9)
    (inbox / "b").rename(inbox / "renamed while it was down")
    put(inbox, "down", "3", 9000)
    driver = drive(lines, upgrade=upgrade).start(10_300)
    driver.heard(2)
    driver.tick(4)
    drive(lines, upgrade=upgrade).start(15_300).tick(3)
    assert sorted(results.records("lines")) == ["1", "2", "3"]


@pytest.mark.parametrize("sc", [{}, IDENTITY.args[1][0]], ids=["modificationTime", "identity"], indirect=True)
def test_file_that_was_put_off_is_taken_after_a_restart_however_old_it_is(
    drive: Callable[..., Driver], lines: Callable[..., None], inbox: Path, results: Results
) -> None:
    driver = drive(lines).start()
    driver.ssc.graph.limit({0: 1.0})
    for name in "abcd":
        put(inbox, name, name, -100)
    driver.tick(2)
    driver = drive(lines).start(60_300)
    driver.heard(1)
    driver.tick()
    assert sorted(results.records("lines")) == ["a", "b", "c", "d"]


@IDENTITY
def test_what_a_file_stream_knows_is_bounded_by_its_directory(
    drive: Callable[..., Driver], lines: Callable[..., None], inbox: Path, checkpoints: Path
) -> None:
    from headwater.streaming.recovery.restart import find

    driver = drive(lines).start()
    for number in range(12):
        put(inbox, f"{number}", f"{number}", 1000 * number - 100)
        driver.tick()
        if number > 3:
            (inbox / f"{number - 3}").unlink()
    driver.stop()
    found = find(str(checkpoints), None)
    assert found is not None
    found.lock.close()
    known = {Path(path).name for path in found.checkpoint.ledger.memory["input-0"]}
    present = {path.name for path in inbox.iterdir()}
    assert present - {"11"} <= known and len(known) <= len(present) + 4


def test_new_file_is_taken_by_an_upgraded_program_when_it_came_while_none_ran(
    drive: Callable[..., Driver], lines: Callable[..., None], inbox: Path, results: Results
) -> None:
    drive(lines).start().tick(2)
    put(inbox, "down", "3", 2900)
    driver = drive(lines, upgrade=True)
    driver.start(5300).heard(3)
    assert results.records("lines") == ["3"]


# ------------------------------------------------------------------------------------------------ other sources
@pytest.mark.parametrize("kind", ["queueStream", "iteratorStream"])
def test_stream_that_cannot_go_on_says_so_at_the_start_and_at_recovery(
    drive: Callable[..., Driver], results: Results, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    write = results.of("records")

    def define(ssc: StreamingContext) -> None:
        getattr(ssc, kind)([[1]]).foreachRDD(write)

    with caplog.at_level(logging.WARNING):
        drive(define).start().tick()
    assert f"{kind} doesn't support checkpointing. Stream 0 can't go on" in caplog.text
    driver = drive(define)
    text = f"{kind} doesn't support checkpointing. Please don't use {kind} when checkpointing is enabled"
    with pytest.raises(IllegalArgumentException, match=text):
        driver.start(2000)


def test_stream_that_cannot_go_on_says_nothing_when_only_rdds_are_checkpointed(
    sc: SparkContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sc.setCheckpointDir(str(tmp_path))
    ssc = StreamingContext(sc, 1)
    ssc.queueStream([[1]]).foreachRDD(lambda rdd: None)
    with caplog.at_level(logging.WARNING):
        ssc.start()
    ssc.stop(stopSparkContext=False)
    assert "support checkpointing" not in caplog.text


# ------------------------------------------------------------------------------------------------ the new program
def test_nothing_can_be_added_to_a_context_that_goes_on(
    drive: Callable[..., Driver], lines: Callable[..., None]
) -> None:
    drive(lines).start().tick()
    ssc = drive(lines).ssc
    with pytest.raises(IllegalStateException, match="to a context that goes on from a checkpoint is not supported"):
        ssc.socketTextStream("localhost", 9999)


@pytest.fixture
def counting(inbox: Path, results: Results) -> Callable[..., Callable[[StreamingContext], None]]:
    """Programs that count lines, with differences."""
    write = results.of("counts")

    def make(
        prefix: str = "", partitions: int = 2, uid: str = "counts", first: str = "", second: bool = False
    ) -> Callable[[StreamingContext], None]:
        def define(ssc: StreamingContext) -> None:
            if first:
                ssc.textFileStream(first).foreachRDD(lambda rdd: None)
            pairs = ssc.textFileStream(str(inbox)).uid("lines").map(lambda line: (prefix + line, 1))
            pairs.updateStateByKey(count, partitions).uid(uid).foreachRDD(write)
            if second:
                pairs.updateStateByKey(count, 1).foreachRDD(write)

        return define

    return make


def test_upgrade_takes_new_functions_and_streams_and_the_data_of_the_checkpoint(
    drive: Callable[..., Driver], counting: Any, inbox: Path, results: Results, tmp_path: Path
) -> None:
    put(inbox, "a", "x", -100)
    driver = drive(counting()).start()
    driver.tick(4)
    put(inbox, "b", "x", 4500)
    driver = drive(counting(prefix="new ", first=str(tmp_path), second=True), upgrade=True).start(5300)
    driver.heard(2)
    assert results.read("counts")[3] == [3, [["x", 1]]]
    assert results.read("counts")[-2:] == [[5, [["new x", 1], ["x", 1]]], [5, [["new x", 1]]]]


def test_upgrade_is_refused_when_a_stream_is_gone_unless_it_may_be_dropped(
    drive: Callable[..., Driver], counting: Any, sc: SparkContext, set_conf: SetConf
) -> None:
    drive(counting()).start().tick(2)
    driver = drive(counting(uid="totals"), upgrade=True)
    text = "the checkpoint knows streams that the program doesn't have: counts. .* headwater.streaming.recovery.drop"
    with pytest.raises(SparkException, match=text):
        driver.start(2300)
    set_conf(sc, "headwater.streaming.recovery.dropUnknown", "true")
    drive(counting(uid="totals"), upgrade=True).start(2300).tick(2)
    set_conf(sc, "headwater.streaming.recovery.dropUnknown", "false")
    drive(counting(uid="totals"), upgrade=True).start(4300).tick()  # it was dropped for good


def test_upgrade_is_refused_when_a_state_has_another_number_of_partitions(
    drive: Callable[..., Driver], counting: Any
) -> None:
    drive(counting()).start().tick(2)
    driver = drive(counting(partitions=3), upgrade=True)
    with pytest.raises(SparkException, match="state 'counts' was stored in 2 partitions, .* Give it numPartitions=2"):
        driver.start(2300)


def test_upgrade_is_refused_when_the_batch_interval_is_another(
    drive: Callable[..., Driver], lines: Callable[..., None], sc: SparkContext, checkpoints: Path
) -> None:
    drive(lines).start().tick()
    drive(lines)

    def setup() -> StreamingContext:
        return StreamingContext(sc, 2)

    driver = drive(lines)
    driver.stop()
    with pytest.raises(SparkException, match="batch interval of 1000 ms, the new program one of 2000 ms"):
        StreamingContext.getOrCreate(str(checkpoints), setup, upgrade=True)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b"])
def test_uid_is_refused_when_it_is_no_name_of_a_directory(sc: SparkContext, name: str) -> None:
    with pytest.raises(ValueError, match="uid must be made of letters"):
        StreamingContext(sc, 1).textFileStream("/in").uid(name)


def test_uid_is_refused_when_the_stream_holds_nothing(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="only input streams and states have one .* this is a stream of map"):
        StreamingContext(sc, 1).textFileStream("/in").map(str).uid("mapped")


# ------------------------------------------------------------------------------------------------ the directory
def test_directory_is_free_when_the_context_that_found_it_is_stopped_or_cannot_start(
    drive: Callable[..., Driver], lines: Callable[..., None], checkpoints: Path
) -> None:
    drive(lines).start().tick()
    for _ in range(3):
        drive(lines)
    with pytest.raises(IllegalStateException, match="is in use by process"):
        Driver(checkpoints, lines)


@settings(headwater__streaming__checkpoint__interval="0", headwater__streaming__fileStream__selection="identity")
def test_files_do_not_accumulate_over_many_restarts(
    drive: Callable[..., Driver], counting: Any, inbox: Path, checkpoints: Path
) -> None:
    sizes = []
    for restart in range(20):
        put(inbox, "same name", f"{restart}", 3000 * restart - 100)
        driver = drive(counting()).start(3000 * restart - 500)
        driver.tick(3)
        driver.stop()
        for thread in threading.enumerate():
            if thread.name == "streaming-sweep":
                thread.join()
        sizes.append(sum(path.is_file() for path in checkpoints.rglob("*")))
    assert max(sizes[10:]) <= max(sizes[:10]) + 5, sizes


def test_restart_is_refused_when_checkpoints_were_removed_and_logs_were_not(
    drive: Callable[..., Driver], lines: Callable[..., None], checkpoints: Path
) -> None:
    driver = drive(lines).start()
    driver.tick(2)
    saved = [(path, path.read_bytes()) for path in checkpoints.rglob("log-*")]
    driver.stop()
    for path in checkpoints.glob("checkpoint-*"):
        path.unlink()
    for path, data in saved:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    with pytest.raises(SparkException, match="it holds the log .* but no checkpoint"):
        drive(lines)


@pytest.fixture
def crashed(
    drive: Callable[..., Driver], counting: Any, inbox: Path, checkpoints: Path, tmp_path: Path
) -> Callable[[StreamingContext], None]:
    """A program whose driver was killed after batch 2: `tmp_path / "copy"` is its directory at that time."""
    driver = drive(counting()).start()
    for second in range(3):
        put(inbox, f"{second}", "x", 1000 * second - 100)
        driver.tick()
    shutil.copytree(checkpoints, tmp_path / "copy", copy_function=copy_if_there)
    driver.stop()
    define: Callable[[StreamingContext], None] = counting()
    return define


def copy_if_there(source: str, target: str) -> None:
    """Copy a file, unless the driver has just removed it."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


def segment_of(directory: Path) -> Path:
    (segment,) = directory.glob("copy/receivedBlockMetadata/*/log-*")
    return segment


@pytest.mark.parametrize("lost", [3, 20])  # bytes of the last record: what stood before it was acted upon
def test_batch_is_run_again_when_the_end_of_the_log_is_torn(
    crashed: Callable[[StreamingContext], None], tmp_path: Path, results: Results, lost: int
) -> None:
    segment = segment_of(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-lost])
    driver = Driver(tmp_path / "copy", crashed).start(2700)
    heard = driver.tick()
    while heard != [3]:
        heard = driver.heard(1)
    driver.stop()
    assert results.read("counts")[-1] == [3, [["x", 3]]]


def test_restart_is_refused_when_the_log_is_damaged_unless_that_is_to_be_skipped(
    crashed: Callable[[StreamingContext], None],
    tmp_path: Path,
    sc: SparkContext,
    set_conf: SetConf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    segment = segment_of(tmp_path)
    whole = bytearray(segment.read_bytes())
    whole[len(whole) // 2] ^= 0x40
    segment.write_bytes(whole)
    with pytest.raises(SparkException, match=r"log-.*, offset \d+: .* set headwater.streaming.log.corruption to skip"):
        Driver(tmp_path / "copy", crashed)
    set_conf(sc, "headwater.streaming.log.corruption", "skip")
    with caplog.at_level(logging.WARNING):
        driver = Driver(tmp_path / "copy", crashed).start(2700)
    driver.tick()
    driver.stop()
    assert "bytes skipped" in caplog.text


def test_settings_come_from_the_checkpoint(
    drive: Callable[..., Driver], lines: Callable[..., None], sc: SparkContext, set_conf: SetConf
) -> None:
    set_conf(sc, "spark.default.parallelism", "3")
    drive(lines).start().tick()
    drive(lines).stop()
    sc.stop()
    driver = drive(lines)
    made = driver.ssc.sparkContext
    assert made is not sc
    assert (made.appName, made.master, made.getConf().get("spark.default.parallelism")) == ("restart", "local[2]", "3")
    driver.start(1500)
    driver.ssc.stop()


def test_first_batches_of_a_new_directory_begin_at_the_clock(
    drive: Callable[..., Driver], lines: Callable[..., None], checkpoints: Path
) -> None:
    driver = drive(lines).start()
    assert driver.tick() == [0]
    assert f"checkpoint-{START_MS - 1000}-1" in {path.name for path in checkpoints.iterdir()}
