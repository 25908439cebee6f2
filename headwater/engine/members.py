"""The executors that are there: the host of each, and which of them aren't heard at the moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Sequence

from headwater.engine.backend import LOOPBACK

OnChange = Callable[[frozenset[str]], None]


class Members:
    """Any thread; one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._hosts: dict[str, str] = {}  # executor -> host
        self._suspects: set[str] = set()  # those that aren't heard, and are there until they are given up
        self._on_change: OnChange | None = None

    def hosts(self) -> dict[str, str]:
        """The executors that are there, and the host of each."""
        with self._lock:
            return dict(self._hosts)

    def watch(self, on_change: OnChange | None) -> None:
        """Call this with the ids of those that are there, now and at each `tell`; None: end that."""
        with self._lock:
            self._on_change = on_change
        self.tell()

    def tell(self) -> None:
        """Tell who watches that an executor has come or gone."""
        with self._lock:  # in order
            if self._on_change is not None:
                self._on_change(frozenset(self._hosts))

    def join(self, executor_id: str, host: str) -> None:
        """It's there."""
        with self._lock:
            self._hosts[executor_id] = host

    def leave(self, executor_id: str) -> None:
        """It's gone for good."""
        with self._lock:
            self._hosts.pop(executor_id, None)
            self._suspects.discard(executor_id)

    def suspect(self, executor_id: str) -> None:
        """It isn't heard."""
        with self._lock:
            self._suspects.add(executor_id)

    def trust(self, executor_id: str) -> None:
        """It's heard again."""
        with self._lock:
            self._suspects.discard(executor_id)

    def on_host(self, among: Collection[str], host: str) -> list[str]:
        """Those of some executors that are on a host."""
        with self._lock:
            return [executor_id for executor_id in among if is_on(self._hosts.get(executor_id, ""), host)]

    def without(self, among: Sequence[str], avoid: str | None) -> Sequence[str]:
        """Those of some executors that aren't to be avoided, and then those that are heard, if there are any such."""
        with self._lock:
            for avoided in ({avoid}, self._suspects):
                among = [executor_id for executor_id in among if executor_id not in avoided] or among
            return among


def is_on(host: str, wanted: str) -> bool:
    """Whether an executor's host is the one that is wanted; the driver's machine has several names."""
    return wanted == host or (host == LOOPBACK and wanted in ("localhost", socket.gethostname()))
