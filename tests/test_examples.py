"""The examples as a user runs them: a process each, its arguments, what it prints, and how it ends."""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from headwater.deploy.textserver import TextServer
from tests.engine.processes import alive, complaints, descendants, name_of, scratch_directories
from tests.waiting import wait_for

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE_SECONDS = 60.0
COUNT = re.compile(r"\('(\w+)', (\d+)\)")


def started(example: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / example), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(example: str, *arguments: object) -> list[str]:
    """The lines that an example prints."""
    with started(example, *arguments) as process:
        try:
            output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, complaints(errors)) == (0, [])
    return output.splitlines()


def ten_most_frequent(text: str) -> list[str]:
    counts = sorted(Counter(text.split()).items(), key=lambda pair: (-pair[1], pair[0]))
    return [f"{word}: {count}" for word, count in counts[:10]]


def test_wordcount_prints_the_most_frequent_words_of_a_directory(tmp_path: Path) -> None:
    text = "to be or not to be\nthat is the question\nis it not\n"
    for name, part in (("one.txt", text), ("two.txt", text.upper()), ("three.txt", "be\n" * 9)):
        (tmp_path / name).write_text(part)
    assert printed("wordcount.py", tmp_path) == ten_most_frequent(text + text.upper() + "be\n" * 9)


def test_wordcount_counts_its_own_words_by_default() -> None:
    assert printed("wordcount.py") == ten_most_frequent((EXAMPLES / "wordcount.py").read_text())


def test_pi_is_what_its_darts_say() -> None:
    inside = 0
    for partition in range(3):
        darts = random.Random(partition)
        inside += sum(darts.random() ** 2 + darts.random() ** 2 < 1 for _ in range(100_000))
    assert printed("pi.py", 3) == [f"Pi is roughly {4 * inside / 300_000:.4f}"]


def test_sort_prints_the_least_numbers_in_order(tmp_path: Path) -> None:
    numbers = random.Random(1).choices(range(-1000, 1000), k=500)
    (tmp_path / "numbers").write_text("\n".join(map(str, numbers)))
    assert printed("sort.py", tmp_path / "numbers") == [str(number) for number in sorted(numbers)[:10]]


def test_sort_makes_numbers_up_by_default() -> None:
    numbers = [int(line) for line in printed("sort.py")]
    assert len(numbers) == 10
    assert numbers == sorted(numbers)


def ranked(links: list[tuple[str, str]], iterations: int) -> list[str]:
    """Page rank over dictionaries."""
    targets: dict[str, set[str]] = {}
    for page, target in links:
        targets.setdefault(page, set()).add(target)
    ranks = dict.fromkeys(targets, 1.0)
    for _ in range(iterations):
        received = dict.fromkeys(ranks.keys() & targets.keys(), 0.0)
        for page in list(received):
            for target in targets[page]:
                received[target] = received.get(target, 0.0) + ranks[page] / len(targets[page])
        ranks = {page: 0.15 + 0.85 * rank for page, rank in received.items()}
    return [f"{page} {rank:.3f}" for page, rank in sorted(ranks.items(), key=lambda item: -item[1])]


def test_pagerank_ranks_a_small_web() -> None:
    web = ["home news", "home shop", "news home", "shop home", "shop news", "help home"]
    expected = ranked([(page, target) for page, target in map(str.split, web)], 10)
    assert expected[-1] == "help 0.150"  # no page links to it
    assert printed("pagerank.py") == expected


def test_pagerank_reads_links_and_iterations(tmp_path: Path) -> None:
    (tmp_path / "links").write_text("a b\na c\nb c\nc a\nd c\nd c\nd nowhere\n")
    links = [("a", "b"), ("a", "c"), ("b", "c"), ("c", "a"), ("d", "c"), ("d", "nowhere")]
    assert printed("pagerank.py", tmp_path / "links", 3) == ranked(links, 3)


def test_broadcast_and_accumulator_counts_what_it_knows_and_what_it_does_not() -> None:
    assert printed("broadcast_and_accumulator.py") == ["Austria: 2", "Germany: 3", "Switzerland: 1", "unknown: 2"]


