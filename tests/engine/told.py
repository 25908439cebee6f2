"""Stands for executors and their backend where only what they're told matters."""

from __future__ import annotations

import queue
from typing import Any, cast

from headwater.engine.backend import SURFACE, ExecutorHandle


class Told:
    """Keeps what it's told; answers with the method's name."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def __getattr__(self, name: str) -> Any:
        if name not in SURFACE:
            raise AttributeError(name)

        def method(*arguments: Any) -> str:
            self.calls.put((name, *arguments))
            return self.answer(name)

        return method

    def answer(self, name: str) -> str:
        return f"{name} is done"

    @property
    def handle(self) -> ExecutorHandle:
        return cast(ExecutorHandle, self)

    def taken(self) -> list[tuple[Any, ...]]:
        """What it was told since this was last asked."""
        return [self.calls.get() for _ in range(self.calls.qsize())]


class Fixed:
    """A backend with executors that come and go by the test's word."""

    def __init__(self, *executor_ids: str) -> None:
        self.told = {executor_id: Told() for executor_id in executor_ids}

    def executors(self) -> dict[str, ExecutorHandle]:
        return {executor_id: told.handle for executor_id, told in self.told.items()}

    def start(self, post: Any) -> None:
        raise AssertionError

    def left(self, executor_id: str, reason: str) -> str | None:
        raise AssertionError

    def stop(self) -> None:
        raise AssertionError
