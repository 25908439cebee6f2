"""SparkConf, and the one table of every configuration key: its kind, default, meaning and standing.

- `set` checks the value of a known key at once; the engine's `read` never meets an invalid one that came that way.
- A key that isn't in the table is kept as it is. One that looks like ours (`spark.`, `headwater.`) warns.
- A setting is in force if, and only if, something reads it: a test looks for the readers.
- A setting that asks for a protection which isn't there is refused when it is set.
- Below this file a duration is `int` milliseconds and a size `int` bytes, whatever unit the key is written in.

`docs/reference/configuration.md` is this table: `python -m headwater.conf > docs/reference/configuration.md`.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from headwater import submitargs
from headwater.errors import IllegalArgumentException

__all__ = ["SparkConf"]

# Keys that are ours to judge; any other is the program's own business.
PREFIXES = ("spark.", "headwater.")

DURATION_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
SIZE_BYTES = {"b": 1} | {
    name: 1024**power for power, unit in enumerate("kmgtp", start=1) for name in (unit, f"{unit}b")
}


class UnknownSettingWarning(UserWarning):
    """A `spark.*` or `headwater.*` key was set that isn't in the table; perhaps it's misspelt."""


MASK = "*********(redacted)"
# Settings whose values are nobody's business: they are kept out of checkpoints and shown masked.
_SECRET = re.compile(
    r"secret|passw|token|credential|connection_string|(access|account|api)[._]?key|[.]key$|[.]sas[._]", re.IGNORECASE
)


def is_secret(key: str) -> bool:
    """Whether a key's value must not be shown or stored.

    >>> is_secret("spark.hadoop.fs.s3a.secret.key"), is_secret("headwater.encryption.keyFile")
    (True, False)
    """
    return _SECRET.search(key) is not None


class Kind(Enum):
    """What a setting's value is; `parse` gives the Python type in brackets."""

    STRING = "string"  # [str]
    BOOL = "boolean"  # [bool]
    INT = "integer"  # [int]
    FLOAT = "number"  # [float]
    DURATION = "duration"  # [int, milliseconds]
    BYTES = "size"  # [int, bytes]
    PATTERN = "regular expression"  # [re.Pattern[str]]


class Standing(Enum):
    """How a setting stands; the values are for the docs."""

    IN_FORCE = "in force"  # something reads it
    PLANNED = "not yet"  # it will mean what the table says; until then a context in which it is set warns
    ACCEPTED = "accepted"  # kept for programs that set it; it has no meaning here and never will
    REFUSED = "refused"  # it asks for what isn't there and can't be done without: setting it raises


@dataclass(frozen=True, slots=True)
class Setting:
    """One configuration key. A key that ends in `.*` stands for all that begin so.

    An empty `default` means that nothing is set: then `read` gives `share` times the setting `same_as`, if that is
    named; else "" for a string and None for any other kind, and `absent` says what the engine does.
    """

    key: str
    kind: Kind
    default: str
    meaning: str
    unit: str = ""  # of a bare number, for durations and sizes
    choices: tuple[str, ...] = ()  # what a string may be, in any case of letters; empty: anything
    least: float = 0
    same_as: str = ""
    share: float = 1.0
    absent: str = ""  # for the docs: what an empty default means
    aliases: tuple[str, ...] = ()  # older names of the key
    harmless: tuple[str, ...] = ("", "false")  # values, in any case of letters, that a refused setting may have
    standing: Standing = Standing.IN_FORCE

    def parse(self, text: str) -> Any:
        """The typed value of a text; None for an empty text, unless the kind is STRING.

        Raises:
            IllegalArgumentException: the text is no such value; the message names the key and what is accepted.
        """
        text = text.strip()
        if not text and not self.default and self.kind is not Kind.STRING:
            return None
        value = _PARSERS[self.kind](self, text)
        if value is None:
            raise IllegalArgumentException(f"{self.key}: {text!r} is not {self.accepts()}.")
        return value

    def check(self, key: str, text: str) -> None:
        """Raises IllegalArgumentException if a key of this setting can't be set to a text."""
        if self.standing is Standing.REFUSED and text.strip().lower() not in self.harmless:
            raise IllegalArgumentException(f"{key} is refused: {self.meaning}")  # the value may be a secret
        self.parse(text)

    def accepts(self) -> str:
        """What a valid value looks like, as the end of 'is not ...'."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        bound = f" of at least {self.least:g}"
        if self.kind is Kind.BOOL:
            return "a boolean: true or false"
        if self.kind is Kind.INT:
            return "an integer" + bound
        if self.kind is Kind.FLOAT:
            return "a number" + bound
        if self.kind is Kind.DURATION:
            return f"a duration: a whole number of us, ms, s, m, min, h or d (alone it counts {self.unit}), such as 30s"
        if self.kind is Kind.BYTES:
            return f"a size: a whole number of b, k, m, g, t or p (alone it counts {self.unit}), such as 512m"
        if self.kind is Kind.PATTERN:
            return "a regular expression"
        return "a string"


# ------------------------------------------------------------------------------------------------- parsing
_NUMBER_AND_UNIT = re.compile(r"(\d+)\s*([a-z]*)")


def _parse_string(setting: Setting, text: str) -> str | None:
    if not setting.choices:
        return text
    return next((choice for choice in setting.choices if choice.lower() == text.lower()), None)


def _parse_pattern(setting: Setting, text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text)
    except re.error:
        return None


def _parse_bool(setting: Setting, text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _parse_int(setting: Setting, text: str) -> int | None:
    value = int(text) if re.fullmatch(r"[+-]?\d+", text) else None
    return value if value is not None and value >= setting.least else None


def _parse_float(setting: Setting, text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if setting.least <= value < float("inf") else None


def _parse_duration(setting: Setting, text: str) -> int | None:
    return _parse_quantity(setting, text, DURATION_MS)


def _parse_bytes(setting: Setting, text: str) -> int | None:
    return _parse_quantity(setting, text, SIZE_BYTES)


def _parse_quantity(setting: Setting, text: str, units: Mapping[str, float]) -> int | None:
    match = _NUMBER_AND_UNIT.fullmatch(text.lower())
    if match is None:
        return None
    factor = units.get(match[2] or setting.unit)
    value = None if factor is None else int(int(match[1]) * factor)
    return value if value is not None and value >= setting.least else None


_PARSERS: dict[Kind, Callable[[Setting, str], Any]] = {
    Kind.STRING: _parse_string,
    Kind.BOOL: _parse_bool,
    Kind.INT: _parse_int,
    Kind.FLOAT: _parse_float,
    Kind.DURATION: _parse_duration,
    Kind.BYTES: _parse_bytes,
    Kind.PATTERN: _parse_pattern,
}


# ------------------------------------------------------------------------------------------------- the table
def _string(key: str, default: str, meaning: str, **more: Any) -> Setting:
    return Setting(key, Kind.STRING, default, meaning, **more)


def _bool(key: str, default: str, meaning: str, **more: Any) -> Setting:
    return Setting(key, Kind.BOOL, default, meaning, **more)


def _int(key: str, default: str, meaning: str, **more: Any) -> Setting:
    return Setting(key, Kind.INT, default, meaning, **more)


def _float(key: str, default: str, meaning: str, **more: Any) -> Setting:
    return Setting(key, Kind.FLOAT, default, meaning, **more)


def _duration(key: str, default: str, meaning: str, unit: str = "ms", **more: Any) -> Setting:
    return Setting(key, Kind.DURATION, default, meaning, unit, **more)


def _bytes(key: str, default: str, meaning: str, unit: str = "b", **more: Any) -> Setting:
    return Setting(key, Kind.BYTES, default, meaning, unit, **more)


def _planned(*settings: Setting) -> tuple[Setting, ...]:
    return tuple(replace(setting, standing=Standing.PLANNED) for setting in settings)


def _accepted(*settings: Setting) -> tuple[Setting, ...]:
    return tuple(replace(setting, standing=Standing.ACCEPTED) for setting in settings)


def _refused(meaning: str, *keys: str, harmless: tuple[str, ...] = ("", "false")) -> tuple[Setting, ...]:
    """Settings that ask for what the meaning says isn't there."""
    return tuple(_string(key, "", meaning, harmless=harmless, standing=Standing.REFUSED) for key in keys)