def test_network_wordcount_counts_every_word_until_ctrl_c() -> None:
    with (
        TextServer(["drip drop", "drip"], lines_per_s=500) as server,
        started("network_wordcount.py", server.host, server.port) as process,
    ):
        try:
            assert process.stdout is not None
            read = ""
            while len(COUNT.findall(read)) < 6:  # three batches of two words
                line = process.stdout.readline()
                assert line, f"it ended early:\n{read}"
                read += line
            processes = descendants(process.pid)
            directories = scratch_directories({process.pid, *processes})
            assert processes and directories
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, complaints(errors)) == (0, [])
    sums: Counter[str] = Counter()
    for word, count in COUNT.findall(read + rest):
        sums[word] += int(count)
    # Lines came in order and none was left out, so both sums tell how many.
    assert sums["drop"] == math.ceil(sums["drip"] / 2)
    wait_for(lambda: not alive(processes), f"ended: {[name_of(pid) for pid in processes]}")
    assert [path for path in directories if os.path.exists(path)] == []


def test_network_wordcount_says_once_that_nobody_listens_and_ends_in_time() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        with started("network_wordcount.py", "127.0.0.1", port, 3) as process:
            try:
                output, errors = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
    assert process.returncode == 0
    assert output.count("Time: ") >= 1
    assert COUNT.findall(output) == []
    assert errors.count(f"Error connecting to 127.0.0.1:{port}") == 1


def printed_of(
    lines: list[str], lines_per_s: int, enough: Callable[[str], bool], example: str, *arguments: object
) -> str:
    """What an example prints that reads these lines, over and over; it is ended by Ctrl-C once there is enough.

    The arguments are the example's; "HOST" and "PORT" stand for the server's.
    """
    with TextServer(lines, lines_per_s=lines_per_s) as server:
        places = {"HOST": server.host, "PORT": server.port}
        with started(example, *(places.get(str(argument), argument) for argument in arguments)) as process:
            try:
                assert process.stdout is not None
                read = ""
                while not enough(read):
                    line = process.stdout.readline()
                    assert line, f"it ended early:\n{read}"
                    read += line
                process.send_signal(signal.SIGINT)
                rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
    assert (process.returncode, complaints(errors)) == (0, [])
    return read + rest


def test_windowed_wordcount_counts_a_window_again_and_again() -> None:
    def enough(text: str) -> bool:
        return len(COUNT.findall(text)) >= 6  # three windows of two words

    printed = printed_of(["drip drop", "drip"], 200, enough, "windowed_wordcount.py", "HOST", "PORT", 2, 1)
    windows = [dict(COUNT.findall(window)) for window in printed.split("Time: ") if COUNT.search(window)]
    for counts in windows[:3]:
        assert abs(int(counts["drip"]) - 2 * int(counts["drop"])) <= 1  # a window may begin between the lines
    assert int(windows[1]["drip"]) > int(windows[0]["drip"])  # the first one is of one batch only
    assert printed.index("'drip'") < printed.index("'drop'")


def test_stateful_wordcount_goes_on_counting_from_what_it_began_with() -> None:
    def enough(text: str) -> bool:
        return len(re.findall(r"'drip', [1-9]", text)) >= 3

    printed = printed_of(["drip drop", "drip hello"], 200, enough, "stateful_network_wordcount.py", "HOST", "PORT")
    # The last one may not be whole.
    batches = [{word: int(count) for word, count in COUNT.findall(text)} for text in printed.split("Time: ")[1:-1]]
    assert all(batch["world"] == 1 for batch in batches)
    for before, batch in pairwise(batches):
        assert all(batch[word] >= before[word] for word in before)
    last = next(batch for batch in reversed(batches) if "drip" in batch)
    assert last["drop"] == math.ceil(last["drip"] / 2)  # lines came in order and none was left out
    assert last["hello"] == 1 + last["drip"] // 2


def test_sessions_are_told_of_when_they_have_ended() -> None:
    def enough(text: str) -> bool:
        return len(COUNT.findall(text)) >= 1

    # One line a second: each user is idle for a batch in between.
    printed = printed_of(["ann logs in", "bob buys"], 1, enough, "sessions.py", "HOST", "PORT", 0.001)
    assert {user for user, _ in COUNT.findall(printed)} <= {"ann", "bob"}
    assert "None" not in printed


