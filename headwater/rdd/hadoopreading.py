"""What a `SparkContext` reads by Hadoop's input formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from headwater.formats.hadoop import settings as job
from headwater.formats.hadoop.settings import Api, JobSettings, refuse_converters
from headwater.rdd.checks import check_int

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver


class WithHadoopInput:
    """The part of `SparkContext` that reads pairs, as Hadoop's input formats do, without Hadoop.

    Formats: `TextInputFormat` (the byte at which a line starts, and the line), `KeyValueTextInputFormat`,
    `SequenceFileInputFormat` and `SequenceFileAsTextInputFormat`, in `org.apache.hadoop.mapred` for the methods without
    newAPI, and in `org.apache.hadoop.mapreduce.lib.input` for those with it. Settings are those of `spark.hadoop.*`,
    overridden by those of `conf`; docs/how-to/hadoop.md lists which have a meaning.
    """

    def sequenceFile(
        self,
        path: str,
        keyClass: str | None = None,
        valueClass: str | None = None,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        minSplits: int | None = None,
        batchSize: int = 0,
    ) -> RDD[tuple[Any, Any]]:
        """The pairs of Hadoop SequenceFiles.

        Args:
            path: files, directories and globs, separated by commas.
            keyClass: the Writable that keys are read as, if the file's class isn't one of Hadoop's own: for a subclass
                of ArrayWritable, `ArrayWritable<org.apache.hadoop.io.IntWritable>`. Else the file says it.
            valueClass: as `keyClass`.
            keyConverter, valueConverter: Java classes in Spark; not supported.
            minSplits: how many partitions at least, if the files are large enough; None is `defaultMinPartitions`.
            batchSize: accepted for PySpark's sake, and ignored.

        Raises:
            IllegalArgumentException: a class isn't supported.
            InvalidInputException: by actions, if there is no such file.
            SparkException: by actions, if a file is damaged, or of a class or codec that isn't supported.

        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/ages"
        >>> sc.parallelize([("ann", 31), ("bob", 28)]).saveAsSequenceFile(path)
        >>> sc.sequenceFile(path).collect()
        [('ann', 31), ('bob', 28)]
        """
        if minSplits is not None:
            check_int("minSplits", minSplits)
        name, converters = Api.OLD.input_package + "SequenceFileInputFormat", (keyConverter, valueConverter)
        return self._hadoop_pairs(Api.OLD, name, (keyClass, valueClass), converters, None, path, minSplits)

    def hadoopFile(
        self,
        path: str,
        inputFormatClass: str,
        keyClass: str,
        valueClass: str,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        conf: Mapping[str, str] | None = None,
        batchSize: int = 0,
    ) -> RDD[tuple[Any, Any]]:
        """The pairs of files, by a format of `org.apache.hadoop.mapred`.

        Args:
            path: files, directories and globs, separated by commas.
            inputFormatClass: Java's name of the format.
            keyClass: as for `sequenceFile`; text formats don't need it.
            valueClass: as `keyClass`.
            keyConverter, valueConverter: Java classes in Spark; not supported.
            conf: settings of the job.
            batchSize: accepted for PySpark's sake, and ignored.

        Raises:
            IllegalArgumentException: a format, class or setting isn't supported.
            InvalidInputException: by actions, if there is no such file.
            SparkException: by actions, if a file is damaged, or of a class or codec that isn't supported.
        """
        converters = keyConverter, valueConverter
        return self._hadoop_pairs(Api.OLD, inputFormatClass, (keyClass, valueClass), converters, conf, path)

    def hadoopRDD(
        self,
        inputFormatClass: str,
        keyClass: str,
        valueClass: str,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        conf: Mapping[str, str] | None = None,
        batchSize: int = 0,
    ) -> RDD[tuple[Any, Any]]:
        """As `hadoopFile`, of the paths in the setting `mapreduce.input.fileinputformat.inputdir`."""
        converters = keyConverter, valueConverter
        return self._hadoop_pairs(Api.OLD, inputFormatClass, (keyClass, valueClass), converters, conf)

    def newAPIHadoopFile(
        self,
        path: str,
        inputFormatClass: str,
        keyClass: str,
        valueClass: str,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        conf: Mapping[str, str] | None = None,
        batchSize: int = 0,
    ) -> RDD[tuple[Any, Any]]:
        """As `hadoopFile`, by a format of `org.apache.hadoop.mapreduce.lib.input`.

        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/poem"
        >>> sc.parallelize(["a river", "begins"], 1).saveAsTextFile(path)
        >>> text_format = "org.apache.hadoop.mapreduce.lib.input.TextInputFormat"
        >>> sc.newAPIHadoopFile(path, text_format, "LongWritable", "Text").collect()
        [(0, 'a river'), (8, 'begins')]
        """
        converters = keyConverter, valueConverter
        return self._hadoop_pairs(Api.NEW, inputFormatClass, (keyClass, valueClass), converters, conf, path)

    def newAPIHadoopRDD(
        self,
        inputFormatClass: str,
        keyClass: str,
        valueClass: str,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        conf: Mapping[str, str] | None = None,
        batchSize: int = 0,
    ) -> RDD[tuple[Any, Any]]:
        """As `newAPIHadoopFile`, of the paths in the setting `mapreduce.input.fileinputformat.inputdir`."""
        converters = keyConverter, valueConverter
        return self._hadoop_pairs(Api.NEW, inputFormatClass, (keyClass, valueClass), converters, conf)

    def _hadoop_pairs(
        self,
        api: Api,
        name: str,
        classes: tuple[str | None, str | None],
        converters: tuple[str | None, str | None],
        conf: Mapping[str, str] | None,
        path: str | None = None,
        min_splits: int | None = None,
    ) -> RDD[tuple[Any, Any]]:
        from headwater.formats.hadoop.inputs import input_format, splitter
        from headwater.rdd import sources

        refuse_converters(*converters)
        context = cast("Driver", self)
        settings = JobSettings(context.conf, conf)
        found = input_format(api, name, *classes, settings)
        if path is None:
            path = settings.needed(job.INPUT, "which files to read")
        if min_splits is None:
            min_splits = context.defaultMinPartitions if api is Api.OLD else 1
        return sources.of_splits(context, found.read, path, splitter(found, settings, max(1, min_splits)))
