"""Checkpoint files: an image of the ledger with the settings, and beside it the pickled program.

- `checkpoint-<batch time>-<number>` holds JSON; `program-<number>` the graph, for the checkpoints from that number on
  until the next program. A file begins with magic, format and checksum, and appears under its name when it's whole.
  With a key it is all encrypted, for its name; `encryption.json` says where the key is.
- The newest good checkpoint whose program is good counts; the last ten are kept.
- A number is also an epoch of the log: what happened after an image stands in the log's directories of its number
  and later ones. See docs/formats/checkpoint.md.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

from headwater import filesystem
from headwater.base.cipher import Cipher, KeySource, WrongKeyException, is_sealed, unsealed
from headwater.errors import SparkException
from headwater.streaming.recovery.code import Code
from headwater.streaming.recovery.ledger import FORMATS_READ, Ledger

logger = logging.getLogger(__name__)

KEPT = 10
_MAGIC = b"HWK\x01"  # the last byte is the format's version
_HEADER_BYTES = len(_MAGIC) + 4
_NAME = re.compile(r"checkpoint-(\d+)-(\d+)")
_PROGRAM = re.compile(r"program-(\d+)")
_KEY_FILE = "encryption.json"


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    number: int  # one more than the one before
    app_name: str
    master: str
    settings: Mapping[str, str]
    program: str  # the name of the file with the graph
    ledger: Ledger
    code: Code  # of the program; empty: that isn't known


# ------------------------------------------------------------------------------------------------ files
def write_file(path: str, body: bytes, cipher: Cipher | None = None) -> None:
    """Write a file with its header, encrypted if there is a cipher; it appears when it's whole.

    Raises:
        OSError: it can't be written.
    """
    data = b"".join((_MAGIC, crc32(body).to_bytes(4, "little"), body))
    filesystem.write_whole(path, data if cipher is None else cipher.sealed(data, filesystem.name_of(path)))


def read_file(path: str, cipher: Cipher | None = None) -> bytes:
    """The body of a file that `write_file` wrote; it need not be encrypted though there is a cipher.

    Raises:
        OSError: it can't be read.
        WrongKeyException: it is encrypted by another key.
        SparkException: it is damaged, or of another version.
    """
    with filesystem.open_raw(path) as file:
        data = file.read()
    if is_sealed(data):
        data = unsealed(cipher, data, filesystem.name_of(path), path)
    if data[:3] != _MAGIC[:3]:
        raise SparkException(f"{path} is no checkpoint of Headwater's")
    if len(data) < _HEADER_BYTES:
        raise SparkException(f"{path} is damaged: it has only {len(data)} bytes")
    if data[:4] != _MAGIC:
        raise SparkException(f"{path} has format {data[3]}, this version reads {_MAGIC[3]}")
    body = data[_HEADER_BYTES:]
    if crc32(body) != int.from_bytes(data[4:_HEADER_BYTES], "little"):
        raise SparkException(f"{path} is damaged: its checksum is wrong")
    return body


# ------------------------------------------------------------------------------------------------ checkpoints
def write(directory: str, checkpoint: Checkpoint, cipher: Cipher | None = None) -> str:
    """Write a checkpoint, remove all but the last ten and their programs; returns its name.

    Raises:
        OSError: it can't be written; what was there stays.
    """
    name = f"checkpoint-{checkpoint.ledger.generated_ms}-{checkpoint.number}"
    write_file(f"{directory}/{name}", encode(checkpoint), cipher)
    remove(directory, names(directory)[:-KEPT])
    return name


def write_program(directory: str, number: int, program: bytes, cipher: Cipher | None = None) -> str:
    """Write the program of the checkpoints from a number on; returns its name.

    Raises:
        OSError: it can't be written.
    """
    name = f"program-{number}"
    write_file(f"{directory}/{name}", program, cipher)
    return name


def remove(directory: str, old: list[tuple[int, str]]) -> None:
    """Remove checkpoints, the oldest ones of a directory, and the programs that no other needs."""
    for _, name in old:
        filesystem.remove(f"{directory}/{name}")
    oldest = min((number for number, _ in names(directory)), default=0)
    for (_, name), (following, _) in pairwise(programs(directory)):
        if following <= oldest:
            filesystem.remove(f"{directory}/{name}")


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint's body."""
    fields = {**checkpoint._asdict(), "settings": dict(checkpoint.settings), "ledger": checkpoint.ledger.image()}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(body: bytes) -> Checkpoint:
    """The checkpoint of a body.

    Raises:
        SparkException: its ledger is of another version.
    """
    fields = json.loads(body)
    found = fields["ledger"]["format"]
    if found not in FORMATS_READ:
        raise SparkException(f"a ledger of format {found}; this version reads {' and '.join(map(str, FORMATS_READ))}")
    return Checkpoint(**{"code": {}, **fields, "ledger": Ledger.from_image(fields["ledger"])})


