"""What a running context keeps of itself in its directory for checkpoints, so that another driver can go on from it.

The context tells what happens, in terms of its streams; the journal's ledger knows them by uid. A caller who must not
go on before something is durable passes a function, which is called on the journal's thread. What isn't needed any
more, of this run or of earlier ones, is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from headwater import filesystem
from headwater.base.cipher import Cipher, cipher_of
from headwater.base.threads import WatchedThread, nothing_depends
from headwater.clock import Clock
from headwater.engine.failures import description
from headwater.errors import IllegalStateException
from headwater.settings.secrets import is_secret
from headwater.streaming.recovery import checkpoint, log
from headwater.streaming.recovery.checkpoint import Checkpoint
from headwater.streaming.recovery.code import Code
from headwater.streaming.recovery.journal import Journal, last_number
from headwater.streaming.recovery.keeping import Keeping, Then
from headwater.streaming.recovery.ledger import (
    BatchBegun,
    BatchDone,
    BatchesAmended,
    Block,
    BlockAdded,
    Forgotten,
    Ledger,
    LogsLost,
    Started,
    VersionsStored,
)
from headwater.streaming.recovery.lock import DirectoryLock, lock_directory
from headwater.streaming.recovery.log import LogSettings, LogWriter
from headwater.streaming.recovery.matching import Source
from headwater.streaming.recovery.setaside import earlier_in, set_aside

if TYPE_CHECKING:
    from headwater.conf import SparkConf
    from headwater.context import SparkContext
    from headwater.engine.events import StoredVersion

logger = logging.getLogger("headwater.streaming.recovery")

# Settings of one run only: they aren't kept; nor are secrets.
OF_THE_RUN = ("spark.driver.host", "spark.driver.port", "spark.driver.bindAddress", "spark.app.id")


class Found(NamedTuple):
    """What a driver left in a directory; the lock is the finder's."""

    directory: str
    checkpoint: Checkpoint
    program: bytes
    lock: DirectoryLock
    cipher: Cipher | None = None  # what it was encrypted by, if it was


