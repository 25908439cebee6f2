"""The tutorial as its reader goes through it: killed, supervised, stopped, upgraded; and its page shows its code."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.engine.processes import alive, descendants
from tests.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs/tutorial.md").read_text()
GOLD_CENTS = 10_000
VERSIONS = ("tutorial.py", "tutorial_upgraded.py")


class Order(NamedTuple):
    """What a customer orders."""

    id: str
    customer: str
    cents: int


class Row(NamedTuple):
    """Of the table `orders`; the first version has no `gold`."""

    id: str
    customer: str
    cents: int
    total: int
    gold: int = 0


class Shop:
    """A directory with the program's files, in which customers order.

    Args:
        directory: to work in; the program is `app.py` there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ordered: list[Order] = []
        self._numbers = count(1)
        (directory / "inbox").mkdir()

    def install(self, version: str) -> None:
        """Put a version of the program in the place of the one that is there."""
        shutil.copyfile(EXAMPLES / version, self.directory / "app.py")

    def order(self, orders: int) -> None:
        """A new file with that number of orders, written as the page says."""
        new = [Order(f"no-{n}", ("ann", "bob", "cem")[n % 3], 100 + n) for n in islice(self._numbers, orders)]
        self.ordered += new
        written = self.directory / "written.tmp"
        written.write_text("".join(f"{order.id},{order.customer},{order.cents}\n" for order in new))
        written.rename(self.directory / "inbox" / f"{self.ordered[-1].id}.csv")

    def rows(self) -> list[Row]:
        path = self.directory / "orders.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'orders'").fetchall()
            return [Row(*row) for row in database.execute("SELECT * FROM orders")] if tables else []

    def await_rows(self) -> None:
        wait_for(lambda: len(self.rows()) >= len(self.ordered), f"{len(self.ordered)} orders are in the database")

    @contextmanager
    def supervised(self) -> Iterator[subprocess.Popen[bytes]]:
        """The program under supervision, by the page's command; told to stop at the end."""
        command = re.search(r"^    headwater (supervise --log .*)$", PAGE, re.M)
        assert command is not None
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        with subprocess.Popen(
            [sys.executable, "-m", "headwater", *command[1].split()], cwd=self.directory, env=environment
        ) as supervisor:
            try:
                yield supervisor
                supervisor.send_signal(signal.SIGTERM)
                assert supervisor.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
            finally:
                supervisor.kill()

    def starts(self) -> list[int]:
        """The process ids of the program, as the supervisor has noted them, the oldest first."""
        log = self.directory / "restarts.log"
        return [int(pid) for pid in re.findall(r"pid (\d+) started", log.read_text())] if log.exists() else []

    def kill(self) -> None:
        """kill -9 the program, and wait until it is started again."""
        pid, starts = self.starts()[-1], len(self.starts())
        processes = descendants(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(self.starts()) > starts, "the program is started again")
        wait_for(lambda: not alive(processes), "nothing is left of the killed program")


@pytest.mark.timeout(240)
def test_tutorial_writes_each_order_once_though_it_is_killed_stopped_and_upgraded(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.install(VERSIONS[0])
    shop.order(30)  # before the first start
    with shop.supervised():
        shop.await_rows()
        shop.order(30)
        shop.kill()
        shop.order(30)
        shop.await_rows()
    of_first_version = {row.id for row in shop.rows()}

    shop.order(30)  # while nothing runs
    shop.install(VERSIONS[1])
    with shop.supervised():
        shop.await_rows()
        shop.order(30)
        shop.kill()
        shop.order(60)
        shop.await_rows()

    rows = shop.rows()
    assert sorted(Order(*row[:3]) for row in rows) == sorted(shop.ordered)
    spent: Counter[str] = Counter()
    for row in sorted(rows, key=lambda row: row.total):
        spent[row.customer] += row.cents
        assert row.total == spent[row.customer], "no order is missing in a total, and none is in it twice"
    assert len(of_first_version) == 90
    assert {row.id for row in rows if row.gold} == {
        row.id for row in rows if row.total >= GOLD_CENTS and row.id not in of_first_version
    }
    assert any(row.gold for row in rows)
    assert len(shop.starts()) == 4


def test_page_shows_code_of_the_examples() -> None:
    code = "".join((EXAMPLES / version).read_text() for version in VERSIONS)
    shown = re.findall(r"^```py\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(shown) > 5
    assert [block for block in shown if block not in code] == []


def test_page_runs_the_examples() -> None:
    assert re.findall(r"examples/(\w+\.py) (?:shop/)?app\.py", PAGE) == list(VERSIONS)