def test_recoverable_wordcount_goes_on_after_a_kill(tmp_path: Path) -> None:
    output = tmp_path / "output"

    def totals() -> list[tuple[str, dict[str, int]]]:
        lines = output.read_text().splitlines() if output.exists() else []
        return [(time, counts) for time, counts in map(json.loads, lines)]

    def counted(count: int) -> Callable[[], bool]:
        return lambda: any(counts.get("drip", 0) >= count for _, counts in totals())

    with TextServer(["drip"], lines_per_s=200) as server:
        arguments = (server.host, server.port, tmp_path / "checkpoints", output)
        with started("recoverable_network_wordcount.py", *arguments) as process:
            wait_for(counted(1), "counts")
            process.kill()
        before = totals()[-1][1]["drip"]
        with started("recoverable_network_wordcount.py", *arguments) as process:
            try:
                wait_for(counted(before + 200), "counts after the restart")
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
    assert process.returncode == 0, errors
    counts_of: dict[str, dict[str, int]] = {}
    for time, counts in totals():
        assert counts_of.setdefault(time, counts) == counts, "a batch that is run again has the same data"
    counted_drips = [counts["drip"] for _, counts in sorted(counts_of.items()) if counts]
    assert counted_drips == sorted(counted_drips)


def test_spam_filter_drops_what_known_spammers_send(tmp_path: Path) -> None:
    (tmp_path / "spammers").write_text("mallory\ntrudy \n")
    lines = ["alice see you at eight", "mallory win a prize", "trudy hello", "bob fine"]

    def enough(text: str) -> bool:
        return "alice" in text and "bob" in text

    # A batch has few enough of them for all to be printed.
    printed = printed_of(lines, 8, enough, "spam_filter.py", tmp_path / "spammers", "HOST", "PORT")
    assert "('alice', 'see you at eight')" in printed
    assert "('bob', 'fine')" in printed
    assert "mallory" not in printed and "trudy" not in printed


def test_sqlite_sink_writes_each_count_once(tmp_path: Path) -> None:
    path = tmp_path / "counts.db"

    def rows() -> list[tuple[str, str, int]]:
        with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as database:
            return database.execute("SELECT batch, word, n FROM counts ORDER BY batch, word").fetchall()

    def enough() -> bool:
        return path.exists() and len(tables(path)) == 1 and len({batch for batch, _, _ in rows()}) >= 2

    with (
        TextServer(["drip drop", "drip"], lines_per_s=200) as server,
        started("sqlite_sink.py", path, server.host, server.port) as process,
    ):
        try:
            wait_for(enough, "two batches are in the database")
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, output, complaints(errors)) == (0, "", [])
    sums: Counter[str] = Counter()
    for _, word, count in rows():
        sums[word] += count
    assert sums["drop"] == math.ceil(sums["drip"] / 2)


def test_exactly_once_sqlite_keeps_totals(tmp_path: Path) -> None:
    path = tmp_path / "totals.db"

    def rows(query: str) -> list[tuple[int]]:
        with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as database:
            return database.execute(query).fetchall()

    def enough() -> bool:
        return (
            path.exists()
            and len(tables(path)) == 2
            and rows("SELECT count(DISTINCT batch_ms) FROM headwater_commits WHERE partition_id >= 0") >= [(2,)]
            and rows("SELECT count(*) FROM totals") == [(2,)]
        )

    with (
        TextServer(["drip drop", "drip"], lines_per_s=200) as server,
        started("exactly_once_sqlite.py", path, server.host, server.port) as process,
    ):
        try:
            wait_for(enough, "two batches are in the database")
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, output, complaints(errors)) == (0, "", [])
    (drip,), (drop,) = rows("SELECT n FROM totals ORDER BY word")
    assert drop == math.ceil(drip / 2)


def tables(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as database:
        return database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()


def test_unit_test_passes() -> None:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / "unit_test.py")], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert ended.returncode == 0, ended.stderr
    assert "Ran 2 tests" in ended.stderr


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_says_how_to_run_it(example: str) -> None:
    assert f"python examples/{example}" in (EXAMPLES / example).read_text().split('"""')[1]
