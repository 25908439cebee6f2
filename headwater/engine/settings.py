"""What executors and workers must know from the start: values that are pickled to their processes; sizes in bytes."""

from __future__ import annotations

from typing import NamedTuple

from headwater.base.cipher import KeySource
from headwater.engine.blocks import Places


class ExecutorSettings(NamedTuple):
    """What an executor must know."""

    executor_id: str
    host: str
    cores: int
    in_process: bool  # tasks run on threads of this process
    secret: bytes
    local_dir: str | None
    store_limit: int  # of blocks in memory
    executors_on_host: int  # which share what memory file system there is
    worker_memory: int
    inline_limit: int
    result_limit: int
    compress: bool
    state_limit: int  # of live state in a worker's heap
    received_memory: int  # of received blocks in memory, before they go to disk
    received_disk: int  # of received blocks on disk, before receivers wait
    serve_blocks: bool  # other executors may ask for blocks
    sys_path: tuple[str, ...]
    environment: dict[str, str]
    conf: dict[str, str]
    heartbeat_ms: int = 10_000  # how often it tells the driver that it lives, if it is a process of its own
    owner_directories: tuple[str, ...] = ()  # what else the warden removes when this process dies
    key: KeySource | None = None  # of what is written to disk; None: that isn't encrypted


class WorkerSettings(NamedTuple):
    """What a worker must know."""

    executor_id: str
    secret: bytes
    places: Places
    scratch: str  # a directory for what is spilled
    memory_limit: int
    inline_limit: int
    result_limit: int
    compress: bool
    state_limit: int  # of live state in the worker's heap
    files: str  # the directory of SparkFiles
    sys_path: tuple[str, ...]
    environment: dict[str, str]
    filesystems: dict[str, str]  # their settings
    key: KeySource | None = None  # of what is written to disk; None: that isn't encrypted
