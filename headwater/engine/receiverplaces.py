"""The receivers of an application, from the driver: on which executor each runs, and who listens to it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from headwater.base.threads import WatchedThread
from headwater.engine.backend import Backend, ExecutorHandle
from headwater.engine.events import ReceiverLost, ReceiverPosted
from headwater.engine.failures import description
from headwater.engine.members import Members
from headwater.errors import SparkException

logger = logging.getLogger(__name__)


class _Place(NamedTuple):
    executor_id: str
    listen: Callable[[Any], None]


class ReceiverPlaces:
    """Any thread; one lock."""

    def __init__(self, backend: Backend, members: Members) -> None:
        self._backend = backend
        self._members = members
        self._lock = threading.Lock()  # guards the table below
        self._places: dict[int, _Place] = {}  # by receiver id

    def start(
        self,
        receiver_id: int,
        factory: bytes,
        on_event: Callable[[Any], None],
        *,
        preferred_host: str | None,
        avoid: str | None,
    ) -> str:
        """See `Application.start_receiver`."""
        executors = self._backend.executors()
        preferred = self._members.on_host(executors, preferred_host) if preferred_host else []
        if preferred_host and not preferred:
            logger.warning("receiver %d prefers %s, where no executor is", receiver_id, preferred_host)
        candidates = self._members.without(preferred or list(executors), avoid)
        if not candidates:
            raise SparkException(f"receiver {receiver_id} can't start: there is no executor at the moment")
        with self._lock:
            # Without itself: it may be about to leave another one.
            load = Counter(place.executor_id for i, place in self._places.items() if i != receiver_id)
            chosen = min(candidates, key=lambda e: load[e])
            self._places[receiver_id] = _Place(chosen, on_event)
        executors[chosen].start_receiver(receiver_id, factory)
        if chosen not in self._backend.executors():
            self.lose(chosen, "it died while the receiver was being started")
        return chosen

    def send(self, receiver_id: int, message: Any) -> None:
        """Give a receiver a message; one that is gone doesn't get it."""
        executor = self._executor_of(receiver_id)
        if executor is not None:
            executor.send_to_receiver(receiver_id, message)

    def stop(self, receiver_id: int, timeout: float) -> None:
        """Stop a receiver and wait for that, `timeout` seconds at most."""
        with self._lock:
            place = self._places.get(receiver_id)
        executor = self._executor_of(receiver_id)
        if executor is None:
            return
        failures: list[BaseException] = []
        stop = partial(executor.stop_receiver, receiver_id)
        thread = WatchedThread(stop, name=f"receiver-{receiver_id}-stop", on_failure=failures.append)
        thread.start()
        thread.join(timeout)
        if failures:
            logger.warning("receiver %d could not be stopped: %s", receiver_id, description(failures[0]))
        elif thread.is_alive():
            logger.warning("receiver %d has not stopped within %g s", receiver_id, timeout)
        else:
            with self._lock:
                if self._places.get(receiver_id) is place:  # else it was started anew as soon as it had stopped
                    del self._places[receiver_id]

    def _executor_of(self, receiver_id: int) -> ExecutorHandle | None:
        with self._lock:
            place = self._places.get(receiver_id)
        return None if place is None else self._backend.executors().get(place.executor_id)

    def hear(self, event: ReceiverPosted) -> None:
        """Pass on what a receiver has posted, unless it runs elsewhere by now."""
        with self._lock:
            place = self._places.get(event.receiver_id)
        if place is not None and place.executor_id == event.executor_id:
            place.listen(event.payload)

    def lose(self, executor_id: str, reason: str) -> None:
        """Tell the owners of an executor's receivers, once, that these are gone."""
        with self._lock:
            lost = [(i, place) for i, place in self._places.items() if place.executor_id == executor_id]
            for receiver_id, _ in lost:
                del self._places[receiver_id]
        for receiver_id, place in lost:
            place.listen(ReceiverLost(receiver_id, executor_id, reason))
