"""The examples of SQL as a user runs them: what they print and write, after a kill too, and how they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from headwater.deploy.textserver import TextServer
from tests.engine.processes import alive, complaints, descendants, name_of
from tests.sql.stores import Store, new_store
from tests.test_examples import PATIENCE_SECONDS, started
from tests.waiting import wait_for

pytest.importorskip("pysail")
parquet = pytest.importorskip("pyarrow.parquet")

TABLE = re.compile(r"(\+[-+]+\+\n)\|.*\|\n\1((?:\|.*\|\n)*)\1")


@pytest.fixture(autouse=True)
def _tables_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a pipe, other than on a terminal, Python prints once it has some kilobytes."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")


@contextmanager
def running(example: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with started(example, *arguments) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            print(
                process.communicate(timeout=PATIENCE_SECONDS)[1]
            )  # what it complained of, for the report of the failure
            raise
        finally:
            process.kill()


def read(process: subprocess.Popen[str], enough: Callable[[str], bool]) -> str:
    """What a program prints until there is enough. Nothing is left in a buffer, where `communicate` doesn't look."""
    assert process.stdout is not None
    text = ""
    while not enough(text):
        printed = os.read(process.stdout.fileno(), 1 << 16).decode()
        assert printed, f"it ended early:\n{text}"
        text += printed
    return text


def ended(process: subprocess.Popen[str]) -> str:
    """What a program still prints when Ctrl-C ends it: without a complaint, and without leaving a process."""
    processes = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, complaints(errors)) == (0, [])
    wait_for(lambda: not alive(processes), lambda: f"ended: {[name_of(pid) for pid in alive(processes)]}")
    return rest


def killed(process: subprocess.Popen[str]) -> str:
    """What a program has still printed that is killed by kill -9; what it had started ends with it."""
    processes = descendants(process.pid)
    process.kill()
    rest, _ = process.communicate(timeout=PATIENCE_SECONDS)
    wait_for(lambda: not alive(processes), lambda: f"ended: {[name_of(pid) for pid in alive(processes)]}")
    return rest


def tables(text: str) -> list[list[list[str]]]:
    """The rows of the tables in a text, without heads; tables that have none are left out."""
    rows = [
        [[cell.strip() for cell in line[1:-1].split("|")] for line in m[2].splitlines()] for m in TABLE.finditer(text)
    ]
    return [table for table in rows if table]


def shown(count: int) -> Callable[[str], bool]:
    return lambda text: len(tables(text)) >= count


def put(directory: Path, name: str, text: str) -> None:
    """A file that is there at once."""
    (directory.parent / name).write_text(text)
    (directory.parent / name).rename(directory / name)


def test_word_count_goes_on_showing_tables_after_a_kill(tmp_path: Path) -> None:
    with TextServer(["drip drop", "drip"], lines_per_s=200) as server:
        arguments = ("sql_network_wordcount.py", server.host, server.port, tmp_path / "checkpoints")
        with running(*arguments) as process:
            before = read(process, shown(2)) + killed(process)
        with running(*arguments) as process:
            after = read(process, shown(3)) + ended(process)
    counts: dict[str, dict[str, int]] = {}
    for batch_time, _, text in (batch.partition("\n") for batch in (before + after).split("Time: ")):
        for table in tables(text):
            count = {word: int(total) for word, total in table}
            assert counts.setdefault(batch_time, count) == count, "a batch that is run again has the same data"
    sums = sum(map(Counter, counts.values()), Counter[str]())
    # Lines came in order over two connections, and what is missing are each one's last.
    assert 0 <= 2 * sums["drop"] - sums["drip"] <= 2


def test_popular_hashtags_shows_the_ten_most_frequent_of_each_window() -> None:
    lines = [f"a #Rain and #tag{number:02}" for number in range(12)]
    with (
        TextServer(lines, lines_per_s=240) as server,
        running("sql_popular_hashtags.py", server.host, server.port, 2, 1) as process,
    ):
        text = read(process, shown(4)) + ended(process)
    windows = [[(tag, int(total)) for tag, total in table] for table in tables(text)]
    for window in windows:
        (most, rains), *others = window
        assert most == "#rain"
        assert others == sorted(others, key=lambda row: (-row[1], row[0]))
        assert all(abs(12 * total - rains) <= 12 for _, total in others)  # each has its turn
    assert [len(window) for window in windows[1:4]] == [10] * 3
    assert windows[1][0][1] > windows[0][0][1]  # the first one is of one batch only