# Section title -> its settings: those in force, planned, accepted, and refused. The docs have the same order.
SECTIONS: dict[str, tuple[Setting, ...]] = {
    "Application": (
        _string("spark.app.name", "", "The application's name.",
            absent="the script's file name; `pyspark-shell` in a shell or a notebook"),
        _string("spark.app.id", "", "The application's id: set by the context, whatever it was."),
        _string("spark.master", "",
            "Where tasks run: `local`, `local[N]`, `local[*]`, `local[N,F]` or `local-cluster[n,c,m]`.",
            absent="`local[*]`"),
        _string("spark.log.level", "", "Level of the driver's log, as by `setLogLevel`.",
            choices=("ALL", "DEBUG", "ERROR", "FATAL", "INFO", "OFF", "TRACE", "WARN"),
            absent="that of Python's logger `headwater`: WARN, unless the program says otherwise"),
        _string("spark.home", "", "What `SparkContext.sparkHome` says; nothing else uses it."),
        _string("spark.submit.pyFiles", "", "Comma-separated .py, .zip, .egg and .whl files to import from: each is "
            "added by `addPyFile`."),
        _string("spark.files", "", "Comma-separated files for every executor: each is added by `addFile`."),
        _string("spark.executorEnv.*", "", "Environment variables of the workers."),
        _string("spark.hadoop.*", "", "Hadoop's settings of file systems and formats, after the prefix; those that have"
            " a meaning are in docs/how-to/filesystems.md and docs/how-to/hadoop.md."),
        _duration("headwater.filesystem.retryTimeout", "60s", "How long a request to a file system over the network is "
            "tried again, with growing pauses, while the server is away or refuses to be hurried."),
        _string("headwater.filesystem.*", "", "Options of the drivers of file systems, as "
            "`headwater.filesystem.<scheme>.<option>`: see docs/how-to/filesystems.md."),
        *_planned(
            _string("spark.submit.deployMode", "client", "Where the driver runs: `client` is where it was started.",
                choices=("client", "cluster")),
        ),
    ),
    "Executors and memory": (
        _int("spark.default.parallelism", "", "Partitions of `parallelize` and of shuffles that name no number.",
            least=1,
            absent="`parallelize`: the cores of all executors, at least 2 in a cluster; shuffles: as many as the "
            "parents have"),
        _bytes("spark.driver.maxResultSize", "1g", "Results of one action larger than this fail the job; 0: no limit."),
        _bytes("spark.executor.memory", "1g", "Memory of one executor, of which the settings of blocks take shares; "
            "it does not bound what workers use. In `local-cluster[n,c,m]` that is m MB for `spark.memory.fraction`.",
            "m", least=1),
        _float("spark.memory.fraction", "0.6", "Share of an executor's memory that blocks may take. Past it those used "
            "longest ago go to disk, if their storage level allows, or are dropped and computed again."),
        _string("spark.local.dir", "", "Directory for blocks on disk, spills and added files; of a comma-separated "
            "list, the first. Blocks in memory are in /dev/shm where that has 512 MB free, else here.",
            absent="the system's temporary directory"),
        *_planned(
            _int("spark.driver.cores", "1", "Cores of the driver in cluster mode.", least=1),
            _int("spark.executor.cores", "", "Workers of one executor.", least=1, absent="the master's"),
            _int("spark.executor.instances", "", "Number of executors.", absent="the master's"),
            _bytes("spark.executor.memoryOverhead", "", "Asked for on top of the executor's memory in a cluster.", "m"),
            _bytes("spark.executor.pyspark.memory", "", "Memory of the workers of an executor.", "m",
                absent="no limit"),
            _int("spark.cores.max", "", "Cores that the application takes in a cluster.", least=1, absent="no limit"),
            _bool("spark.cleaner.referenceTracking.cleanCheckpoints", "false",
                "Also remove unreferenced RDD checkpoints."),
            _bool("spark.dynamicAllocation.enabled", "false", "Add and remove executors with the load."),
            _int("spark.dynamicAllocation.minExecutors", "0", "Fewest executors."),
            _int("spark.dynamicAllocation.maxExecutors", "", "Most executors.", least=1, absent="no limit"),
            _int("spark.dynamicAllocation.initialExecutors", "", "Executors at the start.",
                same_as="spark.dynamicAllocation.minExecutors"),
            _duration("spark.dynamicAllocation.executorIdleTimeout", "60s",
                "An idle executor is removed after this.", "s"),
        ),
        *_accepted(
            _bytes("spark.driver.memory", "1g", "The driver is the program's own process, and has no limit. In `local` "
                "masters, too, blocks count against `spark.executor.memory`.", "m", least=1),
            _string("spark.executor.id", "", "Set by the context to `driver`."),
            _float("spark.memory.storageFraction", "0.5",
                "Shuffles have memory of their own: `spark.python.worker.memory`."),
            _bool("spark.memory.offHeap.enabled", "false", "Serialized blocks are always outside the Python heap."),
            _bytes("spark.memory.offHeap.size", "0", "See `spark.memory.offHeap.enabled`."),
            _bool("spark.cleaner.referenceTracking", "true", "What nothing refers to any more is always forgotten."),
            _bool("spark.cleaner.referenceTracking.blocking", "true", "Forgetting never makes the program wait."),
            _duration("spark.cleaner.periodicGC.interval", "30min", "Python frees most objects at once.", "s"),
        ),
    ),
    "Scheduling": (
        _int("spark.task.maxFailures", "4", "Failed attempts of one task that fail the job. `local` and `local[N]` "
            "allow 1 unless this is set; `local[N,F]` allows F.", least=1),
        _duration("headwater.task.timeout", "", "How long an attempt of a task may take from when its executor "
            "gets it: then it is killed, with its worker, and counts as failed. So is one whose worker was stopped, "
            "which can't be told from a long task. In master `local` a task that hangs in C code can't be killed.",
            least=1, absent="as long as it takes"),
        _duration("spark.locality.wait", "3s", "How long a stage's tasks wait for a free core of an executor that "
            "holds their data, since the last of them was started."),
        *_planned(
            _string("spark.scheduler.mode", "FIFO", "How jobs of several threads share the executors.",
                choices=("FIFO", "FAIR")),
            _string("spark.scheduler.allocation.file", "", "Pools of the FAIR mode."),
            _int("spark.task.cpus", "1", "Cores that one task takes.", least=1),
            _int("spark.stage.maxConsecutiveAttempts", "4",
                "Runs of a stage whose inputs get lost before the job fails.", least=1),
            _duration("spark.locality.wait.process", "", "`spark.locality.wait` for the same worker.",
                same_as="spark.locality.wait"),
            _duration("spark.locality.wait.node", "", "`spark.locality.wait` for the same machine.",
                same_as="spark.locality.wait"),
            _duration("spark.locality.wait.rack", "", "`spark.locality.wait` for the same rack.",
                same_as="spark.locality.wait"),
            _bool("spark.speculation", "false",
                "Run slow tasks a second time. Not with functions that have side effects."),
            _duration("spark.speculation.interval", "100ms", "How often to look for slow tasks."),
            _float("spark.speculation.multiplier", "1.5", "How many times slower than the median is slow.", least=1),
            _float("spark.speculation.quantile", "0.75", "Share of a stage's tasks that must be done first."),
        ),
        *_accepted(
            _string("spark.scheduler.pool", "default",
                "A local property rather than a setting: the pool of a thread's jobs."),
            _bool("spark.job.interruptOnCancel", "false", "A local property rather than a setting: see `setJobGroup`."),
            _string("spark.jobGroup.id", "", "A local property rather than a setting: see `setJobGroup`."),
            _string("spark.job.description", "", "A local property rather than a setting: see `setJobDescription`."),
        ),
    ),
    "Python workers": (
        _bytes("spark.python.worker.memory", "512m", "Memory that one worker's shuffle or sort uses before it spills.",
            "m", least=1),
        _bool("spark.python.profile", "false", "Profile each RDD's tasks, see `show_profiles`."),
        _string("spark.python.profile.dump", "", "Directory into which profiles that weren't shown are written when "
            "the context stops."),
        *_planned(
            _bool("spark.python.worker.reuse", "true", "Keep workers for later tasks, as is always done now."),
            _string("spark.pyspark.python", "", "Interpreter of the workers.", absent="the driver's"),
        ),
        *_accepted(
            _string("spark.pyspark.driver.python", "", "The driver is the interpreter that runs the program."),
            _string("spark.serializer", "", "Records are pickled."),
            _int("spark.serializer.objectStreamReset", "100", "Records are pickled.", least=-1),
        ),
    ),
    "Shuffles, blocks and compression": (
        _bool("spark.rdd.compress", "false", "Compress cached partitions of 4 KiB and more, by zstd. A context sets it "
            "to true unless it is set, as PySpark's does."),
        _bytes("headwater.shuffle.inlineLimit", "64k", "Shuffle output of one task up to this travels in its reply, "
            "not in a block of its own."),
        _bool("spark.files.ignoreMissingFiles", "false", "RDDs of files: one that has vanished since it was listed "
            "is left out, with a warning. Streams of files leave it out in any case."),
        _bool("spark.files.ignoreCorruptFiles", "false", "RDDs of files: of a partition whose file is damaged, what "
            "comes after the damage is left out, with a warning. Streams of files leave the file out in any case."),
        *_planned(
            _bool("spark.shuffle.compress", "true", "Compress shuffle outputs that go to disk."),
            _bool("spark.shuffle.spill.compress", "true", "Compress what a shuffle or a sort spills."),
            _bool("spark.checkpoint.compress", "false", "Compress RDD checkpoints."),
            _bool("spark.broadcast.compress", "true", "Compress broadcast values."),
            _bool("spark.broadcast.checksum", "true", "Verify a broadcast value where it arrives."),
            _int("spark.io.compression.zstd.level", "1", "Level of zstd: higher is smaller and slower.", least=-7),
            _bytes("spark.reducer.maxSizeInFlight", "48m", "Shuffle output that one task fetches at a time.", "m",
                least=1),
            _bytes("spark.files.maxPartitionBytes", "128m", "Largest partition when reading files.", least=1),
            _bool("spark.files.overwrite", "false", "`addFile` may replace a file of the same name and other content."),
        ),
        *_accepted(
            _string("spark.io.compression.codec", "zstd", "What is compressed is compressed by zstd.",
                choices=("zstd", "lz4")),
            _bytes("spark.broadcast.blockSize", "4m", "A broadcast value is one block.", "k"),
            _bytes("spark.buffer.size", "65536", "Buffers have sizes of their own."),
            _bool("spark.shuffle.spill", "true", "Shuffles spill when they must."),
            _bytes("spark.shuffle.file.buffer", "32k", "Buffers have sizes of their own.", "k"),
            _bool("spark.shuffle.service.enabled", "false", "Executors serve their blocks; workers don't hold any."),
            _bool("spark.files.useFetchCache", "true", "Added files come from the driver."),
        ),
    ),
    "Network and cluster": (
        _duration("spark.network.timeout", "120s", "How long an executor in a process of its own may be silent: then "
            "it is killed and replaced. Also when Kafka's answer to a task is overdue.", "s", least=1),
        _duration("spark.executor.heartbeatInterval", "10s", "How often an executor in a process of its own tells the "
            "driver that it lives; less than `spark.network.timeout`. One that is silent twice as long gets no tasks "
            "until it is heard again.", least=1),
        *_planned(
            _string("spark.driver.host", "127.0.0.1", "Address under which executors reach the driver."),
            _string("spark.driver.bindAddress", "", "Address on which the driver listens.",
                same_as="spark.driver.host"),
            _int("spark.driver.port", "0", "Port on which the driver listens; 0: any."),
            _int("spark.blockManager.port", "0", "Port on which executors listen; 0: any."),
            _int("spark.port.maxRetries", "16", "Next ports to try when a port is taken."),
        ),
    ),
    "Security": (
        _string("headwater.encryption.keyFile", "", "A file with a key, 32 bytes plain, in hex or base64, by which all "
            "is encrypted (AES-256-GCM) that the application writes below its directory for checkpoints and to "
            "`spark.local.dir`. See SECURITY.md.", absent="not encrypted"),
        _string("headwater.encryption.keyVariable", "", "The environment variable with that key, in hex or base64.",
            absent="not encrypted"),
        _bool("spark.io.encryption.enabled", "false", "Encrypt what is written to `spark.local.dir`, and RDD "
            "checkpoints, by a key that is made for the application, unless a key is named. Checkpoints of streams "
            "need one that is named."),
        _string("spark.io.encryption.keySizeBits", "128", "Of the key that is made for the application.",
            choices=("128", "192", "256")),
        _string("spark.authenticate.secret", "", "What the processes of the application prove to each other that they "
            "know.", absent="a new one for each application"),
        _int("spark.authenticate.secretBitLength", "256", "Of the secret that is made for the application, in whole "
            "bytes.", least=128),
        Setting("spark.redaction.regex", Kind.PATTERN, "", "Settings whose key or value it matches are shown masked, "
            "besides those that look like secrets.", absent="none besides"),
        *_accepted(
            _bool("spark.authenticate", "true", "Connections are always authenticated, also if it is false."),
            _string("spark.io.encryption.keygen.algorithm", "", "Keys are random bytes."),
            _string("spark.io.encryption.commons.config.*", "", "There is no JVM."),
            _string("spark.io.crypto.*", "", "The cipher is AES-GCM."),
            _string("spark.security.credentials.*", "", "Delegation tokens belong to clusters that aren't ours."),
        ),
        *_refused("It has another name now, headwater.encryption.keyFile, since it is the key of all that is "
            "encrypted.", "headwater.streaming.log.keyFile", harmless=()),
        *_refused("It has another name now, headwater.encryption.keyVariable, since it is the key of all that is "
            "encrypted.", "headwater.streaming.log.keyVariable", harmless=()),
        *_refused("Connections between the processes of an application are authenticated, by HMAC over a shared "
            "secret, and not encrypted. Unset it, and run the application where nobody else sees its traffic.",
            "spark.network.crypto.*", "spark.network.sasl.*", "spark.authenticate.enableSaslEncryption",
            "spark.ssl.*"),
        *_refused("The secret is read from no file. Set spark.authenticate.secret.", "spark.authenticate.secret.file",
            "spark.authenticate.secret.driver.file", "spark.authenticate.secret.executor.file"),
        *_refused("There is no web UI whose users could be told apart. Unset it.", "spark.acls.enable",
            "spark.admin.acls", "spark.admin.acls.groups", "spark.modify.acls", "spark.modify.acls.groups",
            "spark.ui.view.acls", "spark.ui.view.acls.groups", "spark.user.groups.mapping", "spark.ui.filters",
            harmless=("", "false", "*")),
        *_refused("There is no web UI whose answers could have such headers. Unset it.", "spark.ui.xXssProtection",
            "spark.ui.xContentTypeOptions.enabled", "spark.ui.strictTransportSecurity", "spark.ui.allowFramingFrom"),
        *_refused("Kerberos logins are not made here. Unset it, and log in by kinit before the program starts.",
            "spark.kerberos.*", "spark.yarn.keytab", "spark.yarn.principal"),
        *_refused("There are no plans of SQL from which it could be left out. Unset it.",
            "spark.redaction.string.regex", "spark.sql.redaction.*"),
    ),
    "Streaming": (
        _duration("spark.streaming.blockInterval", "200ms", "How often a receiver's records become a block; a batch "
            "has a partition for each. If it isn't set, it is evened out: an interval near the default of which each "
            "batch has the same number, and each core as many blocks. At least 50 ms is recommended.", least=1),
        _int("spark.streaming.concurrentJobs", "1",
            "Jobs that run at once. More than one lets batches overtake each other.", least=1),
        _int("headwater.streaming.waitingBatchesMax", "1000", "With so many batches that run or wait for it, the next "
            "ones are late: what they would take stays with the sources.", least=1),
        _string("spark.streaming.checkpoint.directory", "", "As if the program called `ssc.checkpoint` with it.",
            absent="there are no checkpoints"),
        _bool("spark.streaming.unpersist", "true", "Unpersist RDDs that no stream needs any more. What receivers "
            "stored is always forgotten then."),
        _bool("spark.streaming.stopGracefullyOnShutdown", "false", "When the program ends and the context still runs, "
            "by itself, by Ctrl-C, SIGTERM or SIGHUP, first finish what was received."),
        _duration("spark.streaming.gracefulStopTimeout", "", "How long a graceful stop waits until receivers have "
            "stopped and a batch has taken what they received; later that is dropped. Batches that were generated are "
            "finished whatever it says.",
            absent="10 batch intervals, as for 0"),
        _duration("spark.streaming.fileStream.minRememberDuration", "60s",
            "A file stream sees files not older than this, rounded up to whole batches.", "s",
            aliases=("spark.streaming.minRememberDuration",)),
        _string("headwater.streaming.fileStream.selection", "modificationTime", "Which files a stream takes. "
            "`modificationTime`: as Spark, those modified since the last minRememberDuration and since the stream was "
            "made. `identity`: every complete file once, whatever its modification time; names of temporary files are "
            "left out.", choices=("modificationTime", "identity")),
        _duration("headwater.streaming.fileStream.stabilityDuration", "2s", "By identity, a file is complete once it "
            "has not changed for so long: between two batches, or by its modification time.", "s"),
        _duration("headwater.streaming.fileStream.retryTimeout", "10m", "How long a file stream tries a file again "
            "that can't be read and doesn't change, with growing pauses; then it's given up, with an error in the "
            "log.", "s"),
        _string("headwater.streaming.failure.policy", "continue", "What follows when an output of a batch fails, in "
            "its function or in a transformation. `continue`: the other outputs and later batches go on. `retry`: it "
            "is tried again, and its later batches wait; then as `continue`. `stop`: the context stops at once, and "
            "queued batches are dropped. `awaitTermination` raises the error each time.",
            choices=("continue", "retry", "stop")),
        _int("headwater.streaming.failure.maxRetries", "3", "How often `retry` tries an output of a batch again.",
            least=1),
        _duration("headwater.streaming.failure.retryWait", "1s", "Pause before each of these tries."),
        _bytes("headwater.streaming.state.memoryLimit", "1g", "State that one worker holds in its memory, of all its "
            "streams together, estimated; the largest partitions above it are kept on disk (`spark.local.dir`)."),
        _bool("headwater.streaming.output.skipEmpty", "false",
            "`saveAsTextFiles` and its like write nothing for a batch "
            "without records; else that has a directory too."),
        _duration("headwater.streaming.output.commitRetention", "1d",
            "How long, by batch time, `foreachTransaction` remembers in the database which partitions of batches were "
            "written. Batches that a restart would run again are remembered as long as they wait."),
        _bool("headwater.streaming.persistShared", "true",
            "Keep the batches of a stream that several streams or outputs "
            "read, in memory, so that each is computed once. Not for source streams, nor where `persist` was called. "
            "Kept records are pickled, and a partition must fit into a worker's memory."),
        _string("spark.streaming.clock", "", "A name that ends in `ManualClock`: batches follow a clock that the "
            "program moves, for tests.", absent="the system's clock"),
        *_planned(
            _int("spark.streaming.ui.retainedBatches", "1000",
                "Finished batches that UI, REST and metrics remember.", least=1),
        ),
        *_accepted(
            _int("spark.streaming.blockQueueSize", "10", "While a block is stored, records gather in one buffer; when "
                "that is full the receiver waits.", least=1),
            _int("spark.streaming.sessionByKey.deltaChainThreshold", "20",
                "How many changes of a state lie upon an image follows from their sizes.", least=1),
            _bool("spark.streaming.stopSparkContextByDefault", "true", "Python's `stop()` has an argument for it."),
            _string("spark.streaming.internal.batchTime", "",
                "A local property rather than a setting: the batch of a job."),
            _string("spark.streaming.internal.outputOpId", "",
                "A local property rather than a setting: the output of a job."),
            _duration("spark.streaming.manualClock.jump", "0", "The program moves a manual clock."),
        ),
    ),
    "Receivers": (
        _int("spark.streaming.receiver.maxRate", "", "Records a second that one receiver takes; 0 or -1: no limit.",
            least=-1, absent="no limit"),
        _duration("spark.streaming.receiverRestartDelay", "2000",
            "Pause between a receiver's failure and its restart; as long as it stores nothing in between it doubles "
            "with each, up to eight times this."),
        _bytes("headwater.streaming.receiver.maxLineSize", "128m", "How long a line from a socket, or of an HTTP "
            "answer, may be; a longer one is an error of the receiver, which connects again.", least=1),
        _int("headwater.streaming.receiver.maxRestarts", "", "How often in a row a receiver is started again without "
            "storing anything in between. After that `awaitTermination` raises its failure, and its stream stays "
            "empty.", absent="no limit"),
        _bool("headwater.streaming.receiver.rebalance", "true", "Whether receivers move, one after the other and "
            "without loss, when an executor has come and another one has two more of them. Those that have a preferred "
            "location stay."),
        _bytes("headwater.streaming.receiver.memoryLimit", "", "Received, not yet processed blocks that one executor "
            "keeps in memory. More go to disk, if their storage level allows.",
            same_as="spark.executor.memory", share=0.5, least=1),
        _bytes("headwater.streaming.receiver.spillLimit", "1g", "Received blocks that went to disk, of one executor, "
            "before its receivers stop reading."),
        _duration("spark.streaming.receiver.blockStoreTimeout", "30",
            "How long a receiver that has stored a block waits "
            "for the driver to have it; then the block doesn't count, and storing it fails.", "s", least=1),
    ),
    "Checkpoints and logs": (
        _duration("headwater.streaming.checkpoint.interval", "10s",
            "How often the log of what happens is replaced by an "
            "image of it all, sooner if it's long. The log is always up to date: this is no measure of what is lost."),
        _int("headwater.streaming.checkpoint.setAside", "5", "When a program begins anew in a used directory, without "
            "getOrCreate, what is there is moved to `set-aside` below it. Of each application so many are kept, the "
            "latest; with 0 it is removed.", least=0),
        _string("headwater.streaming.recovery.missedBatches", "run", "What a restart does for the batch times of its "
            "down time: `run` them all, or `merge` them into the first tick.", choices=("run", "merge")),
        _int("headwater.streaming.recovery.missedBatchesMax", "1000", "More missed batches than this are merged, "
            "also those that a running driver is late by because its clock was set forward or the machine slept.",
            least=0),
        _bool("headwater.streaming.recovery.dropUnknown", "false",
            "Whether a restart drops what a checkpoint holds for "
            "streams that the program doesn't have."),
        _string("headwater.streaming.recovery.positionalMatch", "refuse", "What an upgrade does about a stream without "
            "a uid that stands at the position of another one in the checkpoint: `refuse` to start, or `warn` and go "
            "on with what was kept of the other.", choices=("refuse", "warn")),
        _bool("headwater.streaming.recovery.upgrade", "false", "As if `getOrCreate` were called with `upgrade=True`."),
        _bool("spark.streaming.receiver.writeAheadLog.enable", "false", "Log received blocks in the checkpoint "
            "directory, so that none is lost with a driver or an executor. No second copy is made then."),
        _duration("spark.streaming.receiver.writeAheadLog.rollingIntervalSecs", "60",
            "When the receivers' log begins a new segment.", "s", least=1),
        _int("spark.streaming.receiver.writeAheadLog.maxFailures", "3",
            "Attempts to write to the receivers' log before that fails.", least=1),
        _bool("spark.streaming.receiver.writeAheadLog.closeFileAfterWrite", "false",
            "A segment of the receivers' log for each write, for file systems that can't flush an open file."),
        _duration("spark.streaming.driver.writeAheadLog.rollingIntervalSecs", "60",
            "When the driver's log begins a new segment.", "s", least=1),
        _int("spark.streaming.driver.writeAheadLog.maxFailures", "3",
            "Attempts to write to the driver's log before that fails.", least=1),
        _bool("spark.streaming.driver.writeAheadLog.closeFileAfterWrite", "false",
            "A segment of the driver's log for each write, for file systems that can't flush an open file."),
        _bool("headwater.streaming.log.sync", "true",
            "Whether what is acknowledged survives the machine's death (fsync), "
            "and not only the process's."),
        _string("headwater.streaming.log.corruption", "fail",
            "What a restart does about damage within a log: `fail`, or "
            "`skip` it with a warning.", choices=("fail", "skip")),
        *_accepted(
            _string("spark.streaming.receiver.writeAheadLog.class", "", "There is the built-in log.",
                absent="the built-in log"),
            _string("spark.streaming.driver.writeAheadLog.class", "", "There is the built-in log.",
                absent="the built-in log"),
            _bool("spark.streaming.driver.writeAheadLog.allowBatching", "true",
                "Entries that wait are always written as one."),
            _duration("spark.streaming.driver.writeAheadLog.batchingTimeout", "5000",
                "Who waits for an entry waits until "
                "it's written or has failed."),
        ),
    ),
    "Back-pressure": (
        _bool("spark.streaming.backpressure.enabled", "false", "Let processing decide how fast receivers and iterators "
            "are read. Without it they are slowed down too, but only once the memory for received data is full."),
        _float("spark.streaming.backpressure.initialRate", "", "Records a second of a stream before the first rate is "
            "found, with back-pressure on; 0 or -1: no limit.", same_as="spark.streaming.receiver.maxRate", least=-1),
        _string("spark.streaming.backpressure.rateEstimator", "pid", "How the rate is found.", choices=("pid",)),
        _float("spark.streaming.backpressure.pid.proportional", "1.0", "Weight of the last batch's error."),
        _float("spark.streaming.backpressure.pid.integral", "0.2", "Weight of the accumulated error."),
        _float("spark.streaming.backpressure.pid.derived", "0.0", "Weight of the error's change."),
        _float("spark.streaming.backpressure.pid.minRate", "100", "Lowest rate, records a second.", least=1e-9),
    ),
    "Sources": (
        _duration("headwater.streaming.kinesis.leaseDuration", "10s",
            "After this without a sign of a Kinesis worker others "
            "take its shards. The same for all workers of an application.", least=100),
        _duration("headwater.streaming.kinesis.readInterval", "250ms", "From one read of a Kinesis shard to the next. "
            "Kinesis allows five reads a second of a shard, for all applications together."),
        _duration("spark.streaming.kinesis.retry.waitTime", "100ms",
            "Pause before a read of Kinesis that failed is tried "
            "again; it doubles with each failure, up to 10 s."),
        _int("spark.streaming.kinesis.retry.maxAttempts", "3",
            "Failed reads of Kinesis in a row that are reported as an "
            "error of the receiver, which goes on trying.", least=1),
        _string("headwater.streaming.flume.ssl.certificateFile", "", "A PEM file with the certificate chain that "
            "Flume's avro sinks are shown; then `FlumeUtils.createStream` speaks TLS.", absent="no TLS"),
        _string("headwater.streaming.flume.ssl.keyFile", "", "The PEM file with its private key, not encrypted; it "
            "is read in the executor, and in no checkpoint.", absent="the certificate's file"),
        _float("spark.streaming.kafka.maxRatePerPartition", "0",
            "Records a second of each partition of a direct stream; 0: no limit."),
        _float("spark.streaming.kafka.minRatePerPartition", "1",
            "Records a second that back-pressure leaves each partition of a direct stream."),
        _bool("spark.streaming.kafka.consumer.cache.enabled", "true", "Workers keep consumers for later batches."),
        _int("spark.streaming.kafka.consumer.cache.maxCapacity", "64", "Consumers that one worker keeps.", least=1),
        _duration("spark.streaming.kafka.consumer.poll.ms", "", "How long a task waits for records.",
            same_as="spark.network.timeout"),
        _string("headwater.streaming.kafka.offsetsExpired", "fail", "When records of a direct stream have expired "
            "before they were read, or its topic was made anew: `fail` the batch, or go on with the `earliest` that "
            "are there.",
            choices=("fail", "earliest")),
        _duration("headwater.streaming.kafka.startTimeout", "30s", "How long the start of a direct stream waits for "
            "brokers that don't answer."),
        _duration("headwater.streaming.kafka.metadataInterval", "5s",
            "How often a direct stream looks for new topics and partitions.", least=1),
        _string("headwater.streaming.kafka.brokers", "", "The brokers of programs whose `KafkaUtils.createStream` "
            "names ZooKeeper only.", absent="an error"),
        _string("headwater.streaming.kafka.secret.*", "", "A password or another secret of kafkaParams, by "
            "librdkafka's name after the prefix, for a driver that goes on from a checkpoint; or an environment "
            "variable such as `HEADWATER_KAFKA_SASL_PASSWORD`.", absent="an error when it is needed"),
        *_accepted(
            _int("spark.streaming.kafka.consumer.cache.initialCapacity", "16", "Of a hash table of the JVM's."),
            _float("spark.streaming.kafka.consumer.cache.loadFactor", "0.75", "Of a hash table of the JVM's."),
            _int("spark.streaming.kafka.maxRetries", "1", "Offsets are looked up again with each batch."),
            _bool("spark.streaming.kafka.allowNonConsecutiveOffsets", "false", "Gaps in offsets need no setting."),
        ),
    ),
    "Streaming executors": _planned(
        _bool("spark.streaming.dynamicAllocation.enabled", "false", "Add and remove executors with the batches' load."),
        _int("spark.streaming.dynamicAllocation.minExecutors", "", "Fewest executors.", least=1,
            absent="the number of receivers, at least 1"),
        _int("spark.streaming.dynamicAllocation.maxExecutors", "", "Most executors.", least=1, absent="no limit"),
        _duration("spark.streaming.dynamicAllocation.scalingInterval", "60", "How often to decide.", "s", least=1),
        _float("spark.streaming.dynamicAllocation.scalingUpRatio", "0.9",
            "Processing time over interval that adds executors."),
        _float("spark.streaming.dynamicAllocation.scalingDownRatio", "0.3",
            "Processing time over interval that removes one."),
    ),
    "Monitoring": (
        _int("spark.ui.retainedJobs", "1000", "Jobs, and as many stages, that `statusTracker` remembers.", least=1),
        _bool("spark.ui.showConsoleProgress", "false", "Show the stages that run for more than half a second as bars "
            "in a line of stderr, if that is a terminal."),
        *_planned(
            _bool("spark.ui.enabled", "true", "Serve the web UI."),
            _int("spark.ui.port", "4040", "Port of the web UI, or the next free one."),
            _bool("spark.ui.killEnabled", "true", "Jobs can be cancelled in the web UI."),
            _bool("spark.ui.reverseProxy", "false", "The web UI stands behind a proxy."),
            _int("spark.ui.retainedStages", "1000", "Finished stages that the UI remembers.", least=1),
            _int("spark.ui.retainedTasks", "100000", "Finished tasks that the UI remembers.", least=1),
            _bool("spark.eventLog.enabled", "false", "Write events to a file."),
            _string("spark.eventLog.dir", "", "Directory of the event files.", absent="/tmp/spark-events"),
            _bool("spark.eventLog.compress", "false", "Compress the event files."),
            _bool("spark.eventLog.rolling.enabled", "false", "Begin a new event file when one is full."),
            _string("spark.metrics.namespace", "", "First part of each metric's name.", same_as="spark.app.id"),
            _string("spark.metrics.*", "", "Where metrics go."),
        ),
    ),
    "Not ours": _accepted(
        _string("spark.driver.extraJavaOptions", "", "There is no JVM."),
        _string("spark.driver.extraClassPath", "", "There is no JVM."),
        _string("spark.driver.extraLibraryPath", "", "There is no JVM."),
        _string("spark.executor.extraJavaOptions", "", "There is no JVM."),
        _string("spark.executor.extraClassPath", "", "There is no JVM."),
        _string("spark.executor.extraLibraryPath", "", "There is no JVM."),
        _string("spark.kryo.*", "", "There is no JVM."),
        _string("spark.kryoserializer.*", "", "There is no JVM."),
        _string("spark.jars", "", "There is no JVM."),
        _string("spark.jars.*", "", "There is no JVM."),
        _string("spark.sql.*", "", "Settings of SQL and data frames."),
        _string("spark.yarn.*", "", "Settings of a cluster that isn't ours."),
        _string("spark.kubernetes.*", "", "Settings of a cluster that isn't ours."),
        _string("spark.mesos.*", "", "Settings of a cluster that isn't ours."),
        _string("spark.akka.*", "", "Settings of a transport that isn't ours."),
        _string("spark.rpc.*", "", "Settings of a transport that isn't ours."),
        _string("spark.history.*", "", "Settings of the history server."),
        _string("spark.driverEnv.*", "", "Environment of the driver in a cluster that isn't ours."),
    ),
}  # fmt: skip


