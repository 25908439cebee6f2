"""The batches that wait in a directory for checkpoints while no driver runs: which they are, and dropping one.

A batch that always ends its driver would do so at every restart. To drop it is an entry of the ledger like any other,
so a driver that goes on afterwards knows of it, however that ends.
"""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from headwater.clock import SystemClock
from headwater.errors import IllegalArgumentException
from headwater.filesystem import qualify
from headwater.streaming.recovery.checkpoint import Checkpoint
from headwater.streaming.recovery.journal import Journal, last_number
from headwater.streaming.recovery.ledger import BatchDropped, Ledger
from headwater.streaming.recovery.log import LogWriter
from headwater.streaming.recovery.restart import find, recovered_conf
from headwater.streaming.recovery.safekeeping import Found, log_settings

logger = logging.getLogger("headwater.streaming.recovery")

# What a batch brought is shown so far.
_SHOWN_CHARACTERS_MAX = 300
_INTERVAL_MS = 1000  # the first image has it all


def describe(directory: str) -> str:
    """What waits in a directory for checkpoints, as text for a terminal.

    Raises:
        IllegalArgumentException: there are no checkpoints.
        IllegalStateException: a driver works with it.
        SparkException: the checkpoints can't be read.
    """
    with _found(directory) as found:
        made, ledger = found.checkpoint, found.checkpoint.ledger
        lines = [
            f"{found.directory}: {made.app_name}, batches of {ledger.batch_ms} ms, the last one at "
            f"{_time(ledger.generated_ms)}",
            "pending: " + ("" if ledger.pending else "none"),
        ]
        for time_ms in ledger.pending:
            lines.append(f"  {_time(time_ms)}")
            lines += [f"    {uid}: {data}" for uid, data in _brought(ledger, time_ms)]
        return "\n".join(lines)


def drop(directory: str, times_ms: Iterable[int]) -> str:
    """Drop pending batches: no restart runs them again; returns what was dropped, as text.

    Their data counts as taken: it isn't read again. Windows and states that don't have them yet see no batch at
    their times.

    Raises:
        IllegalArgumentException: there are no checkpoints, or one of the batches isn't pending; none is dropped then.
        IllegalStateException: a driver works with the directory.
        OSError: it can't be written.
        SparkException: the checkpoints can't be read.
    """
    with _found(directory) as found:
        ledger, dropped = found.checkpoint.ledger, sorted(set(times_ms))
        unknown = [time_ms for time_ms in dropped if time_ms not in ledger.pending]
        if unknown:
            raise IllegalArgumentException(
                f"{found.directory}: the batch {unknown[0]} isn't pending. Those that are: "
                f"{', '.join(map(str, ledger.pending)) or 'none'} (batch times in ms)."
            )
        lines = [
            f"dropped: the batch of {_time(time_ms)}, with {uid}: {data}"
            for time_ms in dropped
            for uid, data in _brought(ledger, time_ms) or [("nothing", "")]
        ]
        _write(found, dropped)
        for line in lines:
            logger.warning("%s: %s", found.directory, line)
        return "\n".join(lines)


@contextmanager
def _found(directory: str) -> Iterator[Found]:
    """What is in a directory, locked as long as the block runs."""
    found = find(qualify(directory), None)
    if found is None:
        raise IllegalArgumentException(f"{directory} has no checkpoints. Check the path.")
    try:
        yield found
    finally:
        found.lock.close()


def _write(found: Found, dropped: list[int]) -> None:
    settings = log_settings(recovered_conf(found.checkpoint), found.cipher)
    errors: list[BaseException] = []

    def described(ledger: Ledger, number: int) -> Checkpoint:
        return found.checkpoint._replace(number=number, ledger=ledger)

    def opened(path: str) -> LogWriter:
        found.lock.check()
        return LogWriter(path, settings)

    journal = Journal(
        found.directory,
        found.checkpoint.ledger,
        last_number(found.directory),
        describe=described,
        renew=lambda _ledger: (),
        open_log=opened,
        interval_ms=_INTERVAL_MS,
        clock=SystemClock(),
        failed=errors.append,
        cipher=found.cipher,
    )
    journal.start()
    for time_ms in dropped:
        journal.post(BatchDropped(time_ms), lambda error: errors.append(error) if error is not None else None)
    journal.stop()
    if errors:
        raise errors[0]


def _brought(ledger: Ledger, time_ms: int) -> list[tuple[str, str]]:
    """What each input brought into a batch, by uid, shortened."""
    found = ((uid, batches[time_ms]) for uid, batches in sorted(ledger.inputs.items()) if time_ms in batches)
    return [(uid, textwrap.shorten(json.dumps(data), _SHOWN_CHARACTERS_MAX)) for uid, data in found]


def _time(time_ms: int) -> str:
    at = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
    return f"{time_ms} ms ({at:%Y-%m-%d %H:%M:%S} UTC)"
