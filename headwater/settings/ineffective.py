"""The keys that programs written for Spark set and nothing here reads: without effect, accepted, or refused.

- A key without effect asks for what this version doesn't do. Its row says what it asks for, and the default with which
  it asks for nothing: a context in which it is set to something else warns.
- A key that something begins to read moves to the table of its subject.
"""

from __future__ import annotations

from headwater.settings.kinds import Boolean, Duration, Integer, Number, Size, Text
from headwater.settings.setting import Sections, Setting


def _texts(meaning: str, *keys: str, harmless: tuple[str, ...] = ("", "false")) -> tuple[Setting, ...]:
    """Settings of any text for which the same is to be said."""
    return tuple(Setting(key, Text(), "", meaning, harmless=harmless) for key in keys)


# What this version doesn't do.
NO_EFFECT: Sections = {
    "Application": (
        Setting("spark.submit.deployMode", Text(("client", "cluster")), "client",
            "Where the driver runs: `client` is where it was started."),
    ),
    "Executors and memory": (
        Setting("spark.driver.cores", Integer(least=1), "1", "Cores of the driver in cluster mode."),
        Setting("spark.executor.cores", Integer(least=1), "", "Workers of one executor.", absent="the master's"),
        Setting("spark.executor.instances", Integer(), "", "Number of executors.", absent="the master's"),
        Setting("spark.executor.memoryOverhead", Size("m"), "",
            "Memory asked for on top of the executor's in a cluster."),
        Setting("spark.executor.pyspark.memory", Size("m"), "",
            "Memory of the workers of an executor.", absent="no limit"),
        Setting("spark.cores.max", Integer(least=1), "",
            "Cores that the application takes in a cluster.", absent="no limit"),
        Setting("spark.cleaner.referenceTracking.cleanCheckpoints", Boolean(), "false",
            "Also remove unreferenced RDD checkpoints."),
        Setting("spark.dynamicAllocation.enabled", Boolean(), "false", "Add and remove executors with the load."),
        Setting("spark.dynamicAllocation.minExecutors", Integer(), "0", "Fewest executors."),
        Setting("spark.dynamicAllocation.maxExecutors", Integer(least=1), "", "Most executors.", absent="no limit"),
        Setting("spark.dynamicAllocation.initialExecutors", Integer(), "",
            "Executors at the start.", same_as="spark.dynamicAllocation.minExecutors"),
        Setting("spark.dynamicAllocation.executorIdleTimeout", Duration("s"), "60s",
            "An idle executor is removed after this."),
    ),
    "Scheduling": (
        Setting("spark.scheduler.mode", Text(("FIFO", "FAIR")), "FIFO",
            "How jobs of several threads share the executors."),
        Setting("spark.scheduler.allocation.file", Text(), "", "Pools of the FAIR mode."),
        Setting("spark.task.cpus", Integer(least=1), "1", "Cores that one task takes."),
        Setting("spark.stage.maxConsecutiveAttempts", Integer(least=1), "4",
            "Runs of a stage whose inputs get lost before the job fails."),
        Setting("spark.locality.wait.process", Duration(), "",
            "`spark.locality.wait` for the same worker.", same_as="spark.locality.wait"),
        Setting("spark.locality.wait.node", Duration(), "",
            "`spark.locality.wait` for the same machine.", same_as="spark.locality.wait"),
        Setting("spark.locality.wait.rack", Duration(), "",
            "`spark.locality.wait` for the same rack.", same_as="spark.locality.wait"),
        Setting("spark.speculation", Boolean(), "false",
            "Run slow tasks a second time. Not with functions that have side effects."),
        Setting("spark.speculation.interval", Duration(), "100ms", "How often to look for slow tasks."),
        Setting("spark.speculation.multiplier", Number(least=1), "1.5",
            "How many times slower than the median is slow."),
        Setting("spark.speculation.quantile", Number(), "0.75", "Share of a stage's tasks that must be done first."),
    ),
    "Python workers": (
        Setting("spark.python.worker.reuse", Boolean(), "true", "Keep workers for later tasks, as is always done now."),
        Setting("spark.pyspark.python", Text(), "", "Interpreter of the workers.", absent="the driver's"),
    ),
    "Shuffles, blocks and compression": (
        Setting("spark.shuffle.compress", Boolean(), "true", "Compress shuffle outputs that go to disk."),
        Setting("spark.shuffle.spill.compress", Boolean(), "true", "Compress what a shuffle or a sort spills."),
        Setting("spark.checkpoint.compress", Boolean(), "false", "Compress RDD checkpoints."),
        Setting("spark.broadcast.compress", Boolean(), "true", "Compress broadcast values."),
        Setting("spark.broadcast.checksum", Boolean(), "true", "Verify a broadcast value where it arrives."),
        Setting("spark.io.compression.zstd.level", Integer(least=-7), "1",
            "Level of zstd: higher is smaller and slower."),
        Setting("spark.reducer.maxSizeInFlight", Size("m", least=1), "48m",
            "Shuffle output that one task fetches at a time."),
        Setting("spark.files.maxPartitionBytes", Size(least=1), "128m", "Largest partition when reading files."),
        Setting("spark.files.overwrite", Boolean(), "false",
            "`addFile` may replace a file of the same name and other content."),
    ),
    "Network and cluster": (
        Setting("spark.driver.host", Text(), "127.0.0.1", "Address under which executors reach the driver."),
        Setting("spark.driver.bindAddress", Text(), "",
            "Address on which the driver listens.", same_as="spark.driver.host"),
        Setting("spark.driver.port", Integer(), "0", "Port on which the driver listens; 0: any."),
        Setting("spark.blockManager.port", Integer(), "0", "Port on which executors listen; 0: any."),
        Setting("spark.port.maxRetries", Integer(), "16", "How many next ports to try when a port is taken."),
    ),
    "Streaming": (
        Setting("spark.streaming.ui.retainedBatches", Integer(least=1), "1000",
            "Finished batches that UI, REST and metrics remember."),
        Setting("spark.streaming.dynamicAllocation.enabled", Boolean(), "false",
            "Add and remove executors with the batches' load."),
        Setting("spark.streaming.dynamicAllocation.minExecutors", Integer(least=1), "",
            "Fewest executors.", absent="the number of receivers, at least 1"),
        Setting("spark.streaming.dynamicAllocation.maxExecutors", Integer(least=1), "",
            "Most executors.", absent="no limit"),
        Setting("spark.streaming.dynamicAllocation.scalingInterval", Duration("s", least=1), "60",
            "How often to decide."),
        Setting("spark.streaming.dynamicAllocation.scalingUpRatio", Number(), "0.9",
            "Processing time over interval that adds executors."),
        Setting("spark.streaming.dynamicAllocation.scalingDownRatio", Number(), "0.3",
            "Processing time over interval that removes one."),
    ),
    "Monitoring": (
        Setting("spark.ui.enabled", Boolean(), "true", "Serve the web UI."),
        Setting("spark.ui.port", Integer(), "4040", "Port of the web UI, or the next free one."),
        Setting("spark.ui.killEnabled", Boolean(), "true", "Jobs can be cancelled in the web UI."),
        Setting("spark.ui.reverseProxy", Boolean(), "false", "The web UI stands behind a proxy."),
        Setting("spark.ui.retainedStages", Integer(least=1), "1000", "Finished stages that the UI remembers."),
        Setting("spark.ui.retainedTasks", Integer(least=1), "100000", "Finished tasks that the UI remembers."),
        Setting("spark.eventLog.enabled", Boolean(), "false", "Write events to a file."),
        Setting("spark.eventLog.dir", Text(), "", "Directory of the event files.", absent="/tmp/spark-events"),
        Setting("spark.eventLog.compress", Boolean(), "false", "Compress the event files."),
        Setting("spark.eventLog.rolling.enabled", Boolean(), "false", "Begin a new event file when one is full."),
        Setting("spark.metrics.namespace", Text(), "", "First part of each metric's name.", same_as="spark.app.id"),
        Setting("spark.metrics.*", Text(), "", "Where metrics go."),
    ),
}  # fmt: skip

