"""Trying again what a file system over the network refused: throttling, servers that are away, data cut short."""

from __future__ import annotations

import errno
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

from headwater.clock import SystemClock

T = TypeVar("T")

logger = logging.getLogger("headwater.filesystem")

_FIRST_DELAY_MS, _DELAY_MS_MAX = 100, 5000
_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_ERRNOS = frozenset(
    {
        errno.EBUSY,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        getattr(errno, "EREMOTEIO", errno.EPIPE),  # not on all systems
    }
)
# What drivers raise when a server can't be reached or goes away; by name, as they need not be installed.
_CLASSES = frozenset(
    {
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ServerTimeoutError",
        "ChunkedEncodingError",  # requests
        "Timeout",
        "TransportError",  # google
    }
)
# hdfs-native says so in the text only; name nodes that are starting or standing by refuse with these.
_TEXTS = (
    "RPC",
    "IO error",
    "SafeModeException",
    "StandbyException",
    "RetriableException",
    "could only be written to 0",
)
_SAFE_MODE = "Name node is in safe mode"  # WebHDFS's text
_RUST_ERRNO = re.compile(r"\(os error (\d+)\)")  # as hdfs-native writes it


class TruncatedReadError(OSError):
    """A file gave fewer bytes than it should have."""


def retried(what: str, operation: Callable[[], T], timeout_ms: int) -> T:
    """The operation's result, tried again with growing delays as long as it fails in a way that may pass.

    Args:
        what: for the log: the operation and the URL.
        operation: may run more than once.
        timeout_ms: no attempt begins later than this after the first.
    """
    clock, delay_ms = SystemClock(), _FIRST_DELAY_MS
    until_ms = time.monotonic_ns() // 1_000_000 + timeout_ms
    while True:
        try:
            return operation()
        except Exception as error:
            wait_ms = random.randint(delay_ms // 2, delay_ms)  # not all tasks at once
            if not may_pass(error) or time.monotonic_ns() // 1_000_000 + wait_ms > until_ms:
                raise
            log = logger.warning if delay_ms == _DELAY_MS_MAX else logger.info
            log("%s failed, and is tried again in %d ms: %s: %s", what, wait_ms, type(error).__name__, error)
        clock.get(SimpleQueue[Any](), clock.now_ms() + wait_ms)
        delay_ms = min(2 * delay_ms, _DELAY_MS_MAX)


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    return any(map(_is_transient, _causes(error)))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, (FileNotFoundError, FileExistsError, PermissionError)):
        return False
    if isinstance(error, (ConnectionError, TimeoutError, TruncatedReadError)):
        return True
    if isinstance(error, OSError) and _errno(error) in _ERRNOS:
        return True
    if _status(error) in _STATUSES or any(kind.__name__ in _CLASSES for kind in type(error).__mro__):
        return True
    module, text = type(error).__module__, str(error)
    return module.startswith(("hdfs_native", "builtins")) and (text.startswith(_TEXTS) or _SAFE_MODE in text)


def _errno(error: OSError) -> int | None:
    told = _RUST_ERRNO.search(str(error)) if error.errno is None else None
    return int(told[1]) if told else error.errno


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        if isinstance(error, (FileNotFoundError, PermissionError)):
            return  # an answer, whatever led to it
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """The status of the HTTP answer in an error; drivers don't agree on where it is."""
    response = getattr(error, "response", None)
    for holder in (error, response):
        for name in ("status_code", "status", "code"):
            value = getattr(holder, name, None)
            if isinstance(value, int):
                return value
    return None
