"""Checkpoints of RDDs: partitions put where they survive, so that the lineage that led to them can go.

A reliable checkpoint is a directory `rdd-<id>` with a file for each partition: four bytes of magic and version, then
pickled lists of records; all of it encrypted, if the application has a key. Files are written under hidden names and
renamed. A local checkpoint keeps cached blocks instead.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from headwater.base.cipher import CHUNK_BYTES, Cipher, SealedFile
from headwater.base.pickling import dump_records
from headwater.engine import task
from headwater.engine.lineage import Dataset, Leaf, Records, StoredBlocks, TaskView
from headwater.errors import SparkException
from headwater.filesystem import create_private, open_raw, qualify, resolve_private
from headwater.rdd import functions
from headwater.taskcontext import TaskContext

if TYPE_CHECKING:
    from headwater.engine.application import Application
    from headwater.rdd.core import BaseRDD

_MAGIC = b"HWC\x01"  # the last byte is the format's version
_BATCH = 1000  # records per pickle


def wanted_in(lineage: Dataset, wanted: Any) -> list[BaseRDD[Any]]:
    """The datasets of a lineage whose checkpoint is wanted, except those behind another one, whose cut frees them."""
    found: list[BaseRDD[Any]] = []
    seen: set[int] = set()
    todo = [lineage]
    while todo:
        node = todo.pop()
        if node.dataset_id in seen:
            continue
        seen.add(node.dataset_id)
        if node in wanted:
            found.append(cast("BaseRDD[Any]", node))
            continue
        todo.extend(node.parents)
        if node.shuffle is not None:
            todo.append(node.shuffle.parent)
    return found


def write(
    application: Application, rdd: BaseRDD[Any], directory: str, properties: Mapping[str, str], call_site: str
) -> None:
    """Compute an RDD into a checkpoint directory by a job of its own, then cut its lineage."""
    path = f"{directory}/rdd-{rdd.dataset_id}"
    filesystem, resolved = resolve_private(path)
    with suppress(FileExistsError):  # an earlier attempt failed half-way
        filesystem.make_directory(resolved)
    path = filesystem.openable(resolved)
    partitions = range(rdd.num_partitions)
    parts: list[str] = []
    if partitions:
        parts = application.run_job(
            rdd, partial(_write_part, path), partitions, properties=properties, call_site=call_site
        )
    rdd.cut(Parts(), (), parts)
    rdd._checkpoint = "done"
    rdd._checkpoint_path = qualify(path)


def keep_locally(application: Application, rdd: BaseRDD[Any], properties: Mapping[str, str], call_site: str) -> None:
    """Have every partition of an RDD stored in the executors, then cut its lineage.

    Raises:
        SparkException: a partition could not be kept.
    """
    level = rdd.storage_level
    if level is not None and not level.useDisk:
        rdd.storage_level = replace(level, useDisk=True)  # what is evicted can't be computed again
    stored = application.cached_partitions(rdd.dataset_id)
    missing = [p for p in range(rdd.num_partitions) if p not in stored]
    if missing:
        application.run_job(rdd, functions.count_records, missing, properties=properties, call_site=call_site)
        stored = application.cached_partitions(rdd.dataset_id)
        missing = [p for p in range(rdd.num_partitions) if p not in stored]
    if missing:
        raise SparkException(f"local checkpoint of {rdd!r}: no executor could keep partitions {missing}")
    rdd.cut(StoredBlocks(), (), [stored[p] for p in range(rdd.num_partitions)])
    rdd._checkpoint = "done locally"


def _write_part(directory: str, partition: int, records: Iterator[Any]) -> str:
    """Write a partition's file; returns its path. Runs in a task."""
    context = TaskContext.get()
    attempt = context.taskAttemptId() if context is not None else 0
    part = f"{directory}/part-{partition:05d}"
    filesystem, target = resolve_private(part)
    if not filesystem.renames:  # what is written appears when it's whole
        _write_records(part, part, records)
        return part
    hidden = f"{directory}/.part-{partition:05d}-{attempt}"
    source = resolve_private(hidden)[1]
    try:
        _write_records(hidden, part, records)
        filesystem.rename(source, target)
    except BaseException:
        filesystem.remove(source)
        raise
    return part


def _write_records(path: str, part: str, records: Iterator[Any]) -> None:
    running = task.current()
    cipher = None if running is None else running.cipher
    pieces = _pieces(records)
    with create_private(path) as file:
        for piece in pieces if cipher is None else cipher.seal(pieces, _context(part)):
            file.write(piece)


def _pieces(records: Iterator[Any]) -> Iterator[bytes]:
    yield _MAGIC
    while batch := list(islice(records, _BATCH)):
        yield dump_records(batch)


def _context(part: str) -> str:
    """What a partition's file is encrypted for: its name and its RDD's."""
    return "/".join(part.rsplit("/", 2)[1:])


@dataclass(frozen=True)
class Parts(Leaf):
    """The partitions of a checkpoint; a payload is a file's path. Only the application that wrote it reads it."""

    def read(self, task: TaskView, payload: str) -> Records:
        return _read_part(payload, task.cipher)


def _read_part(path: str, cipher: Cipher | None) -> Records:
    with open_raw(path) as raw:
        file: Any
        if cipher is not None:
            sealed = SealedFile(cipher, raw, _context(path), f"the RDD checkpoint {qualify(path)}")
            file = io.BufferedReader(sealed, CHUNK_BYTES)
        else:
            file = io.BufferedReader(raw) if isinstance(raw, io.RawIOBase) else raw
        if file.read(len(_MAGIC)) != _MAGIC:
            raise SparkException(f"{qualify(path)} is no checkpoint of this version")
        while True:
            try:
                batch = pickle.load(file)
            except EOFError:
                return
            yield from batch
