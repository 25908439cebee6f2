"""Runs `counting.py`, feeds it, kills it, and compares what it did with a fold over all that it was sent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from tests.streaming.recovery.counting import KEYS, WINDOW_SECONDS
from tests.waiting import wait_for

PROGRAM = Path(__file__).with_name("counting.py")
REPOSITORY = Path(__file__).parents[3]
PATIENCE_SECONDS = 40.0


class Program:
    """The program in a directory, of which one process at a time runs."""

    made: ClassVar[list[Program]] = []  # since somebody emptied it, to kill what is left of them

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.made.append(self)
        for name in ("in", "out", "saved"):
            (root / name).mkdir(exist_ok=True)

    def start(self, crash: str = "") -> subprocess.Popen[bytes]:
        """Start the process. `crash`: where it's to die, `POINT:N`."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CRASH": crash}
        with open(self.root / "log", "ab") as log:
            command = [sys.executable, str(PROGRAM), str(self.root), json.dumps(self.options)]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return self._process

    def await_start(self) -> None:
        """Wait until it has started once; files that come before aren't its."""
        wait_for(lambda: "started" in self.log(), self.log, process=self._process)

    def kill(self) -> None:
        """End it as a power cut would, and wait until it's gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def await_death(self) -> None:
        """Wait until it has come to where it dies."""
        assert self._process is not None
        code = self._process.wait(PATIENCE_SECONDS)
        assert code == -signal.SIGKILL, f"exit code {code}:\n{self.log()}"

    def log(self) -> str:
        """What all processes have written to their logs."""
        return (self.root / "log").read_text()

    # -------------------------------------------------------------------------------------------- what it did
    def batches(self, name: str) -> dict[int, list[Any]]:
        """What an output saw, by batch time."""
        found = (self.root / "out").glob(f"{name}-*.json")
        return {int(path.stem.rpartition("-")[2]): json.loads(path.read_text()) for path in sorted(found)}

    def saved(self) -> Counter[int]:
        """The numbers in the directories of saveAsTextFiles, and how often they are there."""
        below = self.root / "saved"
        complete = [below / name for name in os.listdir(below) if (below / name / "_SUCCESS").exists()]
        parts = (path for directory in complete for path in directory.glob("part-*"))
        return Counter(int(line) for path in parts for line in path.read_text().split())

    def await_numbers(self, numbers: set[int]) -> None:
        """Wait until every output has seen these numbers at least."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            missing = numbers - self.saved().keys()
            if not missing and self._states_have(len(numbers)):
                return
            assert self._process is not None and self._process.poll() is None, f"it has ended:\n{self.log()}"
            if time.monotonic() > deadline:
                self._show_stacks()
                raise AssertionError(f"missing: {sorted(missing)[:20]} of {len(numbers)}\n{self.log()[-12000:]}")
            time.sleep(0.05)

    def _show_stacks(self) -> None:
        """Have the process write to its log what its threads are at."""
        assert self._process is not None
        before = len(self.log())
        self._process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while len(self.log()) == before and time.monotonic() < deadline:
            time.sleep(0.05)

    def _states_have(self, records: int) -> bool:
        return all(
            sum(state[0] for _, state in max(self.batches(name).items())[1]) >= records
            for name in ("update", "map")
            if self.batches(name)
        ) and bool(self.batches("update"))

    def check(self, *, exactly: set[int] | None = None) -> None:
        """Assert that all outputs agree, batch by batch, with a fold; and, if given, that each number is there once."""
        ids, saved = self.batches("ids"), self.saved()
        last = max(self.batches("update"))
        assert saved == Counter(number for numbers in ids.values() for number in numbers)
        if exactly is not None:
            assert saved == Counter(exactly)
        window_ms, state = round(WINDOW_SECONDS * 1000), dict[int, list[int]]()
        seen = {name: self.batches(name) for name in ("update", "map", "inverse", "plain")}
        for time_ms in sorted(time_ms for time_ms in ids if time_ms <= last):
            for number in ids[time_ms]:
                records, numbers = state.get(number % KEYS, (0, 0))
                state[number % KEYS] = [records + 1, numbers + number]
            for name in ("update", "map"):
                if time_ms in seen[name]:
                    assert dict(seen[name][time_ms]) == state, (name, time_ms)
            inside = [n for t, numbers in ids.items() if time_ms - window_ms < t <= time_ms for n in numbers]
            window = Counter[int]()
            for number in inside:
                window[number % KEYS] += number
            keys = {number % KEYS for number in inside}
            for name in ("inverse", "plain"):
                if time_ms in seen[name]:
                    assert dict(seen[name][time_ms]) == {key: window[key] for key in keys}, (name, time_ms)


# ------------------------------------------------------------------------------------------------ sources
class Files:
    """Puts a file of new numbers into a directory every now and then, on a thread; a context manager."""

    def __init__(self, root: Path, seconds: float = 0.03) -> None:
        self.sent: set[int] = set()
        self._root = root
        self._seconds = seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def __enter__(self) -> Files:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _feed(self) -> None:
        numbers = count()
        for name in count():
            if self._end.wait(self._seconds):
                return
            batch = [next(numbers) for _ in range(10)]
            temporary = self._root / f"{name}.new"
            temporary.write_text("".join(f"{number}\n" for number in batch))
            temporary.rename(self._root / "in" / f"{name}.txt")
            self.sent.update(batch)


class Server:
    """A reliable source: sends lists of numbers, and again whatever wasn't acknowledged; a context manager."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.sent: set[int] = set()  # at least once, and acknowledged
        self._seconds = seconds
        self._end = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        numbers, batch = count(), list[int]()
        while not self._end.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(PATIENCE_SECONDS)
            with connection, connection.makefile("rw") as file:
                try:
                    while not self._end.wait(self._seconds):
                        batch = batch or [next(numbers) for _ in range(10)]
                        file.write(f"{json.dumps(batch)}\n")
                        file.flush()
                        if file.readline() != "ok\n":
                            break
                        self.sent.update(batch)
                        batch = []
                except OSError:
                    continue  # it has died: the next one gets what this one had
