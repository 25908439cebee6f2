"""Keeps what earlier runs have left in a directory for checkpoints, when a program begins anew there.

It is moved to `set-aside/APPLICATION-DATE-NUMBER` below the directory, which is a directory for checkpoints itself. The
checkpoints are moved last: what can be gone on from is complete. Of an application the latest ones are kept, no more.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import NamedTuple

from headwater import filesystem
from headwater.base.cipher import KeySource, cipher_of
from headwater.errors import IllegalArgumentException, IllegalStateException, SparkException
from headwater.streaming.recovery import checkpoint
from headwater.streaming.recovery.lock import lock_directory

logger = logging.getLogger("headwater.streaming.recovery")

BELOW = "set-aside"
_NAME = re.compile(r"(?P<application>.+)-(?P<order>\d{8}T\d{6}-\d+)")


class Earlier(NamedTuple):
    """What is known of the checkpoints in a directory."""

    application: str | None  # that wrote them; None if that can't be read
    key: KeySource | None  # that they are encrypted by


def earlier_in(directory: str) -> Earlier:
    """Whose checkpoints a directory has; to be asked before another application writes there."""
    key = None
    try:
        key = checkpoint.read_key_source(directory)
        found = checkpoint.newest(directory, cipher_of(key))
    except (SparkException, IllegalArgumentException):
        found = None
    return Earlier(None if found is None else found[0].app_name, key)


def set_aside(directory: str, epoch: int, earlier: Earlier, *, kept: int) -> None:
    """Move what runs before an epoch have left.

    Args:
        directory: for checkpoints; locked.
        epoch: of the run that begins; what is of this number or a later one is its own.
        earlier: whose checkpoints they are.
        kept: how many of the application's are kept, this one included; none: all is removed.

    Raises:
        OSError: it can't be moved.
    """
    parts = [*_parts(directory, epoch)]
    if not parts:
        return
    application = earlier.application
    slug = re.sub(r"[^\w.]+", "_", application or "unknown")
    name = f"{slug}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{epoch}"
    for part in parts:
        if kept:
            _move(f"{directory}/{part}", f"{directory}/{BELOW}/{name}/{part}")
        else:
            filesystem.remove(f"{directory}/{part}")
    if kept:
        if earlier.key is not None:
            checkpoint.write_key_source(f"{directory}/{BELOW}/{name}", earlier.key)
        logger.warning(
            "%s holds checkpoints of %r, and this context begins anew, as it was not made by getOrCreate: they are set "
            'aside. StreamingContext.getOrCreate("%s/%s/%s", setup) goes on from them.',
            directory,
            application or "an application that can't be read",
            directory,
            BELOW,
            name,
        )
    else:
        logger.warning("%s: the checkpoints of %r are removed, as the settings say", directory, application)
    _remove_older(directory, slug, kept)


def _parts(directory: str, epoch: int) -> Iterator[str]:
    """What earlier runs have left, as paths below the directory, in the order in which it is moved."""
    for stream in filesystem.names_in(f"{directory}/receivedData"):
        yield f"receivedData/{stream}"
    for state in filesystem.names_in(f"{directory}/state"):
        for other in filesystem.names_in(f"{directory}/state/{state}"):
            if other.isdigit() and int(other) < epoch:
                yield f"state/{state}/{other}"
    logs = filesystem.names_in(f"{directory}/receivedBlockMetadata")
    for number in sorted(int(name) for name in logs if name.isdigit()):
        if number < epoch:
            yield f"receivedBlockMetadata/{number}"
    for numbered in (checkpoint.programs(directory), checkpoint.names(directory)):
        yield from (name for number, name in numbered if number < epoch)


def _remove_older(directory: str, slug: str, kept: int) -> None:
    """Remove all but the latest ones of an application, and those that a driver works with."""
    matches = (_NAME.fullmatch(name) for name in filesystem.names_in(f"{directory}/{BELOW}"))
    same = sorted(((m["order"], m[0]) for m in matches if m and m["application"] == slug), reverse=True)
    for _, name in same[kept:]:
        path = f"{directory}/{BELOW}/{name}"
        try:
            lock = lock_directory(path)
        except IllegalStateException as error:
            logger.warning("%s is kept: %s", path, error)
            continue
        logger.warning(
            "%s is removed: of the checkpoints of an application that are set aside, the last %d are kept "
            "(headwater.streaming.checkpoint.setAside)",
            path,
            kept,
        )
        filesystem.remove(path)
        lock.close()


def _move(source: str, target: str) -> None:
    """Move a file or a directory; file by file where a rename is no cheap step."""
    system, path = filesystem.resolve_private(source)
    _, to = filesystem.resolve_private(target)
    if not system.renames and system.is_directory(path):
        for name in filesystem.names_in(source):
            _move(f"{source}/{name}", f"{target}/{name}")
        system.remove(path)
        return
    with contextlib.suppress(FileExistsError):
        system.make_directory(to.rpartition("/")[0])
    system.rename(path, to)