SETTINGS: dict[str, Setting] = {setting.key: setting for section in SECTIONS.values() for setting in section}
_ALIASES: dict[str, str] = {alias: setting.key for setting in SETTINGS.values() for alias in setting.aliases}
# The longest first: a family may lie within another one.
_FAMILIES: tuple[str, ...] = tuple(sorted((key[:-1] for key in SETTINGS if key.endswith(".*")), key=len, reverse=True))


def find(key: str) -> Setting | None:
    """The setting that a key belongs to, by its name, an older name or its family; None if it's unknown."""
    setting = SETTINGS.get(_ALIASES.get(key, key))
    if setting is None:
        family = next((family for family in _FAMILIES if key.startswith(family)), None)
        setting = None if family is None else SETTINGS[family + "*"]
    return setting


def read(pairs: Mapping[str, str], key: str) -> Any:
    """The typed value of a setting: that of `pairs`, else its default.

    Arguments:
        pairs: texts by key, such as a conf's pairs that travelled to a worker.
        key: a key of the table.

    Returns:
        str, bool, int, float; int milliseconds for a duration, int bytes for a size. A setting without value or default
        is None, or "" if it is a string.

    Raises:
        KeyError: the key isn't in the table.
        IllegalArgumentException: the pairs hold a value that isn't valid.

    >>> read({}, "spark.locality.wait"), read({"spark.locality.wait": "2s"}, "spark.locality.wait")
    (3000, 2000)
    >>> read({"spark.executor.memory": "2g"}, "headwater.streaming.receiver.memoryLimit") == 2**30
    True
    """
    setting = find(key)
    if setting is None:
        raise KeyError(f"{key} is not in the table of settings (headwater/conf.py)")
    names = (setting.key, *setting.aliases) if key in SETTINGS or key in _ALIASES else (key,)
    text = next((pairs[name] for name in names if name in pairs), setting.default).strip()
    if not text and setting.same_as:
        value = read(pairs, setting.same_as)
        return value if setting.share == 1.0 else int(value * setting.share)
    return setting.parse(text) if text else "" if setting.kind is Kind.STRING else None


