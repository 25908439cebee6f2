"""Checkpoint files: an image of the ledger with the settings, and beside it the pickled program.

`checkpoint-<batch time>-<number>` holds JSON; `program-<checksum>` the graph, written once. A file begins with magic,
format and checksum, and appears under its name when it's whole. The newest good checkpoint counts; the last ten are
kept. A number is also an epoch of the log: what happened after an image stands in the log's directories of its epoch
and later ones. See docs/formats/checkpoint.md.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

from headwater import filesystem
from headwater.errors import SparkException
from headwater.streaming.recovery.ledger import FORMAT, Ledger

logger = logging.getLogger("headwater.streaming.recovery.checkpoint")

KEPT = 10
_MAGIC = b"HWK\x01"  # the last byte is the format's version
_NAME = re.compile(r"checkpoint-(\d+)-(\d+)")


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    number: int  # one more than the one before
    app_name: str
    master: str
    settings: Mapping[str, str]
    program: str  # the name of the file with the graph
    ledger: Ledger


# ------------------------------------------------------------------------------------------------ files
def write_file(path: str, body: bytes) -> None:
    """Write a file with its header; it appears when it's whole.

    Raises:
        OSError: it can't be written.
    """
    system, target = filesystem.resolve(path)
    temporary = f"{target}.tmp"
    with system.open(temporary, "wb") as file:
        file.write(b"".join((_MAGIC, crc32(body).to_bytes(4, "little"), body)))
        filesystem.sync(file)
    system.rename(temporary, target)


def read_file(path: str) -> bytes:
    """The body of a file that `write_file` wrote.

    Raises:
        OSError: it can't be read.
        SparkException: it is damaged, or of another version.
    """
    with filesystem.open_raw(path) as file:
        data = file.read()
    if data[:3] != _MAGIC[:3]:
        raise SparkException(f"{path} is no checkpoint of Headwater's")
    if data[:4] != _MAGIC:
        raise SparkException(f"{path} has format {data[3]}, this version reads {_MAGIC[3]}")
    body = data[8:]
    if crc32(body) != int.from_bytes(data[4:8], "little"):
        raise SparkException(f"{path} is damaged: its checksum is wrong")
    return body


# ------------------------------------------------------------------------------------------------ checkpoints
def write(directory: str, checkpoint: Checkpoint) -> str:
    """Write a checkpoint, remove all but the last ten; returns its name.

    Raises:
        OSError: it can't be written; what was there stays.
    """
    name = f"checkpoint-{checkpoint.ledger.generated_ms}-{checkpoint.number}"
    write_file(f"{directory}/{name}", encode(checkpoint))
    for _, old in names(directory)[:-KEPT]:
        filesystem.remove(f"{directory}/{old}")
    return name


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint's body."""
    fields = {**checkpoint._asdict(), "settings": dict(checkpoint.settings), "ledger": checkpoint.ledger.image()}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(body: bytes) -> Checkpoint:
    """The checkpoint of a body.

    Raises:
        SparkException: its ledger is of a later version.
    """
    fields = json.loads(body)
    found = fields["ledger"]["format"]
    if found != FORMAT:
        raise SparkException(f"a ledger of format {found}; this version reads {FORMAT}")
    return Checkpoint(**{**fields, "ledger": Ledger.from_image(fields["ledger"])})


def names(directory: str) -> list[tuple[int, str]]:
    """(number, name) of the checkpoints of a directory, oldest first; none if it isn't there."""
    system, path = filesystem.resolve(directory)
    if not system.is_directory(path):
        return []
    found = (_NAME.fullmatch(child.rstrip("/").rpartition("/")[2]) for child in system.children(path))
    return sorted((int(match[2]), match[0]) for match in found if match)


def newest(directory: str) -> Checkpoint | None:
    """The newest checkpoint that can be read; None if the directory has none.

    Raises:
        SparkException: there are some, and none can be read.
    """
    failures = []
    for _, name in reversed(names(directory)):
        path = f"{directory}/{name}"
        try:
            return decode(read_file(path))
        except (OSError, ValueError, KeyError, TypeError, SparkException) as error:
            logger.warning("Checkpoint %s can't be read, an older one is tried: %s", path, error)
            failures.append(f"{name}: {type(error).__name__}: {error}")
    if failures:
        raise SparkException(
            f"Failed to read checkpoint from directory {directory}: {'; '.join(failures)}. Nothing was changed. Remove "
            "the directory to begin anew."
        )
    return None
