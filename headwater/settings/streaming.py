"""The settings in force of streams: of batches, receivers, checkpoints, back-pressure and sources."""

from __future__ import annotations

from headwater.settings.kinds import Boolean, Duration, Integer, Number, Size, Text
from headwater.settings.setting import Sections, Setting

SECTIONS: Sections = {
    "Streaming": (
        Setting("spark.streaming.blockInterval", Duration(least=1), "200ms",
            "How often a receiver's records become a block; a batch has a partition for each. Unless it is set it is "
            "evened out, near the default, so that each batch has the same number of blocks, and each core as many "
            "as the others. At least 50 ms is recommended."),
        Setting("spark.streaming.concurrentJobs", Integer(least=1), "1",
            "Jobs that run at once. More than one lets batches overtake each other."),
        Setting("headwater.streaming.waitingBatchesMax", Integer(least=1), "1000",
            "How many batches may run or wait. While there are as many, the next ones are late: what they would take "
            "stays with the sources."),
        Setting("spark.streaming.checkpoint.directory", Text(), "",
            "As if the program called `ssc.checkpoint` with it.", absent="there are no checkpoints"),
        Setting("spark.streaming.unpersist", Boolean(), "true",
            "Unpersist RDDs that no stream needs any more. What receivers stored is forgotten then in any case."),
        Setting("spark.streaming.stopGracefullyOnShutdown", Boolean(), "false",
            "When the program ends while the context still runs (by itself, by Ctrl-C, SIGTERM or SIGHUP), first "
            "finish what was received."),
        Setting("spark.streaming.gracefulStopTimeout", Duration(), "",
            "How long a graceful stop waits until receivers have stopped and a batch has taken what they received; "
            "what comes later is dropped. Batches that were generated are finished however long that takes.",
            absent="10 batch intervals, as for 0"),
        Setting("spark.streaming.fileStream.minRememberDuration", Duration("s"), "60s",
            "A file stream sees files no older than this, rounded up to whole batches.",
            aliases=("spark.streaming.minRememberDuration",)),
        Setting("headwater.streaming.fileStream.selection", Text(("modificationTime", "identity")), "modificationTime",
            "Which files a stream takes. `modificationTime`: as in Spark, those modified since the last "
            "minRememberDuration and since the stream was made. `identity`: every complete file once, whatever its "
            "modification time; names of temporary files are left out."),
        Setting("headwater.streaming.fileStream.stabilityDuration", Duration("s"), "2s",
            "By identity, a file is complete once it hasn't changed for this long: between two batches, or by its "
            "modification time."),
        Setting("headwater.streaming.fileStream.retryTimeout", Duration("s"), "10m",
            "How long a file stream tries again, with growing pauses, to read a file that can't be read and doesn't "
            "change; then it is given up, with an error in the log."),
        Setting("headwater.streaming.failure.policy", Text(("continue", "retry", "stop")), "continue",
            "What follows when an output of a batch fails, in its function or in a transformation. `continue`: the "
            "other outputs and later batches go on. `retry`: it is tried again, and its later batches wait; then as "
            "`continue`. `stop`: the context stops at once, and queued batches are dropped. `awaitTermination` "
            "raises the error each time."),
        Setting("headwater.streaming.failure.maxRetries", Integer(least=1), "3",
            "How often `retry` tries an output of a batch again."),
        Setting("headwater.streaming.failure.retryWait", Duration(), "1s", "Pause before each of these attempts."),
        Setting("headwater.streaming.state.memoryLimit", Size(), "1g",
            "Estimated bytes of state that one worker holds in its memory, for all streams together; past it the "
            "largest partitions are kept on disk (`spark.local.dir`)."),
        Setting("headwater.streaming.output.skipEmpty", Boolean(), "false",
            "`saveAsTextFiles` and its like write nothing for a batch without records; otherwise such a batch has a "
            "directory too."),
        Setting("headwater.streaming.output.commitRetention", Duration(), "1d",
            "How long, by batch time, `foreachTransaction` remembers in the database which partitions of batches "
            "were written. Batches that a restart would run again are remembered as long as they wait."),
        Setting("headwater.streaming.persistShared", Boolean(), "true",
            "Keep the batches of a stream that several streams or outputs read in memory, so that each is computed "
            "once. Not for source streams, nor where `persist` was called. Kept records are pickled, and a partition "
            "must fit into a worker's memory."),
        Setting("spark.streaming.clock", Text(), "",
            "A name that ends in `ManualClock`: batches follow a clock that the program moves, for tests.",
            absent="the system's clock"),
    ),
    "Receivers": (
        Setting("spark.streaming.receiver.maxRate", Integer(least=-1), "",
            "Records per second that one receiver takes; 0 or -1: no limit.", absent="no limit"),
        Setting("spark.streaming.receiverRestartDelay", Duration(), "2000",
            "Pause between a receiver's failure and its restart. It doubles with each restart after which nothing "
            "was stored, up to eight times this."),
        Setting("headwater.streaming.receiver.maxLineSize", Size(least=1), "128m",
            "How long a line from a socket, or of an HTTP answer, may be. A longer one is an error of the receiver, "
            "which connects again."),
        Setting("headwater.streaming.receiver.maxRestarts", Integer(), "",
            "How many times in a row a receiver is started again without storing anything in between. After that "
            "`awaitTermination` raises its failure, and its stream stays empty.", absent="no limit"),
        Setting("headwater.streaming.receiver.rebalance", Boolean(), "true",
            "Whether receivers move, one after the other and without loss, when an executor has come and another one "
            "has two more receivers than it. Those with a preferred location stay."),
        Setting("headwater.streaming.receiver.memoryLimit", Size(least=1), "",
            "Bytes of received, not yet processed blocks that one executor keeps in memory. More go to disk, if their "
            "storage level allows.", same_as="spark.executor.memory", share=0.5),
        Setting("headwater.streaming.receiver.spillLimit", Size(), "1g",
            "Bytes of received blocks that one executor keeps on disk before its receivers stop reading."),
        Setting("spark.streaming.receiver.blockStoreTimeout", Duration("s", least=1), "30",
            "How long a receiver that has stored a block waits for the driver to acknowledge it; then the block "
            "doesn't count, and storing it fails."),
    ),
    "Checkpoints and logs": (
        Setting("headwater.streaming.checkpoint.interval", Duration(), "10s",
            "How often an image of the whole replaces the log of what happens; sooner if the log is long. The log is "
            "always up to date, so this is no measure of what can be lost."),
        Setting("headwater.streaming.checkpoint.setAside", Integer(), "5",
            "When a program begins anew in a used directory, without getOrCreate, what is there is moved to "
            "`set-aside` below it. This is how many of these are kept for each application, the latest; 0: it is "
            "removed."),
        Setting("headwater.streaming.recovery.missedBatches", Text(("run", "merge")), "run",
            "What a restart does about the batch times of its down time: `run` them all, or `merge` them into the "
            "first batch."),
        Setting("headwater.streaming.recovery.missedBatchesMax", Integer(), "1000",
            "How many missed batches are run one by one; more are merged. Those count too that a running driver is "
            "late by because its clock was set forward or the machine slept."),
        Setting("headwater.streaming.recovery.dropUnknown", Boolean(), "false",
            "Whether a restart drops what a checkpoint holds for streams that the program doesn't have."),
        Setting("headwater.streaming.recovery.positionalMatch", Text(("refuse", "warn")), "refuse",
            "What an upgrade does about a stream without a uid that stands at the position of another one in the "
            "checkpoint: `refuse` to start, or `warn` and go on with what was kept of the other."),
        Setting("headwater.streaming.recovery.upgrade", Boolean(), "false",
            "As if `getOrCreate` were called with `upgrade=True`."),
        Setting("spark.streaming.receiver.writeAheadLog.enable", Boolean(), "false",
            "Log received blocks in the checkpoint directory, so that none is lost with a driver or an executor. No "
            "second copy of them is made then."),
        Setting("spark.streaming.receiver.writeAheadLog.rollingIntervalSecs", Duration("s", least=1), "60",
            "When the receivers' log begins a new segment."),
        Setting("spark.streaming.receiver.writeAheadLog.maxFailures", Integer(least=1), "3",
            "Attempts to write to the receivers' log before that fails."),
        Setting("spark.streaming.receiver.writeAheadLog.closeFileAfterWrite", Boolean(), "false",
            "A segment of the receivers' log for each write, for file systems that can't flush an open file."),
        Setting("spark.streaming.driver.writeAheadLog.rollingIntervalSecs", Duration("s", least=1), "60",
            "When the driver's log begins a new segment."),
        Setting("spark.streaming.driver.writeAheadLog.maxFailures", Integer(least=1), "3",
            "Attempts to write to the driver's log before that fails."),
        Setting("spark.streaming.driver.writeAheadLog.closeFileAfterWrite", Boolean(), "false",
            "A segment of the driver's log for each write, for file systems that can't flush an open file."),
        Setting("headwater.streaming.log.sync", Boolean(), "true",
            "Whether what is acknowledged survives the machine's death (fsync), and not only the process's."),
        Setting("headwater.streaming.log.corruption", Text(("fail", "skip")), "fail",
            "What a restart does about damage within a log: `fail`, or `skip` it with a warning."),
    ),
    "Back-pressure": (
        Setting("spark.streaming.backpressure.enabled", Boolean(), "false",
            "Let processing decide how fast receivers and iterators are read. Without it they are slowed down only "
            "once the memory for received data is full."),
        Setting("spark.streaming.backpressure.initialRate", Number(least=-1), "",
            "Records per second of a stream before the first rate is found, with back-pressure on; 0 or -1: no limit.",
            same_as="spark.streaming.receiver.maxRate"),
        Setting("spark.streaming.backpressure.rateEstimator", Text(("pid",)), "pid", "How the rate is found."),
        Setting("spark.streaming.backpressure.pid.proportional", Number(), "1.0", "Weight of the last batch's error."),
        Setting("spark.streaming.backpressure.pid.integral", Number(), "0.2", "Weight of the accumulated error."),
        Setting("spark.streaming.backpressure.pid.derived", Number(), "0.0", "Weight of the error's change."),
        Setting("spark.streaming.backpressure.pid.minRate", Number(least=1e-09), "100",
            "Lowest rate, in records per second."),
    ),
    "Sources": (
        Setting("headwater.streaming.kinesis.leaseDuration", Duration(least=100), "10s",
            "How long a Kinesis worker may give no sign before others take its shards. The same for all workers of "
            "an application."),
        Setting("headwater.streaming.kinesis.readInterval", Duration(), "250ms",
            "From one read of a Kinesis shard to the next. Kinesis allows five reads per second of a shard, for all "
            "applications together."),
        Setting("spark.streaming.kinesis.retry.waitTime", Duration(), "100ms",
            "Pause before a failed read of Kinesis is tried again; it doubles with each failure, up to 10 s."),
        Setting("spark.streaming.kinesis.retry.maxAttempts", Integer(least=1), "3",
            "Failed reads of Kinesis in a row that are reported as an error of the receiver, which goes on trying."),
        Setting("headwater.streaming.flume.ssl.certificateFile", Text(), "",
            "A PEM file with the certificate chain that Flume's avro sinks are shown; `FlumeUtils.createStream` "
            "speaks TLS then.", absent="no TLS"),
        Setting("headwater.streaming.flume.ssl.keyFile", Text(), "",
            "The PEM file with its private key, not encrypted; it is read in the executor, and in no checkpoint.",
            absent="the certificate's file"),
        Setting("spark.streaming.kafka.maxRatePerPartition", Number(), "0",
            "Records per second of each partition of a direct stream; 0: no limit."),
        Setting("spark.streaming.kafka.minRatePerPartition", Number(), "1",
            "Records per second that back-pressure leaves each partition of a direct stream."),
        Setting("spark.streaming.kafka.consumer.cache.enabled", Boolean(), "true",
            "Workers keep consumers for later batches."),
        Setting("spark.streaming.kafka.consumer.cache.maxCapacity", Integer(least=1), "64",
            "Consumers that one worker keeps."),
        Setting("spark.streaming.kafka.consumer.poll.ms", Duration(), "",
            "How long a task waits for records.", same_as="spark.network.timeout"),
        Setting("headwater.streaming.kafka.offsetsExpired", Text(("fail", "earliest")), "fail",
            "When records of a direct stream have expired before they were read, or its topic was made anew: `fail` "
            "the batch, or go on with the `earliest` ones that are there."),
        Setting("headwater.streaming.kafka.startTimeout", Duration(), "30s",
            "How long the start of a direct stream waits for brokers that don't answer."),
        Setting("headwater.streaming.kafka.metadataInterval", Duration(least=1), "5s",
            "How often a direct stream looks for new topics and partitions."),
        Setting("headwater.streaming.kafka.brokers", Text(), "",
            "The brokers for programs whose `KafkaUtils.createStream` names ZooKeeper only.", absent="an error"),
        Setting("headwater.streaming.kafka.secret.*", Text(), "",
            "A password or another secret of kafkaParams, by librdkafka's name after the prefix, for a driver that "
            "goes on from a checkpoint; or use an environment variable such as `HEADWATER_KAFKA_SASL_PASSWORD`.",
            absent="an error when it is needed"),
    ),
}  # fmt: skip