# What nothing is missing without; the meaning says why.
ACCEPTED: Sections = {
    "Executors and memory": (
        Setting("spark.driver.memory", Size("m", least=1), "1g",
            "The driver is the program's own process, and has no limit. In `local` masters, too, blocks count "
            "against `spark.executor.memory`."),
        Setting("spark.executor.id", Text(), "", "Set by the context to `driver`."),
        Setting("spark.memory.storageFraction", Number(), "0.5",
            "Shuffles have memory of their own: `spark.python.worker.memory`."),
        Setting("spark.memory.offHeap.enabled", Boolean(), "false",
            "Serialized blocks are always outside the Python heap."),
        Setting("spark.memory.offHeap.size", Size(), "0", "See `spark.memory.offHeap.enabled`."),
        Setting("spark.cleaner.referenceTracking", Boolean(), "true",
            "What nothing refers to any more is always forgotten."),
        Setting("spark.cleaner.referenceTracking.blocking", Boolean(), "true",
            "Forgetting never makes the program wait."),
        Setting("spark.cleaner.periodicGC.interval", Duration("s"), "30min", "Python frees most objects at once."),
    ),
    "Scheduling": (
        Setting("spark.scheduler.pool", Text(), "default",
            "A local property rather than a setting: the pool of a thread's jobs."),
        Setting("spark.job.interruptOnCancel", Boolean(), "false",
            "A local property rather than a setting: see `setJobGroup`."),
        Setting("spark.jobGroup.id", Text(), "", "A local property rather than a setting: see `setJobGroup`."),
        Setting("spark.job.description", Text(), "",
            "A local property rather than a setting: see `setJobDescription`."),
    ),
    "Python workers": (
        Setting("spark.pyspark.driver.python", Text(), "", "The driver is the interpreter that runs the program."),
        Setting("spark.serializer", Text(), "", "Records are pickled."),
        Setting("spark.serializer.objectStreamReset", Integer(least=-1), "100", "Records are pickled."),
    ),
    "Shuffles, blocks and compression": (
        Setting("spark.io.compression.codec", Text(("zstd", "lz4")), "zstd",
            "What is compressed is compressed by zstd."),
        Setting("spark.broadcast.blockSize", Size("k"), "4m", "A broadcast value is one block."),
        Setting("spark.buffer.size", Size(), "65536", "Buffers have sizes of their own."),
        Setting("spark.shuffle.spill", Boolean(), "true", "Shuffles spill when they must."),
        Setting("spark.shuffle.file.buffer", Size("k"), "32k", "Buffers have sizes of their own."),
        Setting("spark.shuffle.service.enabled", Boolean(), "false",
            "Executors serve their blocks; workers don't hold any."),
        Setting("spark.files.useFetchCache", Boolean(), "true", "Added files come from the driver."),
    ),
    "Security": (
        Setting("spark.authenticate", Boolean(), "true", "Connections are always authenticated, even if it is false."),
        Setting("spark.io.encryption.keygen.algorithm", Text(), "", "Keys are random bytes."),
        Setting("spark.io.encryption.commons.config.*", Text(), "", "There is no JVM."),
        Setting("spark.io.crypto.*", Text(), "", "The cipher is AES-GCM."),
        Setting("spark.security.credentials.*", Text(), "", "Delegation tokens belong to clusters that aren't ours."),
    ),
    "Streaming": (
        Setting("spark.streaming.blockQueueSize", Integer(least=1), "10",
            "While a block is stored, records gather in one buffer; when that is full the receiver waits."),
        Setting("spark.streaming.sessionByKey.deltaChainThreshold", Integer(least=1), "20",
            "How many changes of a state are stored upon an image follows from their sizes."),
        Setting("spark.streaming.stopSparkContextByDefault", Boolean(), "true",
            "Python's `stop()` has an argument for it."),
        Setting("spark.streaming.internal.batchTime", Text(), "",
            "A local property rather than a setting: the batch of a job."),
        Setting("spark.streaming.internal.outputOpId", Text(), "",
            "A local property rather than a setting: the output of a job."),
        Setting("spark.streaming.manualClock.jump", Duration(), "0", "The program moves a manual clock."),
    ),
    "Checkpoints and logs": (
        Setting("spark.streaming.receiver.writeAheadLog.class", Text(), "",
            "There is the built-in log.", absent="the built-in log"),
        Setting("spark.streaming.driver.writeAheadLog.class", Text(), "",
            "There is the built-in log.", absent="the built-in log"),
        Setting("spark.streaming.driver.writeAheadLog.allowBatching", Boolean(), "true",
            "Entries that wait are always written as one."),
        Setting("spark.streaming.driver.writeAheadLog.batchingTimeout", Duration(), "5000",
            "A caller waits until its entry is written or has failed."),
    ),
    "Sources": (
        Setting("spark.streaming.kafka.consumer.cache.initialCapacity", Integer(), "16",
            "It is of a hash table of the JVM."),
        Setting("spark.streaming.kafka.consumer.cache.loadFactor", Number(), "0.75",
            "It is of a hash table of the JVM."),
        Setting("spark.streaming.kafka.maxRetries", Integer(), "1", "Offsets are looked up again with each batch."),
        Setting("spark.streaming.kafka.allowNonConsecutiveOffsets", Boolean(), "false",
            "Gaps in offsets need no setting."),
    ),
    "Not ours": (
        *_texts("There is no JVM.",
            "spark.driver.extraJavaOptions", "spark.driver.extraClassPath", "spark.driver.extraLibraryPath",
            "spark.executor.extraJavaOptions", "spark.executor.extraClassPath", "spark.executor.extraLibraryPath",
            "spark.kryo.*", "spark.kryoserializer.*", "spark.jars", "spark.jars.*"),
        *_texts("Settings of a cluster that isn't ours.",
            "spark.yarn.*", "spark.kubernetes.*", "spark.mesos.*"),
        *_texts("Settings of a transport that isn't ours.",
            "spark.akka.*", "spark.rpc.*"),
        Setting("spark.history.*", Text(), "", "Settings of the history server."),
        Setting("spark.driverEnv.*", Text(), "", "Environment of the driver in a cluster that isn't ours."),
    ),
}  # fmt: skip