def without_effect(conf: SparkConf) -> list[str]:
    """The keys of planned settings that a conf sets to something other than their default.

    >>> without_effect(SparkConf(False).set("spark.speculation", True).set("spark.ui.port", 4040))
    ['spark.speculation']
    """
    pairs = dict(conf.getAll())
    planned = [key for key in pairs if (setting := find(key)) is not None and setting.standing is Standing.PLANNED]
    return [key for key in planned if read(pairs, key) != read({k: v for k, v in pairs.items() if k != key}, key)]


def meaningless(conf: SparkConf) -> list[str]:
    """The keys that a conf sets and that are accepted for programs' sake only.

    >>> meaningless(SparkConf(False).set("spark.jars.packages", "org.apache:x:1").set("spark.rdd.compress", True))
    ['spark.jars.packages']
    """
    return [
        key
        for key, _ in conf.getAll()
        if (setting := find(key)) is not None and setting.standing is Standing.ACCEPTED
    ]


# ------------------------------------------------------------------------------------------------- SparkConf
#: What `SparkContext.setSystemProperty` has set; new confs begin with its `spark.*` and `headwater.*` keys.
system_properties: dict[str, str] = {}


class SparkConf:
    """An application's settings. Setters return the conf, so that calls can be chained.

    A context takes a copy: changes made later don't reach it.

    Arguments:
        loadDefaults: begin with `spark-defaults.conf` of the directory `SPARK_CONF_DIR`, if there is one, with the
            options in `PYSPARK_SUBMIT_ARGS`, and with what `SparkContext.setSystemProperty` set.
        _jvm, _jconf: accepted for PySpark's sake, and ignored.

    >>> conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("counts").set("spark.rdd.compress", True)
    >>> print(conf.toDebugString())
    spark.master=local[2]
    spark.app.name=counts
    spark.rdd.compress=True
    >>> conf.set("spark.streaming.blockInterval", "fast")
    Traceback (most recent call last):
    headwater.errors.IllegalArgumentException: spark.streaming.blockInterval: 'fast' is not a duration: a whole number \
of us, ms, s, m, min, h or d (alone it counts ms), such as 30s.
    """

    def __init__(self, loadDefaults: bool = True, _jvm: object = None, _jconf: object = None) -> None:
        self._pairs: dict[str, str] = {}  # in order of first setting; the values of known keys are valid
        if loadDefaults:
            for key, (value, origin) in _defaults().items():
                try:
                    self.set(key, value)
                except IllegalArgumentException as error:
                    raise IllegalArgumentException(f"{origin}: {error}") from None

    def set(self, key: str, value: Any) -> SparkConf:
        """Set one key to `str(value)`.

        Raises:
            IllegalArgumentException: the value isn't valid for a known key, or asks for a protection that isn't there.

        Warns:
            UnknownSettingWarning: a `spark.*` or `headwater.*` key isn't known.
        """
        setting, text = find(key), str(value)
        if setting is not None:
            setting.check(key, text)
        elif key.startswith(PREFIXES):
            warnings.warn(_unknown(key), UnknownSettingWarning, stacklevel=2)
        self._pairs[_ALIASES.get(key, key)] = text
        return self

    def setIfMissing(self, key: str, value: Any) -> SparkConf:
        """Set one key unless it is set already."""
        return self if self.contains(key) else self.set(key, value)

    def setMaster(self, value: str) -> SparkConf:
        """Set `spark.master`: where tasks run."""
        return self.set("spark.master", value)

    def setAppName(self, value: str) -> SparkConf:
        """Set `spark.app.name`."""
        return self.set("spark.app.name", value)

    def setSparkHome(self, value: str) -> SparkConf:
        """Set `spark.home`, which only `SparkContext.sparkHome` shows."""
        return self.set("spark.home", value)

    def setExecutorEnv(
        self, key: str | None = None, value: str | None = None, pairs: Iterable[tuple[str, str]] | None = None
    ) -> SparkConf:
        """Set an environment variable of the workers, or several.

        Raises:
            IllegalArgumentException: both a key and pairs were given, or neither.

        >>> SparkConf(False).setExecutorEnv("LANG", "C").get("spark.executorEnv.LANG")
        'C'
        """
        if (key is None) == (pairs is None):
            raise IllegalArgumentException("Either pass one key-value pair or a list of pairs")
        for name, text in [(key, value)] if pairs is None else pairs:
            self.set(f"spark.executorEnv.{name}", text)
        return self

    def setAll(self, pairs: Iterable[tuple[str, Any]]) -> SparkConf:
        """Set several keys, given as (key, value) pairs."""
        for key, value in pairs:
            self.set(key, value)
        return self

    def get(self, key: str, defaultValue: str | None = None) -> str | None:
        """The text that a key was set to, or `defaultValue`. The table's default doesn't count as set."""
        return self._pairs.get(_ALIASES.get(key, key), defaultValue)

    def getAll(self) -> list[tuple[str, str]]:
        """All (key, value) pairs that were set, in order."""
        return list(self._pairs.items())

    def contains(self, key: str) -> bool:
        """Whether a key was set."""
        return _ALIASES.get(key, key) in self._pairs

    def __repr__(self) -> str:
        pairs = ", ".join(self.toDebugString().splitlines())
        return f"<SparkConf: {pairs or 'no settings'}>"

    def toDebugString(self) -> str:
        """The settings as lines `key=value`; the values of secrets are masked."""
        pattern = self.read("spark.redaction.regex")

        def shown(key: str, value: str) -> str:
            hidden = is_secret(key) or (pattern is not None and (pattern.search(key) or pattern.search(value)))
            return f"{key}={MASK if hidden else value}"

        return "\n".join(shown(key, value) for key, value in self._pairs.items())

    def clone(self) -> SparkConf:
        """A conf of its own with the same settings."""
        conf = SparkConf(loadDefaults=False)
        conf._pairs.update(self._pairs)
        return conf

    def read(self, key: str) -> Any:
        """The typed value of a key of the table, or its default; see the function `read`.

        >>> SparkConf(False).set("spark.network.timeout", "2min").read("spark.network.timeout")
        120000
        """
        return read(self._pairs, key)


