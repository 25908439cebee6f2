"""The process of an executor that isn't the driver's: it connects to the driver, and lives as long as the connection.

It is started with its settings and the driver's address, pickled, on standard input.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
import threading

from headwater.base import logs
from headwater.base.threads import WatchedThread
from headwater.engine import wire
from headwater.engine.backends.connection import Hello, obey, send_event
from headwater.engine.events import BackendEvent, ExecutorLeft, Heartbeat
from headwater.engine.executor import Executor
from headwater.engine.failures import description
from headwater.engine.settings import ExecutorSettings


def serve(settings: ExecutorSettings, driver: tuple[str, int]) -> None:
    """Do what the driver says, until its connection ends."""
    try:
        channel = wire.connect(driver, settings.secret)
    except ConnectionRefusedError:
        return  # the driver has ended meanwhile

    def post(event: BackendEvent | Heartbeat) -> None:
        with contextlib.suppress(OSError):  # the driver is gone, which `obey` will notice
            send_event(channel, event)

    executor = Executor(settings, post)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(settings.heartbeat_ms / 1000):
            post(Heartbeat())

    def leave(doing: str, failure: BaseException) -> None:
        post(ExecutorLeft(settings.executor_id, f"{doing}: {description(failure)}"))

    try:
        executor.start()
        assert executor.address is not None  # what isn't in the driver's process serves its blocks
        channel.send(Hello(settings.executor_id, settings.host, settings.cores, executor.address))
        WatchedThread(beat, name="heartbeat", on_failure=lambda failure: leave("its heartbeats ended", failure)).start()
        try:
            obey(channel, executor)
        except (EOFError, OSError):
            pass  # the driver ended or died
        except BaseException as failure:
            leave("it can't do what it is told", failure)
            raise
    finally:
        over.set()
        executor.stop()
        channel.close()


def main() -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings, driver = pickle.load(sys.stdin.buffer)
    sys.path[:] = [*settings.sys_path, *(path for path in sys.path if path not in settings.sys_path)]
    logs.show(f"executor {settings.executor_id}")
    serve(settings, driver)


if __name__ == "__main__":
    main()