class Safekeeping(Keeping):
    """Keeps all in a directory for checkpoints.

    Args:
        sc: whose settings go into checkpoints.
        directory: for checkpoints.
        program: the stream graph, pickled.
        ledger: of this run from its start; one that was found goes on.
        lock: on the directory, if it was found; else it is taken, and what other runs left there is set aside.
        code: of the program.
        clock: says when an image is due, and when receivers' logs are cleaned.

    Raises:
        IllegalStateException: another driver works with the directory.
        OSError: the directory can't be written.
    """

    def __init__(
        self,
        sc: SparkContext,
        directory: str,
        program: bytes,
        ledger: Ledger,
        lock: DirectoryLock | None,
        code: Code,
        *,
        clock: Clock,
    ) -> None:
        super().__init__(directory, ledger)  # the journal's, once that has started
        self.received_data = f"{directory}/receivedData"
        self._sc = sc
        self._receiving: tuple[str, ...] = ()  # uids of the streams that have receivers, once `started` has told
        self._code = code
        self._clock = clock
        self._begins_anew = lock is None
        self._when_lost: Callable[[BaseException], None] | None = None
        self._lock = lock or lock_directory(directory)
        try:
            number = last_number(directory)
            if self._begins_anew:
                self._earlier = earlier_in(directory)
            self.epoch = str(number + 1)  # no other run in this directory has it
            key = sc.application.key
            self._cipher = cipher = cipher_of(key)
            checkpoint.write_key_source(directory, key)
            self._program_bytes = program  # to be written again, should it be removed
            self._program = checkpoint.write_program(directory, number + 1, program, cipher)
            conf, self._log_settings = sc.conf, log_settings(sc.conf, cipher)
            self._rolling_ms: int = conf.read("spark.streaming.receiver.writeAheadLog.rollingIntervalSecs")
            self._store_timeout_ms: int = conf.read("spark.streaming.receiver.blockStoreTimeout")
            self._cleaned_ms = clock.now_ms()  # when the receivers' logs were; the journal's thread's
            self._journal = Journal(
                directory,
                ledger,
                number,
                describe=self._describe,
                renew=self._renew,
                open_log=self._open_log,
                interval_ms=conf.read("headwater.streaming.checkpoint.interval"),
                clock=clock,
                failed=self._failed,
                cipher=cipher,
            )
        except BaseException:
            self._lock.close()
            raise

    def when_lost(self, then: Callable[[BaseException], None]) -> None:
        """Have `then` called when another driver has taken the directory over, or nothing can be kept any more."""
        self._when_lost = then
        self._lock.when_lost(then)

    def _failed(self, failure: BaseException) -> None:
        text = f"nothing can be kept in {self.directory} any more: the thread of its journal has failed"
        loss = IllegalStateException(f"{text}: {description(failure)}")
        loss.__cause__ = failure
        if self._when_lost is not None:
            self._when_lost(loss)

    def _open_log(self, path: str) -> LogWriter:
        """Each checkpoint begins with it: none may be written by a driver that has lost the directory."""
        self._lock.check()
        return LogWriter(path, self._log_settings)

    def _describe(self, ledger: Ledger, number: int) -> Checkpoint:
        pairs = self._sc.conf.getAll()
        settings = {key: value for key, value in pairs if key not in OF_THE_RUN and not is_secret(key)}
        key = self._sc.application.key
        if key is not None and key.file:
            settings["headwater.encryption.keyFile"] = key.file  # wherever the next driver starts
        return Checkpoint(number, self._sc.appName, self._sc.master, settings, self._program, ledger, self._code)

    def _renew(self, ledger: Ledger) -> list[LogsLost]:
        """Have the program in the directory again, if it was removed; returns which received data is in no log now."""
        if not filesystem.exists(f"{self.directory}/{self._program}"):
            checkpoint.write_key_source(self.directory, self._sc.application.key)
            checkpoint.write_file(f"{self.directory}/{self._program}", self._program_bytes, self._cipher)
        if not filesystem.is_local(self.directory):
            return []
        lost = []
        for uid in self._receiving:
            paths = {position.path for position in ledger.positions(uid)}
            gone = sorted(path for path in paths if not filesystem.exists(path))
            if gone:
                lost.append(LogsLost(uid, gone))
        return lost

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Write the first checkpoint; raises OSError if the directory can't be written."""
        if self._begins_anew:
            self._journal.start(self._set_aside)
        else:
            self._journal.start()

    def stop(self) -> None:
        """Write the last checkpoint and let others have the directory."""
        self._journal.stop()
        self._lock.close()

    def started(
        self,
        inputs: Sequence[str],
        states: Mapping[str, tuple[int, int | None]],
        sources: Mapping[str, Source],
        receiving: Collection[str],
    ) -> None:
        self._receiving = tuple(receiving)
        self._journal.post(Started(list(inputs), states, sources), self._sweep)

    # -------------------------------------------------------------------------------------------- what happens
    def block_stored(self, uid: str, block: Block, then: Then) -> None:
        self._journal.post(BlockAdded(uid, block), then)

    def batch_begun(
        self,
        time_ms: int,
        inputs: Mapping[str, Any],
        blocks: Mapping[str, list[str]],
        memory: Mapping[str, Mapping[str, Any]],
        then: Then,
    ) -> None:
        self._journal.post(BatchBegun(time_ms, inputs, blocks, memory), then)

    def batches_amended(self, inputs: Sequence[tuple[str, int, Any]], memory: Mapping[str, Mapping[str, Any]]) -> None:
        self._journal.post(BatchesAmended([list(each) for each in inputs], memory), _anyway)

    def version_stored(self, uid: str, stored: StoredVersion) -> None:
        self._journal.post(VersionsStored([[uid, stored.version, stored.partition, [*stored.segments]]]), _anyway)

    def batch_done(self, time_ms: int) -> None:
        self._journal.post(BatchDone(time_ms), _anyway)

    def forget(self, inputs: Mapping[str, int], versions: Mapping[str, list[int]], given_up_ms: int) -> None:
        self._journal.post(Forgotten(inputs, versions, given_up_ms), self._clean_received)

    def when_durable(self, then: Callable[[], None]) -> None:
        def durable(error: BaseException | None) -> None:
            if error is None:
                then()

        self._journal.post(None, durable)

    # -------------------------------------------------------------------------------------------- what may go
    def _clean_received(self, error: BaseException | None) -> None:
        """Remove the segments of the receivers' logs that no block needs; on the journal's thread."""
        now_ms = self._clock.now_ms()
        if error is not None or now_ms - self._cleaned_ms < self._rolling_ms:
            return
        self._cleaned_ms = now_ms
        # What a receiver has logged, and tells us of only now, is no older. Executors that were started since the
        # machine's clock was set back stamp by that clock.
        latest_ms = now_ms - self._clock.ahead_ms() - self._store_timeout_ms
        needed = oldest_needed(self.ledger, self._receiving)
        below = f"{self.directory}/receivedData"
        for name in filesystem.names_in(below):
            log.clean(f"{below}/{name}", min(latest_ms, needed.get(name, latest_ms)))

    def _sweep(self, error: BaseException | None) -> None:
        """Remove the state segments of earlier runs that this one doesn't stand on; on the journal's thread."""
        if error is not None:
            return
        kept = {
            f"{state}/{name}"
            for state, versions in self.ledger.versions.items()
            for stored in versions.values()
            for segments in stored.values()
            for name in segments
        }
        sweep = partial(self._remove_segments, kept)
        WatchedThread(sweep, name="streaming-sweep", on_failure=nothing_depends).start()

    def _remove_segments(self, kept: set[str]) -> None:
        try:
            for state in filesystem.names_in(f"{self.directory}/state"):
                for epoch in filesystem.names_in(f"{self.directory}/state/{state}"):
                    below = f"{state}/{epoch}"
                    if epoch == self.epoch:
                        continue
                    if not any(name.startswith(f"{below}/") for name in kept):
                        filesystem.remove(f"{self.directory}/state/{below}")
                        continue
                    for segment in filesystem.names_in(f"{self.directory}/state/{below}"):
                        if f"{below}/{segment}" not in kept:
                            filesystem.remove(f"{self.directory}/state/{below}/{segment}")
        except OSError as error:
            logger.warning("States of earlier runs in %s could not all be removed: %s", self.directory, error)

    def _set_aside(self) -> None:
        """Move away what other runs have left: this one doesn't go on from them."""
        kept: int = self._sc.conf.read("headwater.streaming.checkpoint.setAside")
        set_aside(self.directory, int(self.epoch), self._earlier, kept=kept)


def oldest_needed(ledger: Ledger, receiving: Collection[str]) -> dict[str, int]:
    """By the name of a receiver's log, the start of its oldest segment that a block is read from, in ms.

    Args:
        ledger: knows the blocks.
        receiving: uids of the streams that have receivers.
    """
    oldest: dict[str, int] = {}
    for position in [position for uid in receiving for position in ledger.positions(uid)]:
        segment = position.segment
        if segment is not None:
            oldest[position.log] = min(oldest.get(position.log, segment.start_ms), segment.start_ms)
    return oldest


def log_settings(conf: SparkConf, cipher: Cipher | None) -> LogSettings:
    """How the driver's log is written."""
    return LogSettings.from_conf(
        conf,
        rolling_ms=conf.read("spark.streaming.driver.writeAheadLog.rollingIntervalSecs"),
        tries_max=conf.read("spark.streaming.driver.writeAheadLog.maxFailures"),
        close_after_write=conf.read("spark.streaming.driver.writeAheadLog.closeFileAfterWrite"),
        cipher=cipher,
    )


def _anyway(_error: BaseException | None) -> None:
    """What was posted took effect; the journal has said so if it could not be made durable yet."""
