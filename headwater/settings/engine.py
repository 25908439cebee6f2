"""The settings in force of the engine: of applications, executors, jobs and tasks."""

from __future__ import annotations

from headwater.settings.kinds import Boolean, Duration, Integer, Number, Pattern, Size, Text
from headwater.settings.setting import Sections, Setting

SECTIONS: Sections = {
    "Application": (
        Setting("spark.app.name", Text(), "",
            "The application's name.", absent="the script's file name; `pyspark-shell` in a shell or a notebook"),
        Setting("spark.app.id", Text(), "", "The application's id: set by the context, whatever the program set."),
        Setting("spark.master", Text(), "",
            "Where tasks run: `local`, `local[N]`, `local[*]`, `local[N,F]` or `local-cluster[n,c,m]`.",
            absent="`local[*]`"),
        Setting("spark.log.level", Text(("ALL", "DEBUG", "ERROR", "FATAL", "INFO", "OFF", "TRACE", "WARN")), "",
            "Level of the driver's log, as by `setLogLevel`.",
            absent="that of Python's logger `headwater`: WARN, unless the program says otherwise"),
        Setting("spark.home", Text(), "", "What `SparkContext.sparkHome` says; nothing else uses it."),
        Setting("spark.submit.pyFiles", Text(), "",
            "Comma-separated .py, .zip, .egg and .whl files to import from: each is added by `addPyFile`."),
        Setting("spark.files", Text(), "", "Comma-separated files for every executor: each is added by `addFile`."),
        Setting("spark.executorEnv.*", Text(), "", "Environment variables of the workers."),
        Setting("spark.hadoop.*", Text(), "",
            "Hadoop's settings of file systems and formats, after the prefix; those that have a meaning are in "
            "docs/how-to/filesystems.md and docs/how-to/hadoop.md."),
        Setting("headwater.filesystem.retryTimeout", Duration(), "60s",
            "How long a request to a file system over the network is tried again, with growing pauses, while the "
            "server is away or throttles."),
        Setting("headwater.filesystem.*", Text(), "",
            "Options of the drivers of file systems, as `headwater.filesystem.<scheme>.<option>`: see "
            "docs/how-to/filesystems.md."),
    ),
    "Executors and memory": (
        Setting("spark.default.parallelism", Integer(least=1), "",
            "Partitions of `parallelize` and of shuffles that name no number.",
            absent="`parallelize`: the cores of all executors, at least 2 in a cluster; shuffles: as many as the "
            "parents have"),
        Setting("spark.driver.maxResultSize", Size(), "1g",
            "Results of one action larger than this fail the job; 0: no limit."),
        Setting("spark.executor.memory", Size("m", least=1), "1g",
            "Memory of one executor; the settings of blocks take shares of it. It doesn't bound what workers use. In "
            "`local-cluster[n,c,m]` it is m MB for `spark.memory.fraction`."),
        Setting("spark.memory.fraction", Number(), "0.6",
            "Share of an executor's memory that blocks may take. Past it those used longest ago go to disk, if their "
            "storage level allows, or are dropped and computed again."),
        Setting("spark.local.dir", Text(), "",
            "Directory for blocks on disk, spills and added files; of a comma-separated list, the first. Blocks in "
            "memory are in /dev/shm where that has 512 MB free, else here.", absent="the system's temporary directory"),
    ),
    "Scheduling": (
        Setting("spark.task.maxFailures", Integer(least=1), "4",
            "Failed attempts of one task that fail the job. `local` and `local[N]` allow 1 unless this is set; "
            "`local[N,F]` allows F."),
        Setting("headwater.task.timeout", Duration(least=1), "",
            "How long an attempt of a task may take from when its executor gets it: then it is killed, with its "
            "worker, and counts as failed. So is one whose worker was stopped, which can't be told from a long task. "
            "In master `local` a task that hangs in C code can't be killed.", absent="as long as it takes"),
        Setting("spark.locality.wait", Duration(), "3s",
            "How long a stage's tasks wait for a free core of an executor that holds their data, since the last of "
            "them was started."),
    ),
    "Python workers": (
        Setting("spark.python.worker.memory", Size("m", least=1), "512m",
            "Memory that one worker's shuffle or sort uses before it spills."),
        Setting("spark.python.profile", Boolean(), "false", "Profile each RDD's tasks; see `show_profiles`."),
        Setting("spark.python.profile.dump", Text(), "",
            "Directory into which profiles that weren't shown are written when the context stops."),
    ),
    "Shuffles, blocks and compression": (
        Setting("spark.rdd.compress", Boolean(), "false",
            "Compress cached partitions of 4 KiB and more, by zstd. A context sets it to true unless it is set, as "
            "PySpark's does."),
        Setting("headwater.shuffle.inlineLimit", Size(), "64k",
            "Shuffle output of one task up to this travels in its reply, not in a block of its own."),
        Setting("spark.files.ignoreMissingFiles", Boolean(), "false",
            "RDDs of files leave out a file that has vanished since it was listed, with a warning. Streams of files "
            "leave it out in any case."),
        Setting("spark.files.ignoreCorruptFiles", Boolean(), "false",
            "RDDs of files leave out what comes after the damage in a partition whose file is damaged, with a "
            "warning. Streams of files leave the file out in any case."),
    ),
    "Network and cluster": (
        Setting("spark.network.timeout", Duration("s", least=1), "120s",
            "How long an executor in a process of its own may be silent before it is killed and replaced; and how "
            "long a task waits for Kafka's answer."),
        Setting("spark.executor.heartbeatInterval", Duration(least=1), "10s",
            "How often an executor in a process of its own tells the driver that it lives; less than "
            "`spark.network.timeout`. One that is silent for twice as long gets no tasks until it is heard again."),
    ),
    "Security": (
        Setting("headwater.encryption.keyFile", Text(), "",
            "A file with the key (32 bytes plain, in hex or in base64) by which everything is encrypted (AES-256-GCM) "
            "that the application writes to its directory for checkpoints and to `spark.local.dir`. See SECURITY.md.",
            absent="not encrypted"),
        Setting("headwater.encryption.keyVariable", Text(), "",
            "The environment variable with that key, in hex or base64.", absent="not encrypted"),
        Setting("spark.io.encryption.enabled", Boolean(), "false",
            "Encrypt what is written to `spark.local.dir`, and RDD checkpoints, by a key that is made for the "
            "application, unless a key is named. Checkpoints of streams need one that is named."),
        Setting("spark.io.encryption.keySizeBits", Text(("128", "192", "256")), "128",
            "Length of the key that is made for the application."),
        Setting("spark.authenticate.secret", Text(), "",
            "What the processes of the application prove to each other that they know.",
            absent="a new one for each application"),
        Setting("spark.authenticate.secretBitLength", Integer(least=128), "256",
            "Length of the secret that is made for the application, in whole bytes."),
        Setting("spark.redaction.regex", Pattern(), "",
            "Settings whose key or value it matches are shown masked, besides those that look like secrets.",
            absent="none besides"),
    ),
    "Monitoring": (
        Setting("spark.ui.retainedJobs", Integer(least=1), "1000",
            "How many jobs, and how many stages, `statusTracker` remembers."),
        Setting("spark.ui.showConsoleProgress", Boolean(), "false",
            "Show the stages that run for more than half a second as bars in a line of stderr, if that is a "
            "terminal."),
    ),
}  # fmt: skip
