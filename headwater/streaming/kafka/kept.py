"""Clients of Kafka that a process keeps from one task to the next: one task has each at a time."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Client(Protocol):
    """What can be kept."""

    def close(self) -> None:
        """Close its connections."""


C = TypeVar("C", bound=Client)

_all: weakref.WeakSet[Kept] = weakref.WeakSet()  # type: ignore[type-arg]  # of this process, to be closed with it


class Kept(Generic[C]):
    """Idle clients by what they are for. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: OrderedDict[Hashable, C] = OrderedDict()  # the longest unused first
        _all.add(self)

    def take(self, key: Hashable, make: Callable[[], C]) -> C:
        """The client that is kept for a purpose, or a new one; it is the caller's until it's given back or closed."""
        with self._lock:
            client = self._idle.pop(key, None)
        return make() if client is None else client

    def give_back(self, key: Hashable, client: C, most: int) -> None:
        """Keep a client for the next task, with `most` of all kinds at most."""
        with self._lock:
            unwanted = [self._idle.pop(key)] if key in self._idle else []
            self._idle[key] = client
            while len(self._idle) > most:
                unwanted.append(self._idle.popitem(last=False)[1])
        for each in unwanted:
            each.close()

    def close(self) -> None:
        """Close those that no task has."""
        with self._lock:
            idle = list(self._idle.values())
            self._idle.clear()
        for client in idle:
            client.close()


@atexit.register
def close_all() -> None:
    """Close what tasks in this process have left open."""
    for kept in list(_all):
        kept.close()
