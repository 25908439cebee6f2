"""Going on from a checkpoint: what there is in a directory, and with which settings to go on from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from headwater.base.cipher import Cipher, KeySource, cipher_of, wrong_key
from headwater.conf import SparkConf
from headwater.errors import SparkException, see
from headwater.settings.secrets import is_secret
from headwater.streaming.recovery import checkpoint
from headwater.streaming.recovery.checkpoint import Checkpoint
from headwater.streaming.recovery.journal import log_directories, recovered
from headwater.streaming.recovery.lock import lock_directory
from headwater.streaming.recovery.log import read_log
from headwater.streaming.recovery.safekeeping import Found, log_settings

logger = logging.getLogger("headwater.streaming.recovery")

# Settings that say where the key is: one of them at most is set.
KEYS = ("headwater.encryption.keyFile", "headwater.encryption.keyVariable")
# Settings that say where this driver runs, or how it is to go on: where they are set here, that counts.
OF_THE_MACHINE = (
    "spark.master",
    "spark.driver.host",
    "spark.driver.port",
    "spark.driver.bindAddress",
    "spark.app.id",
    "spark.local.dir",
    "spark.ui.port",
    "headwater.streaming.log.corruption",
    *KEYS,
    "headwater.streaming.recovery.dropUnknown",
    "headwater.streaming.recovery.missedBatches",
    "headwater.streaming.recovery.missedBatchesMax",
    "headwater.streaming.recovery.positionalMatch",
    "headwater.streaming.recovery.upgrade",
)


def find(directory: str, conf: SparkConf | None) -> Found | None:
    """What there is to go on from; None if nothing.

    Args:
        directory: for checkpoints.
        conf: of the context that lives already; None: that of the checkpoint, with what is set on this machine.

    Raises:
        IllegalStateException: another driver works with the directory.
        SparkException: there are checkpoints, and none can be read; or a log is damaged, or stands there alone.
    """
    cipher = _cipher(directory, conf)
    if not checkpoint.names(directory) and checkpoint.newest(directory, cipher) is None:
        _refuse_logs_alone(directory, cipher)
        return None
    lock = lock_directory(directory)
    try:
        found = checkpoint.newest(directory, cipher)
        if found is None:
            lock.close()
            return None
        newest, program = found
        settings = log_settings(conf or recovered_conf(newest), cipher)

        def read(path: str) -> Iterator[bytes]:
            return (record for _, record in read_log(path, on_corrupt=settings.on_corrupt, cipher=settings.cipher))

        recovered(directory, newest, read)
        return Found(directory, newest, program, lock, cipher)
    except BaseException:
        lock.close()
        raise


def _cipher(directory: str, conf: SparkConf | None) -> Cipher | None:
    """What the files of a directory are encrypted by: the key that is set here, else where they say that it is."""
    named = KeySource.named(conf or SparkConf())
    if named is None and conf is None:
        named = checkpoint.read_key_source(directory)
    return cipher_of(named)


def refuse_another_key(found: Found, key: KeySource | None) -> None:
    """What was kept encrypted is not gone on with in the clear, or by a key that doesn't open it."""
    ours = cipher_of(key)
    if found.cipher is not None and (ours is None or ours.key_id != found.cipher.key_id):
        raise wrong_key(f"what the checkpoint directory {found.directory} holds", found.cipher.key_id, ours)


def warn_if_changed(found: Found, changed: Sequence[str]) -> None:
    """The stored program goes on: say so if its files have changed."""
    if changed:
        logger.warning(
            "%s changed since the program in %s was stored. The stored one goes on: its functions, its streams "
            "and its batch interval of %d ms. getOrCreate(path, setup, upgrade=True), or "
            "headwater.streaming.recovery.upgrade=true, takes the new functions and streams; a new interval "
            "needs a new directory.%s",
            f"{', '.join(changed)} {'has' if len(changed) == 1 else 'have'}",
            found.directory,
            found.checkpoint.ledger.batch_ms,
            see("the-old-code-goes-on"),
        )


def _refuse_logs_alone(directory: str, cipher: Cipher | None) -> None:
    """A first checkpoint stands before any entry of a log: where there are entries, checkpoints have been removed."""
    for _, path in log_directories(directory):
        if next(read_log(path, on_corrupt="skip", cipher=cipher), None) is not None:
            raise SparkException(
                f"Failed to read checkpoint from directory {directory}: it holds the log {path}, but no checkpoint. "
                "Restore the checkpoints, or remove the directory to begin anew."
            )


def recovered_conf(found: Checkpoint) -> SparkConf:
    """The checkpoint's settings; secrets are this machine's, as are those of the machine, if it has any."""
    conf, here = SparkConf(), SparkConf()
    key_named_here = any(here.contains(key) for key in KEYS)
    for key, value in found.settings.items():
        if not (key_named_here and key in KEYS):
            conf.set(key, value)
    conf.setAppName(found.app_name)
    conf.setMaster(found.master)
    for key in OF_THE_MACHINE:
        value_here = here.get(key)
        if value_here is not None:
            conf.set(key, value_here)
    for key, value in here.getAll():
        if is_secret(key):
            conf.set(key, value)
    return conf
