"""What a running context keeps of itself in its directory for checkpoints, so that another driver can go on from it.

The context tells what happens, in terms of its streams; the journal's ledger knows them by uid. Whoever must not go on
before something is durable passes a function, which is called on the journal's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from headwater import filesystem
from headwater.streaming.recovery import checkpoint
from headwater.streaming.recovery.checkpoint import Checkpoint
from headwater.streaming.recovery.journal import Journal, recovered
from headwater.streaming.recovery.keeping import Keeping, Then
from headwater.streaming.recovery.ledger import (
    BatchBegun,
    BatchDone,
    BlockAdded,
    Forgotten,
    Ledger,
    VersionsStored,
)
from headwater.streaming.recovery.lock import DirectoryLock
from headwater.streaming.recovery.log import LogSettings, LogWriter, read_log
from headwater.streaming.runtime.receivers import BlockStored, block_data

if TYPE_CHECKING:
    from headwater.conf import SparkConf
    from headwater.context import SparkContext
    from headwater.engine.events import StoredVersion
    from headwater.streaming.graph import Graph

logger = logging.getLogger("headwater.streaming.recovery")

# Settings that say where this driver runs: a recovered one has its own.
OF_THE_MACHINE = (
    "spark.master",
    "spark.driver.host",
    "spark.driver.port",
    "spark.driver.bindAddress",
    "spark.app.id",
    "spark.local.dir",
    "spark.ui.port",
)


class Found(NamedTuple):
    """What a driver left in a directory; the lock is the finder's."""

    directory: str
    checkpoint: Checkpoint
    program: bytes
    lock: DirectoryLock


def find(directory: str, conf: SparkConf) -> Found | None:
    """What there is to go on from; None if nothing.

    Raises:
        IllegalStateException: another driver works with the directory.
        SparkException: there are checkpoints, and none can be read; or a log is damaged.
    """
    if not checkpoint.names(directory):
        return None
    lock = DirectoryLock(directory)
    try:
        newest = checkpoint.newest(directory)
        if newest is None:
            lock.close()
            return None
        settings = log_settings(conf)

        def read(path: str) -> Iterator[bytes]:
            return (record for _, record in read_log(path, on_corrupt=settings.on_corrupt, cipher=settings.cipher))

        recovered(directory, newest, read)
        return Found(directory, newest, checkpoint.read_file(f"{directory}/{newest.program}"), lock)
    except BaseException:
        lock.close()
        raise


class Safekeeping(Keeping):
    """Keeps all in a directory for checkpoints.

    Args:
        sc: whose settings go into checkpoints.
        directory: for checkpoints.
        graph: the streams, identified by their uids.
        program: the graph, pickled.
        ledger: of this run from its start; one that was found goes on.
        lock: on the directory, if it was found; else it is taken.

    Raises:
        IllegalStateException: another driver works with the directory.
        OSError: the directory can't be written.
    """

    def __init__(
        self,
        sc: SparkContext,
        directory: str,
        graph: Graph,
        program: bytes,
        ledger: Ledger,
        lock: DirectoryLock | None,
    ) -> None:
        super().__init__(directory, ledger)  # the journal's, once that has started
        self.received_data = f"{directory}/receivedData"
        self._sc = sc
        self._graph = graph
        self._lock = lock or DirectoryLock(directory)
        try:
            number = max((number for number, _ in checkpoint.names(directory)), default=0)
            self.epoch = str(number + 1)  # no other run in this directory has it
            self._program = f"program-{crc32(program):08x}-{len(program)}"
            if not filesystem.exists(f"{directory}/{self._program}"):
                checkpoint.write_file(f"{directory}/{self._program}", program)
            settings = log_settings(sc._conf)
            self._journal = Journal(
                directory,
                ledger,
                number,
                describe=self._describe,
                open_log=lambda path: LogWriter(path, settings),
                interval_ms=sc._conf.read("headwater.streaming.checkpoint.interval"),
            )
        except BaseException:
            self._lock.close()
            raise

    def _describe(self, ledger: Ledger, number: int) -> Checkpoint:
        settings = {key: value for key, value in self._sc._conf.getAll() if key not in OF_THE_MACHINE}
        return Checkpoint(number, self._sc.appName, self._sc.master, settings, self._program, ledger)

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Write the first checkpoint; raises OSError if the directory can't be written."""
        self._journal.start()

    def stop(self) -> None:
        """Write the last checkpoint and let others have the directory."""
        self._journal.stop()
        self._lock.close()

    # -------------------------------------------------------------------------------------------- what happens
    def block_stored(self, stored: BlockStored, then: Then) -> None:
        self._journal.post(BlockAdded(self._graph.inputs[stored.stream_id].uid, block_data(stored)), then)

    def batch_begun(self, time_ms: int, inputs: Mapping[str, Any], blocks: Mapping[int, int], then: Then) -> None:
        taken = {self._graph.inputs[stream_id].uid: number for stream_id, number in blocks.items()}
        self._journal.post(BatchBegun(time_ms, inputs, taken), then)

    def version_stored(self, uid: str, stored: StoredVersion) -> None:
        self._journal.post(VersionsStored([[uid, stored.version, stored.partition, [*stored.segments]]]), _anyway)

    def batch_done(self, time_ms: int) -> None:
        self._journal.post(BatchDone(time_ms), _anyway)

    def forget(self, inputs: Mapping[str, int], versions: Mapping[str, list[int]]) -> None:
        self._journal.post(Forgotten(inputs, versions), _anyway)

    def when_durable(self, then: Callable[[], None]) -> None:
        def durable(error: BaseException | None) -> None:
            if error is None:
                then()

        self._journal.post(None, durable)


def log_settings(conf: SparkConf) -> LogSettings:
    """How the driver's log is written."""
    return LogSettings.from_conf(
        conf,
        rolling_ms=conf.read("spark.streaming.driver.writeAheadLog.rollingIntervalSecs"),
        tries_max=conf.read("spark.streaming.driver.writeAheadLog.maxFailures"),
        close_after_write=conf.read("spark.streaming.driver.writeAheadLog.closeFileAfterWrite"),
    )


def _anyway(_error: BaseException | None) -> None:
    """What was posted took effect; the journal has said so if it could not be made durable yet."""