@pytest.mark.parametrize("with_users", [True, False], ids=["a table of users", "users that it makes"])
def test_enrichment_prints_and_writes_each_event_with_its_users_country(tmp_path: Path, with_users: bool) -> None:
    import pyarrow as pa

    countries = {"ann": "Austria", "bob": "Brazil", "eve": "Estonia"}
    if with_users:
        countries = {"ann": "Andorra", "joe": "Japan"}
        parquet.write_table(pa.table({"id": list(countries), "country": list(countries.values())}), tmp_path / "users")
    events, output = tmp_path / "events", tmp_path / "output"
    events.mkdir()
    sent = [(user, item, price) for price, user in enumerate(["ann", "bob", "joe"]) for item in ("tea", "milk")]
    expected = sorted((user, countries.get(user, "unknown"), item, price) for user, item, price in sent)

    def written() -> list[tuple[Any, ...]]:
        return sorted(tuple(row.values()) for row in rows_of(output))

    with running("sql_enrichment.py", events, tmp_path / "users", output) as process:
        read(process, lambda text: "Time: " in text)
        for number, (user, item, price) in enumerate(sent):
            put(events, f"{number}.json", f'{{"user": "{user}", "item": "{item}", "price": {price}}}\n')
        wait_for(lambda: len(written()) >= len(sent), "all events are in files", process=process)
        text = ended(process)
    assert written() == expected
    printed = re.findall(r"Row\(user='(\w+)', country='(\w+)', item='(\w+)', price=(\d+)\)", text)
    assert sorted((user, country, item, int(price)) for user, country, item, price in printed) == expected


def rows_of(directory: Path) -> list[dict[str, Any]]:
    """The rows of a directory of Parquet files, as other programs read it; none if there is no directory."""
    if not any(directory.rglob("[!_]*.parquet")):
        return []
    rows: list[dict[str, Any]] = parquet.read_table(directory).to_pylist()
    return rows


def more_than(count: int, rows: Callable[[], list[Any]]) -> bool:
    return len(rows()) > count


class Orders:
    """Sends files of orders, one after another, until it is told to end."""

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent: list[tuple[int, str, int]] = []

    def _send(self) -> None:
        for file in range(10_000):
            orders = [(id, f"item{id % 7 % 3}", id * 31 % 100) for id in range(file * 20, file * 20 + 20)]
            put(self._inbox, f"{file}", "".join(f"{id},{item},{cents}\n" for id, item, cents in orders))
            self.sent += orders
            if self._told.wait(0.1):
                return

    def __enter__(self) -> Orders:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._told.set()
        self._thread.join()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, request, tmp_path)


def test_exactly_once_has_each_order_once_though_it_is_killed_again_and_again(store: Store, tmp_path: Path) -> None:
    inbox, output, checkpoints = tmp_path / "inbox", tmp_path / "output", tmp_path / "checkpoints"
    inbox.mkdir()
    database = store.url.removeprefix("jdbc:") if store.kind == "postgres" else store.place
    arguments = ("sql_exactly_once.py", inbox, checkpoints, output, database)

    def in_database() -> list[tuple[int, str, int]]:
        return store.rows("SELECT id, item, cents FROM orders ORDER BY id") if output.exists() else []

    def in_files() -> list[tuple[int, str, int]]:
        return sorted((row["id"], row["item"], row["cents"]) for row in rows_of(output))

    with Orders(inbox) as orders:
        # Behind a batch time, while the batch's files are written, or moved, or its rows inserted.
        for late_seconds in (0.02, 0.04, 0.06, 0.08, 0.12, 0.2):
            before = len(in_database())
            with running(*arguments) as process:
                wait_for(partial(more_than, before, in_database), "it has gone on", process=process)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1 - time.time() % 1 + late_seconds)
                killed(process)
    with running(*arguments) as process:
        wait_for(lambda: len(in_database()) >= len(orders.sent) <= len(in_files()), "all is written", process=process)
        ended(process)
    assert in_database() == orders.sent
    assert in_files() == orders.sent
    assert sorted(store.rows("SELECT item, id FROM latest")) == sorted(
        {item: id for id, item, _ in orders.sent}.items()
    )
    assert {path.name for path in output.glob("item*")} == {"item=item0", "item=item1", "item=item2"}


def test_dashboard_shows_totals_as_one_batch_has_left_them() -> None:
    with (
        TextServer(["drip drop", "drip"], lines_per_s=200) as server,
        running("sql_dashboard.py", server.host, server.port) as process,
    ):
        text = read(process, shown(4)) + ended(process)
    seen = [{word: (int(total), int(of_all)) for word, total, of_all in table} for table in tables(text)]
    for table in seen:
        (drips, of_all), (drops, _) = table["drip"], table["drop"]
        assert of_all == drips + drops
        assert drops == -(-drips // 2)  # lines came in order and none was left out
    for before, after in pairwise(seen):
        assert before["drip"] <= after["drip"]
    assert seen[0] != seen[-1]
