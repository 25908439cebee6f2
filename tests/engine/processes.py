"""What tests with real processes share: who descends from whom, and which scratch directories are locked."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from tests.servers.processes import SERVERS


def complaints(errors: str) -> list[str]:
    """What a program said on stderr that was ended by Ctrl-C. A batch that it was at and dropped is no complaint."""
    return [line for line in errors.splitlines() if "Dropped, as the context stops" not in line]


def descendants(pid: int | None = None) -> set[int]:
    """The processes that descend from one (by default this one), without zombies and the tests' servers."""
    children = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := _parent(int(entry))) is not None:
            children[parent].append(int(entry))
    found: set[int] = set()
    todo = [os.getpid() if pid is None else pid]
    while todo:
        new = [child for child in children[todo.pop()] if child not in SERVERS]
        found.update(new)
        todo += new
    return found


def _parent(pid: int) -> int | None:
    state = _status(pid)
    return None if state is None or state[0] in "ZX" else int(state[1])


def _status(pid: int) -> list[str] | None:
    """What /proc/pid/stat says from the state on."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pids: Iterable[int]) -> set[int]:
    """Those that still run."""
    return {pid for pid in pids if (state := _status(pid)) is not None and state[0] not in "ZX"}


def name_of(pid: int) -> str:
    """Its command line; the name that it gave itself if it has none any more."""
    try:
        with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/cmdline") as cmdline:
            return f"{comm.read().strip()}: {cmdline.read().replace(chr(0), ' ').strip()}"
    except (FileNotFoundError, ProcessLookupError):
        return ""


def workers(pid: int | None = None) -> list[int]:
    """The worker processes below one."""
    return sorted(p for p in descendants(pid) if name_of(p).startswith("hw-worker"))


def executors(pid: int | None = None) -> list[int]:
    """The executor processes of `local-cluster` below one."""
    return sorted(p for p in descendants(pid) if "headwater.engine.backends.executorprocess" in name_of(p))


def scratch_directories(pids: Iterable[int]) -> set[str]:
    """The scratch directories on which these hold a lock."""
    return {os.path.dirname(link) for pid in pids for link in _open_files(pid) if link.endswith("/.lock")}


def listening_ports(pid: int) -> list[int]:
    """The TCP ports on which a process listens."""
    sockets = set(_open_files(pid))
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return [int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


def _open_files(pid: int) -> list[str]:
    links = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return links
