"""Going on from a checkpoint: `StreamingContext.getOrCreate`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from headwater.conf import SparkConf
from headwater.context import SparkContext
from headwater.errors import SparkException
from headwater.filesystem import qualify
from headwater.streaming.recovery.program import load_graph
from headwater.streaming.recovery.safekeeping import OF_THE_MACHINE, Found, find

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext

logger = logging.getLogger("headwater.streaming.recovery")


def get_or_create(
    kind: type[StreamingContext], directory: str, setup: Callable[[], StreamingContext], *, upgrade: bool
) -> StreamingContext:
    """See `StreamingContext.getOrCreate`."""
    active = SparkContext._active_spark_context
    found = find(qualify(directory), SparkConf() if active is None else active._conf)
    if found is None:
        ssc = setup()
        ssc.checkpoint(directory)
        return ssc
    try:
        ledger = found.checkpoint.ledger
        logger.info("Going on from %s at batch %d ms", found.directory, ledger.generated_ms)
        if upgrade or SparkConf().read("headwater.streaming.recovery.upgrade"):
            ssc = setup()
            if ssc._batch_ms != ledger.batch_ms:
                raise SparkException(
                    f"the checkpoint in {directory} has a batch interval of {ledger.batch_ms} ms, the new program one "
                    f"of {ssc._batch_ms} ms: batch times would not match. Keep the interval, or use another directory."
                )
            ssc.checkpoint(directory)
        else:
            ssc = _from_program(kind, found, active)
    except BaseException:
        found.lock.close()
        raise
    ssc._found = found
    return ssc


def _from_program(kind: type[StreamingContext], found: Found, active: SparkContext | None) -> StreamingContext:
    """The context of a checkpoint, with its own graph."""
    sc = active or SparkContext(conf=_settings(found))
    ssc = kind(sc, found.checkpoint.ledger.batch_ms / 1000)
    ssc.checkpoint(found.directory)
    try:
        ssc._graph = load_graph(found.program, ssc)
    except Exception as error:
        if active is None:
            sc.stop()
        raise SparkException(
            f"Failed to read checkpoint from directory {found.directory}: the program in it can't be loaded: "
            f"{type(error).__name__}: {error}. If the code has changed since, getOrCreate(path, setup, upgrade=True) "
            "takes the new code and the checkpoint's data."
        ) from error
    return ssc


def _settings(found: Found) -> SparkConf:
    """The checkpoint's settings; those of the machine are this machine's, if it has any."""
    conf, here = SparkConf(), SparkConf()
    for key, value in found.checkpoint.settings.items():
        conf.set(key, value)
    conf.setAppName(found.checkpoint.app_name)
    conf.setMaster(here.get("spark.master") or found.checkpoint.master)
    for key in OF_THE_MACHINE:
        if here.contains(key):
            conf.set(key, str(here.get(key)))
    return conf
