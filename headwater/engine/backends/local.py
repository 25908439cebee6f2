"""The local backend: one executor, in the driver's own process."""

from __future__ import annotations

from headwater.engine.backends.protocol import ExecutorHandle, Post
from headwater.engine.events import ExecutorJoined
from headwater.engine.executor import Executor, ExecutorSettings


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
        self._handles = {settings.executor_id: NearExecutor(self._executor)}
        post(ExecutorJoined(settings.executor_id, settings.host, settings.cores))

    def executors(self) -> dict[str, ExecutorHandle]:
        return self._handles

    def left(self, executor_id: str, reason: str) -> str | None:
        return f"the only executor is lost: {reason}"

    def stop(self) -> None:
        if self._executor is not None:
            self._executor.stop()


class NearExecutor:
    """The handle of an executor in this process."""

    def __init__(self, executor: Executor) -> None:
        self.submit = executor.submit
        self.kill = executor.kill
        self.put_block = executor.put_block
        self.get_block = executor.get_block
        self.remove_blocks = executor.remove_blocks
        self.forget_broadcast = executor.forget_broadcast
        self.forget_state = executor.forget_state
        self.remove_prefix = executor.remove_prefix
        self.add_file = executor.add_file
        self.start_receiver = executor.receivers.start
        self.send_to_receiver = executor.receivers.send
        self.stop_receiver = executor.receivers.stop_one
