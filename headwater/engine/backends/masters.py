"""Masters: what `spark.master` may say, and the backend that each stands for."""

from __future__ import annotations

import os
import re
import sys

from headwater.base.cipher import KeySource
from headwater.conf import SparkConf
from headwater.engine.backend import LOOPBACK, Backend, Master
from headwater.engine.settings import ExecutorSettings
from headwater.errors import IllegalArgumentException

_MB = 1 << 20


def parse_master(text: str) -> Master:
    """Understand a master URL.

    >>> parse_master("local[2]").cores
    2

    Raises:
        IllegalArgumentException: it's none of those that there are.
    """
    if text == "local":
        return Master(text, 1, 1, in_process=True)
    if match := re.fullmatch(r"local\[\s*([0-9]+|\*)\s*(?:,\s*([0-9]+)\s*)?\]", text):
        cores = available_cores() if match[1] == "*" else int(match[1])
        failures = int(match[2]) if match[2] is not None else None
        if cores >= 1 and (failures is None or failures >= 1):
            return Master(text, 1, cores, task_failures=failures)
    if match := re.fullmatch(r"local-cluster\[\s*([0-9]+)\s*,\s*([0-9]+)\s*,\s*([0-9]+)\s*\]", text):
        executors, cores, megabytes = map(int, match.groups())
        if executors >= 1 and cores >= 1 and megabytes >= 1:
            return Master(text, executors, cores, clustered=True, memory=megabytes * _MB)
    raise IllegalArgumentException(
        f"spark.master: Could not parse Master URL: '{text}'. Use local (tasks in the driver's process), local[N] or "
        "local[*] (N worker processes, or one a core), local[N,F] (a task may fail F times), or "
        "local-cluster[n,c,m] (n executors of c cores and m MB each)"
    )


def available_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def make_backend(master: Master, conf: SparkConf, directory: str, key: KeySource | None = None) -> Backend:
    """The backend that a master stands for, not started yet.

    Args:
        master: the master.
        conf: the application's settings.
        directory: the driver's scratch directory.
        key: by which what executors and workers write to disk is encrypted; None: it is not.

    Raises:
        IllegalArgumentException: an executor would be given up before its next heartbeat.
    """
    timeout_ms, heartbeat_ms = conf.read("spark.network.timeout"), conf.read("spark.executor.heartbeatInterval")
    if timeout_ms <= heartbeat_ms:
        raise IllegalArgumentException(
            f"The value of spark.network.timeout={timeout_ms}ms must be greater than the value of "
            f"spark.executor.heartbeatInterval={heartbeat_ms}ms: an executor would be given up before its next "
            "heartbeat. Raise the first or lower the second"
        )
    settings = _settings(master, conf, directory, key)
    if master.clustered:
        from headwater.engine.backends.cluster import ClusterBackend

        return ClusterBackend(master.executors, settings, silence_ms_max=timeout_ms)
    from headwater.engine.backends.local import LocalBackend

    return LocalBackend(settings)


def _settings(master: Master, conf: SparkConf, directory: str, key: KeySource | None) -> ExecutorSettings:
    memory: int = master.memory or conf.read("spark.executor.memory")
    received: int = memory // 2
    if conf.contains("headwater.streaming.receiver.memoryLimit"):
        received = conf.read("headwater.streaming.receiver.memoryLimit")
    pairs = dict(conf.getAll())
    prefix = "spark.executorEnv."
    return ExecutorSettings(
        executor_id="driver",
        host=LOOPBACK,
        cores=master.cores,
        in_process=master.in_process,
        secret=_secret(conf) if master.clustered else b"",
        local_dir=conf.get("spark.local.dir"),
        store_limit=int(memory * conf.read("spark.memory.fraction")),
        executors_on_host=master.executors,
        worker_memory=conf.read("spark.python.worker.memory"),
        inline_limit=conf.read("headwater.shuffle.inlineLimit"),
        result_limit=conf.read("spark.driver.maxResultSize") or sys.maxsize,
        compress=conf.read("spark.rdd.compress"),
        state_limit=conf.read("headwater.streaming.state.memoryLimit"),
        received_memory=received,
        received_disk=conf.read("headwater.streaming.receiver.spillLimit"),
        serve_blocks=master.clustered,
        heartbeat_ms=conf.read("spark.executor.heartbeatInterval"),
        owner_directories=() if master.clustered else (directory,),
        sys_path=tuple(path or os.getcwd() for path in sys.path),
        environment={key[len(prefix) :]: value for key, value in pairs.items() if key.startswith(prefix)},
        conf=pairs,
        key=key,
    )


def _secret(conf: SparkConf) -> bytes:
    given: str = conf.read("spark.authenticate.secret")
    return given.encode() or os.urandom(conf.read("spark.authenticate.secretBitLength") // 8)
