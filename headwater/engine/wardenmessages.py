"""What an executor asks of its warden, and what that reports: small datagrams, pickled."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Fork(NamedTuple):
    """Fork a worker; its socket is attached."""

    number: int


class Kill(NamedTuple):
    """Kill a worker."""

    pid: int


class Forked(NamedTuple):
    """A worker was forked."""

    number: int
    pid: int


class Ended(NamedTuple):
    """A worker has ended; `status` is its exit code, or minus the signal that killed it."""

    pid: int
    status: int


Request: TypeAlias = Fork | Kill
Report: TypeAlias = Forked | Ended