def _defaults() -> dict[str, tuple[str, str]]:
    """What new confs begin with: key -> (value, where it comes from). Later sources win: file, options, properties."""
    found: dict[str, tuple[str, str]] = {}
    path = os.path.join(os.environ.get("SPARK_CONF_DIR", ""), "spark-defaults.conf")
    if os.environ.get("SPARK_CONF_DIR") and os.path.exists(path):
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                # A key ends at the first white space, '=' or ':'; a '#' or '!' begins a comment.
                match = re.match(r"\s*([^\s=:#!][^\s=:]*)\s*[=:\s]?\s*(.*?)\s*$", line)
                if match:
                    found[match[1]] = (match[2], f"{path}, line {number}")
    options = submitargs.settings_of(os.environ.get(submitargs.VARIABLE, ""))
    found |= {key: (value, submitargs.VARIABLE) for key, value in options.items()}
    found |= {key: (value, "a system property") for key, value in system_properties.items()}
    return {key: value for key, value in found.items() if key.startswith(PREFIXES)}


def _unknown(key: str) -> str:
    from difflib import get_close_matches

    known = [name for name in (*SETTINGS, *_ALIASES) if not name.endswith(".*")]
    nearest = get_close_matches(key, known, n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    return f"{key} is not a setting that Headwater knows.{hint} It is kept, and has no effect."


# ------------------------------------------------------------------------------------------------- docs
def describe() -> list[tuple[str, str, str, str, str, str]]:
    """The table as rows of text for people: (section, key, kind, default, standing, meaning)."""
    return [
        (
            section,
            setting.key,
            _kind_text(setting),
            _default_text(setting),
            setting.standing.value,
            _meaning_text(setting),
        )
        for section, settings in SECTIONS.items()
        for setting in settings
    ]


def _kind_text(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(f"`{choice}`" for choice in setting.choices)
    return f"{setting.kind.value} ({setting.unit})" if setting.unit else setting.kind.value


def _default_text(setting: Setting) -> str:
    if setting.default:
        return f"`{setting.default}`"
    if setting.same_as:
        share = "" if setting.share == 1.0 else f"{setting.share:g} × "
        return f"{share}`{setting.same_as}`"
    return setting.absent


def _meaning_text(setting: Setting) -> str:
    older = ", ".join(f"`{alias}`" for alias in setting.aliases)
    return f"{setting.meaning} Older name: {older}." if older else setting.meaning


_DOCUMENT_HEAD = """\
# Configuration

Generated from the table in `headwater/conf.py` by `python -m headwater.conf > docs/reference/configuration.md`.

A setting is given by `SparkConf().set(key, value)`, by `SparkContext.setSystemProperty`, by spark-submit's options in
the environment variable `PYSPARK_SUBMIT_ARGS` (`--master local[2] --conf spark.ui.port=4050 pyspark-shell`), or in
`spark-defaults.conf` in the directory that `SPARK_CONF_DIR` names; the first of them wins. A value that can't be
honoured raises
`IllegalArgumentException` when it is set. A `spark.*` or `headwater.*` key that isn't listed here warns with the
nearest name, and is kept.

- A **duration** is a whole number with `us`, `ms`, `s`, `m` or `min`, `h`, `d`; alone it counts the unit in brackets.
- A **size** is a whole number with `b`, `k`, `m`, `g`, `t` or `p` (powers of 1024; `kb` and its like too); alone it
  counts the unit in brackets.
- A **boolean** is `true` or `false`, in any case of letters.
- A key that ends in `.*` stands for all that begin so.

Each setting is one of:

- **in force**: it does what its meaning says.
- **not yet**: this version lacks the feature. The value is checked and kept, and does nothing; a `SparkContext` that
  starts with a value other than the default logs a warning.
- **accepted**: kept for programs that set it. It has no meaning here, and the last column says why.
- **refused**: it asks for a protection that isn't there, as the last column says. Setting it raises, unless the value
  asks for nothing (`false`, or none).
"""


def document() -> str:
    """The text of `docs/reference/configuration.md`."""
    parts, section = [_DOCUMENT_HEAD], ""
    for row in describe():
        if row[0] != section:
            section = row[0]
            parts.append(f"\n## {section}\n\n| key | value | default | stands | meaning |\n|---|---|---|---|---|\n")
        parts.append(f"| `{row[1]}` | {' | '.join(row[2:])} |\n")
    return "".join(parts)


if __name__ == "__main__":
    print(document(), end="")
