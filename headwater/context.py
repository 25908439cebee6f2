"""The SparkContext: a program's handle on its application.

- One context lives at a time. It owns the engine's `Application`, the driver's copies of added files and, for each
  thread, the local properties that its jobs carry.
- After `stop` nothing works any more but `stop`; errors say where it was stopped.
"""

from __future__ import annotations

import atexit
import getpass
import os
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from headwater import accumulators, filesystem
from headwater import conf as settings
from headwater.accumulators import Accumulator, AccumulatorParam
from headwater.base import contextconf, logs
from headwater.base.callsite import CallSite, call_site, place
from headwater.base.jobproperties import WithJobProperties
from headwater.base.jvm import Package
from headwater.base.tracebacks import folded
from headwater.broadcast import Broadcast
from headwater.conf import SparkConf
from headwater.errors import (
    IllegalArgumentException,
    IllegalStateException,
    SerializationError,
    see,
)
from headwater.files import SparkFiles
from headwater.profiler import BasicProfiler, Profiler, ProfilerCollector
from headwater.rdd import RDD as RDD
from headwater.rdd.checks import check_function, check_int, check_positive
from headwater.rdd.filereading import WithFileInput
from headwater.rdd.hadoopreading import WithHadoopInput
from headwater.status import StatusTracker
from headwater.storagelevel import StorageLevel as StorageLevel
from headwater.taskcontext import TaskContext as TaskContext
from headwater.ui import progress
from headwater.version import __version__

if TYPE_CHECKING:
    from headwater.engine.application import Application
    from headwater.engine.jobhandle import JobHandle
    from headwater.engine.lineage import Dataset
    from headwater.ui.progress import ConsoleProgress

__all__ = ["SparkContext"]

T = TypeVar("T")

_PACKAGES = (".zip", ".egg", ".whl")