# What asks for a protection that isn't there, or stands under another name now.
REFUSED: Sections = {
    "Security": (
        *_texts(
            "It has another name now, headwater.encryption.keyFile, since it is the key of everything that is "
            "encrypted.",
            "headwater.streaming.log.keyFile", harmless=()),
        *_texts(
            "It has another name now, headwater.encryption.keyVariable, since it is the key of everything that is "
            "encrypted.",
            "headwater.streaming.log.keyVariable", harmless=()),
        *_texts(
            "Connections between the processes of an application are authenticated, by HMAC over a shared secret, and "
            "not encrypted. Unset it, and run the application where its traffic is not seen by others.",
            "spark.network.crypto.*", "spark.network.sasl.*", "spark.authenticate.enableSaslEncryption", "spark.ssl.*"),
        *_texts("The secret is read from no file. Set spark.authenticate.secret.",
            "spark.authenticate.secret.file", "spark.authenticate.secret.driver.file",
            "spark.authenticate.secret.executor.file"),
        *_texts("There is no web UI whose users could be told apart. Unset it.",
            "spark.acls.enable", "spark.admin.acls", "spark.admin.acls.groups", "spark.modify.acls",
            "spark.modify.acls.groups", "spark.ui.view.acls", "spark.ui.view.acls.groups", "spark.user.groups.mapping",
            "spark.ui.filters", harmless=("", "false", "*")),
        *_texts("There is no web UI whose answers could have such headers. Unset it.",
            "spark.ui.xXssProtection", "spark.ui.xContentTypeOptions.enabled", "spark.ui.strictTransportSecurity",
            "spark.ui.allowFramingFrom"),
        *_texts("Kerberos logins are not made here. Unset it, and log in by kinit before the program starts.",
            "spark.kerberos.*", "spark.yarn.keytab", "spark.yarn.principal"),
        *_texts("There are no plans of SQL from which it could be left out. Unset it.",
            "spark.redaction.string.regex", "spark.sql.redaction.*"),
    ),
}  # fmt: skip
