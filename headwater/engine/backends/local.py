"""The local backend: one executor, in the driver's own process."""

from __future__ import annotations

from headwater.engine.backend import ExecutorHandle, Post
from headwater.engine.events import ExecutorJoined
from headwater.engine.executor import Executor
from headwater.engine.settings import ExecutorSettings


class LocalBackend:
    """Masters `local` (tasks on a thread of the driver), `local[N]` and `local[N,F]` (worker processes)."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self._settings = settings
        self._executor: Executor | None = None
        self._handles: dict[str, ExecutorHandle] = {}

    def start(self, post: Post) -> None:
        settings = self._settings
        self._executor = Executor(settings, post)
        self._executor.start()
        self._handles = {settings.executor_id: self._executor}
        post(ExecutorJoined(settings.executor_id, settings.host, settings.cores))

    def executors(self) -> dict[str, ExecutorHandle]:
        return self._handles

    def left(self, executor_id: str, reason: str) -> str | None:
        return f"the only executor is lost: {reason}"

    def stop(self) -> None:
        if self._executor is not None:
            self._executor.stop()