class SparkContext(WithJobProperties, WithFileInput, WithHadoopInput):
    """Starts an application; makes RDDs, broadcasts and accumulators in it.

    Args:
        master: where tasks run: `local` (the driver's process), `local[N]`, `local[*]`, `local[N,F]` (worker
            processes), `local-cluster[n,c,m]`. Set neither here nor in the conf it is `local[*]`.
        appName: the application's name. Set neither here nor in the conf it is the script's file name, or
            `pyspark-shell` in a shell or a notebook.
        sparkHome: accepted for PySpark's sake, and ignored.
        pyFiles: .py and .zip files that workers can import from, as by `addPyFile`.
        environment: environment variables of the workers.
        batchSize, serializer, gateway, jsc: accepted for PySpark's sake, and ignored.
        conf: the settings; copied.
        profiler_cls: what profiles tasks if `spark.python.profile` is true.

    Raises:
        ValueError: another context lives.
        IllegalArgumentException: the master is unknown.
    """

    kept_as = "SparkContext"  # a checkpoint of streams leaves it out
    _active_spark_context: ClassVar[SparkContext | None] = None  # the one that lives, or is being started
    _lock: ClassVar[threading.RLock] = threading.RLock()  # guards the field above

    def __init__(
        self,
        master: str | None = None,
        appName: str | None = None,
        sparkHome: str | None = None,
        pyFiles: Iterable[str] | None = None,
        environment: Mapping[str, str] | None = None,
        batchSize: int = 0,
        serializer: Any = None,
        conf: SparkConf | None = None,
        gateway: Any = None,
        jsc: Any = None,
        profiler_cls: type[Profiler] = BasicProfiler,
    ) -> None:
        super().__init__()
        self._running: Application | None = None  # until `stop`
        self._progress: ConsoleProgress | None = None
        self._at_stop: list[Callable[[], object]] = []
        self._stopped_at: CallSite | None = None
        self._created_at = call_site()
        self._conf = contextconf.complete(conf, master, appName, sparkHome, environment)
        self.master: str = self._conf.get("spark.master") or ""
        self.appName: str = self._conf.get("spark.app.name") or ""
        self.sparkHome = self._conf.get("spark.home")
        self.environment = dict(environment or {})
        with SparkContext._lock:
            other = SparkContext._active_spark_context
            if other is not None:
                raise ValueError(
                    "Cannot run multiple SparkContexts at once; existing SparkContext"
                    f"(app={other.appName}, master={other.master}) created by {other._created_at}. Stop it first."
                )
            SparkContext._active_spark_context = self
        try:
            self._start(profiler_cls)
            for path in (*(pyFiles or ()), *contextconf.paths(self._conf.read("spark.submit.pyFiles"))):
                self.addPyFile(path)
            for path in contextconf.paths(self._conf.read("spark.files")):
                self.addFile(path)
        except BaseException:
            self.stop()
            raise

    def _start(self, profiler_class: type[Profiler]) -> None:
        from headwater.engine.application import Application
        from headwater.engine.backends.masters import make_backend, parse_master

        logs.show()
        if level := self._conf.read("spark.log.level"):
            logs.set_level(level)
        self._start_ms = time.time_ns() // 1_000_000
        local = self.master.startswith("local") and not self.master.startswith("local-cluster")
        stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(self._start_ms / 1000))
        app_id = f"local-{self._start_ms}" if local else f"app-{stamp}-0000"
        self._conf.set("spark.app.id", app_id)
        self._added: dict[str, str] = {}  # name of an added file -> where it came from
        self._import_paths: list[str] = []  # what addPyFile has put on sys.path
        self.checkpoint_directory: str | None = None  # of this application's RDD checkpoints
        self._checkpoint_lock = threading.Lock()  # held while checkpoints are made
        self._checkpoints_wanted: weakref.WeakSet[Dataset] = weakref.WeakSet()
        self.reduce_partitions: int | None = None  # after a shuffle where none is given; None: as many as before it
        if self._conf.contains("spark.default.parallelism"):
            self.reduce_partitions = self._conf.read("spark.default.parallelism")
        self.profiler_collector: ProfilerCollector | None = None
        if self._conf.read("spark.python.profile"):
            self.profiler_collector = ProfilerCollector(profiler_class, self._conf.get("spark.python.profile.dump"))
        filesystem.configure(dict(self._conf.getAll()))
        self._running = Application(
            self._conf.clone(),
            parse_master(self.master),
            app_id,
            make_backend=make_backend,
            merge_accumulators=accumulators.merge,
        )
        self._progress = progress.show_if_wanted(self._conf, self._running.status)
        self._files_path = os.path.join(self._running.directory, "files")
        os.mkdir(self._files_path)
        SparkFiles._set_root(self._files_path)
        # Engine threads are daemons, and the interpreter must not end while workers still write.
        atexit.register(self.stop)
        contextconf.report(self._conf)

    # -------------------------------------------------------------------------------------------- life
    @classmethod
    def getOrCreate(cls, conf: SparkConf | None = None) -> SparkContext:
        """The context that lives, or else a new one with these settings."""
        with SparkContext._lock:
            return SparkContext._active_spark_context or cls(conf=conf or SparkConf())

    @classmethod
    def setSystemProperty(cls, key: str, value: str) -> None:
        """Set a setting for confs that are made from now on."""
        settings.system_properties[key] = value

    def stop(self) -> None:
        """End the application: jobs that run fail, workers end, scratch files go. Idempotent."""
        with SparkContext._lock:
            application, self._running = self._running, None
            if application is None:
                if SparkContext._active_spark_context is self and self._stopped_at is None:
                    SparkContext._active_spark_context = None  # it never came to life
                return
            self._stopped_at = call_site()
        try:
            if self.profiler_collector is not None:
                self.profiler_collector.close()
            application.stop()
        finally:
            for call in self._at_stop:
                call()
            if self._progress is not None:
                self._progress.stop()
            self._checkpoints_wanted.clear()
            SparkFiles._set_root(None)
            sys.path[:] = [path for path in sys.path if path not in self._import_paths]
            atexit.unregister(self.stop)
            with SparkContext._lock:
                if SparkContext._active_spark_context is self:
                    SparkContext._active_spark_context = None

    def at_stop(self, call: Callable[[], object]) -> None:
        """Have a call made when the context stops, after the application has ended; for Headwater's own parts.

        Raises:
            IllegalStateException: it has stopped.
        """
        self.check_running()
        self._at_stop.append(call)

    def __enter__(self) -> SparkContext:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __reduce__(self) -> NoReturn:
        raise SerializationError(
            "It appears that you are attempting to reference SparkContext from a broadcast variable, action, or"
            " transformation. SparkContext can only be used on the driver, not in code that runs on workers: it is"
            " likely that a function uses it, or an object (self, say) that holds it. Take what the function needs into"
            " a local variable first." + see("cant-be-pickled")
        )

    def __repr__(self) -> str:
        return f"<SparkContext master={self.master} appName={self.appName}>"

    def check_running(self) -> None:
        """Raise IllegalStateException if the context has stopped."""
        if self._running is None:
            raise self._not_running()

    def _not_running(self) -> IllegalStateException:
        where = f": it was stopped by {self._stopped_at}" if self._stopped_at is not None else ""
        return IllegalStateException(f"Cannot use a stopped SparkContext (app {self.appName}){where}")

    # ------------------------------------------------------------------------------- what it is; see also `Driver`
    @property
    def conf(self) -> SparkConf:
        """The settings themselves, for Headwater's own parts; programs are given a copy by `getConf`."""
        return self._conf

    @property
    def application(self) -> Application:
        """The engine's side, for Headwater's own parts.

        Raises:
            IllegalStateException: the context has stopped.
        """
        application = self._running
        if application is None:
            raise self._not_running()
        return application

    @property
    def version(self) -> str:
        """Headwater's version."""
        return __version__

    @property
    def applicationId(self) -> str:
        """The application's id: `local-<start in ms>`, or `app-...` on a cluster."""
        return self._conf.get("spark.app.id") or ""

    @property
    def uiWebUrl(self) -> str | None:
        """The address of the web pages; None, as there are none yet."""
        return None

    @property
    def startTime(self) -> int:
        """When the application was started, in milliseconds since the epoch."""
        return self._start_ms

    @property
    def defaultParallelism(self) -> int:
        """The number of partitions where none is given: `spark.default.parallelism`, or else the cores."""
        return self.application.default_parallelism

    @property
    def defaultMinPartitions(self) -> int:
        """The least number of partitions of files where none is given: 2, or 1 on a single core."""
        return min(self.defaultParallelism, 2)

    @property
    def resources(self) -> dict[str, Any]:
        """Resources of the driver, such as GPUs: none are known."""
        return {}

    def getConf(self) -> SparkConf:
        """A copy of the settings."""
        return self._conf.clone()

    def sparkUser(self) -> str:
        """Who runs the program."""
        return os.environ.get("SPARK_USER") or getpass.getuser()

    def setLogLevel(self, logLevel: str) -> None:
        """Set from which level on Headwater logs: ALL, TRACE, DEBUG, INFO, WARN, ERROR, FATAL or OFF.

        Lines go to stderr, or where the program's own configuration of `logging` sends them. Workers and executors go
        on to log from WARN on, as in Spark.

        Raises:
            IllegalArgumentException: there is no such level.
        """
        logs.set_level(logLevel)

    @property
    def _jvm(self) -> Package:
        """What programs reach log4j by; all else that they seek there is an error that names the way in Python."""
        return Package("sc._jvm")

    @property
    def _jsc(self) -> Package:
        """Nothing: each use is an error that names the way in Python."""
        return Package("sc._jsc")

    # -------------------------------------------------------------------------------------------- RDDs
    def parallelize(self, c: Iterable[T], numSlices: int | None = None) -> RDD[T]:
        """An RDD of a collection's records, in `numSlices` partitions as equal as can be.

        >>> sc.parallelize(range(0, 6, 2), 5).glom().collect()
        [[], [0], [], [2], [4]]
        """
        from headwater.rdd import sources

        return sources.of_collection(self, c, self._slices(numSlices))

    def range(self, start: int, end: int | None = None, step: int = 1, numSlices: int | None = None) -> RDD[int]:
        """An RDD of the ints from `start` to before `end`; given one argument, from 0 to before it.

        >>> sc.range(2, 10, 3).collect()
        [2, 5, 8]
        """
        for name, value in (("start", start), ("end", start if end is None else end), ("step", step)):
            check_int(name, value)
        return self.parallelize(range(start) if end is None else range(start, end, step), numSlices)

    def _slices(self, number: int | None) -> int:
        if number is None:
            return self.defaultParallelism
        check_positive("numSlices", number)
        return number

    def emptyRDD(self) -> RDD[Any]:
        """An RDD without partitions."""
        from headwater.engine.lineage import Slice

        return RDD(self, Slice(), (), 0, payloads=())

    def union(self, rdds: Sequence[RDD[T]]) -> RDD[T]:
        """The records of all RDDs, in their order."""
        if not rdds:
            return self.emptyRDD()
        for rdd in rdds:
            rdds[0]._check_same_context(rdd, "union")
        return rdds[0]._union(rdds)

    # ----------------------------------------------------------------------------------- shared variables, files
    def broadcast(self, value: T) -> Broadcast[T]:
        """Send a read-only value to the executors, each once, when a task first uses it.

        Raises:
            SerializationError: the value can't be pickled.

        >>> names = sc.broadcast({1: "one"})
        >>> sc.parallelize([1, 1]).map(lambda number: names.value[number]).collect()
        ['one', 'one']
        """
        return Broadcast(self, value)

    def accumulator(self, value: T, accum_param: AccumulatorParam[T] | None = None) -> Accumulator[T]:
        """A sum that begins with `value`, and to which tasks can add.

        Raises:
            TypeError: the value is no int, float or complex, and no param says how to add it up.

        >>> seen = sc.accumulator(0)
        >>> sc.parallelize([1, 2, 3]).foreach(lambda x: seen.add(x))
        >>> seen.value
        6
        """
        self.check_running()
        return accumulators.create(value, accum_param)

    def addFile(self, path: str, recursive: bool = False) -> None:
        """Ship a file to every executor; tasks find it by `SparkFiles.get(<its name>)`.

        Args:
            path: a local file, or a URL that can be read.
            recursive: allow a directory, with all that is in it.

        Raises:
            SparkException: another file of that name was added, or the path is a directory.
        """
        self._add(path, recursive=recursive, importable=False)

    @property
    def listFiles(self) -> list[str]:
        """Where the files came from that `addFile` and `addPyFile` have added."""
        return list(self._added.values())

    def addPyFile(self, path: str) -> None:
        """Ship a .py file, or a .zip, .egg or .whl package, from which driver and workers can then import."""
        name = self._add(path, recursive=False, importable=True)
        root = SparkFiles.getRootDirectory()
        entry = os.path.join(root, name) if name.endswith(_PACKAGES) else root
        if entry not in self._import_paths:
            self._import_paths.append(entry)
            sys.path.insert(1, entry)
        import importlib

        importlib.invalidate_caches()

    def _add(self, path: str, *, recursive: bool, importable: bool) -> str:
        from headwater.filesystem.added import fetch

        application = self.application
        name, copied = fetch(path, SparkFiles.getRootDirectory(), self._added, recursive=recursive)
        application.add_file(name, copied, importable=importable)
        return name

    # -------------------------------------------------------------------------------------------- checkpoints
    def setCheckpointDir(self, dirName: str) -> None:
        """Set where RDD checkpoints go: a new directory below `dirName`, which all executors must be able to write."""
        from headwater.filesystem import qualify, resolve_private

        self.check_running()
        filesystem, resolved = resolve_private(dirName)
        directory = f"{resolved}/{uuid.uuid4()}"
        filesystem.make_directory(directory)
        self.checkpoint_directory = qualify(filesystem.openable(directory))

    def getCheckpointDir(self) -> str | None:
        """The directory of this application's RDD checkpoints, or None."""
        return self.checkpoint_directory

    def want_checkpoint(self, rdd: Dataset) -> None:
        """Have a checkpoint made of an RDD by the next job whose lineage it's in."""
        self._checkpoints_wanted.add(rdd)

    def _make_checkpoints(self, lineage: Dataset) -> None:
        """Make the checkpoints that are wanted within a lineage of which an action has just succeeded."""
        from headwater.rdd import checkpointing

        with self._checkpoint_lock:
            for rdd in checkpointing.wanted_in(lineage, self._checkpoints_wanted):
                properties, site = self.job_properties, f"checkpoint of {rdd!r}"
                if rdd.isLocallyCheckpointed():
                    checkpointing.keep_locally(self.application, rdd, properties, site)
                else:
                    checkpointing.write(self.application, rdd, self.checkpoint_directory or "", properties, site)
                self._checkpoints_wanted.discard(rdd)

    # -------------------------------------------------------------------------------------------- jobs
    def runJob(
        self,
        rdd: RDD[T],
        partitionFunc: Callable[[Iterator[T]], Iterable[Any]],
        partitions: Sequence[int] | None = None,
        allowLocal: bool = False,
    ) -> list[Any]:
        """All that `partitionFunc` gives for the partitions' records.

        Args:
            partitions: which partitions; None is all.
            allowLocal: accepted for PySpark's sake, and ignored.

        >>> sc.runJob(sc.parallelize(range(6), 3), lambda records: [x * x for x in records], [0, 2])
        [0, 1, 16, 25]
        """
        from functools import partial
        from itertools import chain

        from headwater.rdd import functions

        check_function("partitionFunc", partitionFunc)
        chosen = range(rdd.num_partitions) if partitions is None else list(partitions)
        unknown = [partition for partition in chosen if not 0 <= partition < rdd.num_partitions]
        if unknown:
            raise IllegalArgumentException(f"runJob: {rdd!r} has {rdd.num_partitions} partitions, but not {unknown}")
        return list(chain.from_iterable(self.run_job(rdd, partial(functions.as_list_of, partitionFunc), chosen)))

    def run_job(
        self, rdd: Dataset, function: Callable[[int, Iterator[Any]], Any], partitions: Sequence[int]
    ) -> list[Any]:
        """Run a job of this thread, and the checkpoints that it brings about; see `Driver.run_job`."""
        application = self.application
        results = []
        if partitions:
            if self.profiler_collector is not None:
                function = self.profiler_collector.wrap(self, rdd.dataset_id, function)
            try:
                results = application.run_job(
                    rdd, function, partitions, properties=self.job_properties, call_site=place()
                )
            except Exception as error:
                raise folded(error)  # noqa: B904 - it's the same exception
        if self._checkpoints_wanted:
            self._make_checkpoints(rdd)
        return results

    def submit_job(
        self,
        rdd: Dataset,
        function: Callable[[int, Iterator[Any]], Any],
        partitions: Sequence[int],
        on_result: Callable[[int, Any], None] | None = None,
    ) -> JobHandle:
        """Start a job of this thread; see `Driver.submit_job`."""
        return self.application.submit_job(
            rdd,
            function,
            partitions,
            properties=self.job_properties,
            call_site=place(),
            on_result=on_result,
        )

    def cancelJobGroup(self, groupId: str) -> None:
        """Cancel the group's jobs that run; those who wait for one get `JobCancelled`."""
        self.application.cancel_group(groupId, "by cancelJobGroup")

    def cancelAllJobs(self) -> None:
        """Cancel all jobs that run; those who wait for one get `JobCancelled`."""
        self.application.cancel_all("by cancelAllJobs")

    def statusTracker(self) -> StatusTracker:
        """What jobs and stages are doing."""
        return StatusTracker(self.application.status)

    # -------------------------------------------------------------------------------------------- profiles
    def show_profiles(self) -> None:
        """Print the profiles that were collected since the last time.

        Raises:
            RuntimeError: `spark.python.profile` isn't true.
        """
        self._collector().show_profiles()

    def dump_profiles(self, path: str) -> None:
        """Write the profiles that were collected since the last time, as `rdd_<id>.pstats`, into a directory.

        Raises:
            RuntimeError: `spark.python.profile` isn't true.
        """
        self._collector().dump_profiles(path)

    def _collector(self) -> ProfilerCollector:
        if self.profiler_collector is None:
            raise RuntimeError("'spark.python.profile' configuration must be set to 'true' to enable Python profile.")
        return self.profiler_collector
