"""Calls on threads, also while the interpreter ends."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from headwater.base.daemonpool import DaemonPool

PATIENCE_SECONDS = 30.0

AT_EXIT = """
import atexit
from headwater.base.daemonpool import DaemonPool
pool = DaemonPool(1, "t")
def last():
    print(pool.submit(lambda: "committed").result())
    pool.shutdown()
atexit.register(last)
print(pool.submit(lambda: "began").result())
"""


def test_calls_are_made_while_the_interpreter_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "began\ncommitted\n", "")


def test_calls_run_at_once_up_to_the_limit() -> None:
    pool, barrier = DaemonPool(3, "t"), threading.Barrier(3)
    futures = [pool.submit(barrier.wait, PATIENCE_SECONDS) for _ in range(3)]
    assert sorted(future.result(PATIENCE_SECONDS) for future in futures) == [0, 1, 2]
    names = {pool.submit(lambda: threading.current_thread().name).result(PATIENCE_SECONDS) for _ in range(50)}
    assert names <= {"t-0", "t-1", "t-2"}
    pool.shutdown()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_what_a_call_raises_is_its_futures_and_the_thread_goes_on(error: BaseException) -> None:
    def fail() -> None:
        raise error

    pool = DaemonPool(1, "t")
    failed, after = pool.submit(fail), pool.submit(int, "7")
    assert failed.exception(PATIENCE_SECONDS) is error
    assert after.result(PATIENCE_SECONDS) == 7
    pool.shutdown()


def test_shutdown_waits_for_what_was_submitted_or_cancels_what_has_not_begun() -> None:
    pool, begun, go = DaemonPool(1, "t"), threading.Event(), threading.Event()
    running = pool.submit(lambda: (begun.set(), go.wait(PATIENCE_SECONDS)))
    assert begun.wait(PATIENCE_SECONDS)
    waiting = pool.submit(int)
    pool.shutdown(wait=False)
    assert (waiting.cancelled(), running.done()) == (True, False)
    go.set()
    pool.shutdown()
    assert running.done()
    with pytest.raises(RuntimeError, match="t: the pool is shut down"):
        pool.submit(int)