# ------------------------------------------------------------------------------------------------ the key
def write_key_source(directory: str, key: KeySource | None) -> None:
    """Say where the key of the directory's files is, for a driver that is told only by the checkpoint.

    Raises:
        OSError: it can't be written.
    """
    path = f"{directory}/{_KEY_FILE}"
    if key is None:
        filesystem.remove(path)
    else:
        fields = {"keyFile": key.file, "keyVariable": key.variable, "keyId": key.cipher.key_id.hex()}
        filesystem.write_whole(path, json.dumps(fields).encode())


def read_key_source(directory: str) -> KeySource | None:
    """Where the key of a directory's files is; None if they aren't encrypted.

    Raises:
        SparkException: what says so is damaged.
    """
    path = f"{directory}/{_KEY_FILE}"
    if not filesystem.exists(path):
        return None
    with filesystem.open_raw(path) as file:
        content = file.read()
    try:
        fields = json.loads(content)
        return KeySource(fields["keyFile"], fields["keyVariable"])
    except (ValueError, KeyError, TypeError) as error:
        raise SparkException(
            f"{path}, which says where the key of the checkpoints is, is damaged: {error!r}. Name the key by "
            "headwater.encryption.keyFile or headwater.encryption.keyVariable."
        ) from error


# ------------------------------------------------------------------------------------------------ names
def names(directory: str) -> list[tuple[int, str]]:
    """(number, name) of the checkpoints of a directory, oldest first; none if it isn't there."""
    return _numbered(directory, _NAME)


def programs(directory: str) -> list[tuple[int, str]]:
    """(number, name) of the programs of a directory, oldest first."""
    return _numbered(directory, _PROGRAM)


def newest(directory: str, cipher: Cipher | None = None) -> tuple[Checkpoint, bytes] | None:
    """The newest checkpoint that can be read, and its program; None if the directory has none.

    Raises:
        WrongKeyException: there are some, and none can be read, since they are encrypted by another key.
        SparkException: there are some, and none can be read.
    """
    failures = []
    wrong_key: WrongKeyException | None = None
    for _, name in reversed(names(directory)):
        path = f"{directory}/{name}"
        try:
            found = decode(read_file(path, cipher))
            return found, read_file(f"{directory}/{found.program}", cipher)
        except WrongKeyException as error:  # unless an older one opens: then this one's header is damaged
            wrong_key = wrong_key or error
        except (OSError, ValueError, KeyError, TypeError, SparkException) as error:
            logger.warning("Checkpoint %s can't be read, an older one is tried: %s", path, error)
            failures.append(f"{name}: {type(error).__name__}: {error}")
    if wrong_key is not None:
        raise wrong_key
    failures += [
        f"{name}: not named as a checkpoint of Headwater's, perhaps it is Spark's"
        for name in filesystem.names_in(directory)
        if name.startswith("checkpoint-") and not _NAME.fullmatch(name.removesuffix(".tmp"))
    ]
    if failures:
        raise SparkException(
            f"Failed to read checkpoint from directory {directory}: {'; '.join(failures)}. Nothing was changed. Remove "
            "the directory to begin anew."
        )
    return None


def _numbered(directory: str, pattern: re.Pattern[str]) -> list[tuple[int, str]]:
    """(number, name) of the files whose names match; the number is the last group."""
    found = (pattern.fullmatch(name) for name in filesystem.names_in(directory))
    return sorted((int(match[match.lastindex or 0]), match[0]) for match in found if match)
