"""Saving an RDD of pairs by Hadoop's output formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from headwater.formats.hadoop import settings as job
from headwater.formats.hadoop.outputs import OutputFormat, SequenceOutput, format_in, output_format
from headwater.formats.hadoop.settings import Api, JobSettings, refuse_converters
from headwater.rdd.output import Saving

T = TypeVar("T")


class HadoopOutput(Saving[T]):
    """The outputs of an RDD of pairs `(key, value)` that Hadoop reads, written without Hadoop.

    Formats: `TextOutputFormat` and `SequenceFileOutputFormat`, in `org.apache.hadoop.mapred` for the methods without
    NewAPI, and in `org.apache.hadoop.mapreduce.lib.output` for those with it. Settings are those of `spark.hadoop.*`,
    overridden by those of `conf`; docs/how-to/hadoop.md lists which have a meaning.

    Keys and values are int, float, str, bool, bytes, None, dict, tuple or list. `keyClass` and
    `valueClass` say as which Writables a SequenceFile holds them; else the first record does, read by a job of its own.
    """

    def saveAsSequenceFile(self, path: str, compressionCodecClass: str | None = None) -> None:
        """Write pairs as SequenceFiles, which `SparkContext.sequenceFile` and Hadoop read.

        Args:
            path: a directory that doesn't exist yet.
            compressionCodecClass: a Hadoop codec's name, such as `org.apache.hadoop.io.compress.DefaultCodec`, which
                compresses many records together; None is uncompressed.

        Raises:
            FileAlreadyExistsException: there is something at the path already.
            IllegalArgumentException: the codec is unknown, or a record can't be written as a Writable.
            SparkException: a record is no pair.
        """
        name = Api.OLD.output_package + "SequenceFileOutputFormat"
        settings = JobSettings(self.ctx.conf)
        self._save_pairs(path, Api.OLD, output_format(Api.OLD, name, None, None, settings, compressionCodecClass))

    def saveAsHadoopFile(
        self,
        path: str,
        outputFormatClass: str,
        keyClass: str | None = None,
        valueClass: str | None = None,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        conf: Mapping[str, str] | None = None,
        compressionCodecClass: str | None = None,
    ) -> None:
        """Write pairs by a format of `org.apache.hadoop.mapred`.

        Args:
            path: a directory that doesn't exist yet.
            outputFormatClass: Java's name of the format.
            keyClass: the Writable of the keys, such as `org.apache.hadoop.io.LongWritable`; None: that of the first.
            valueClass: as `keyClass`.
            keyConverter, valueConverter: Java classes in Spark; not supported.
            conf: settings of the job.
            compressionCodecClass: a Hadoop codec's name; None: as the settings say.

        Raises:
            FileAlreadyExistsException: there is something at the path already.
            IllegalArgumentException: a format, class, codec or setting isn't supported, or a record doesn't fit.
            SparkException: a record is no pair.
        """
        refuse_converters(keyConverter, valueConverter)
        settings = JobSettings(self.ctx.conf, conf)
        found = output_format(Api.OLD, outputFormatClass, keyClass, valueClass, settings, compressionCodecClass)
        self._save_pairs(path, Api.OLD, found)

    def saveAsNewAPIHadoopFile(
        self,
        path: str,
        outputFormatClass: str,
        keyClass: str | None = None,
        valueClass: str | None = None,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        conf: Mapping[str, str] | None = None,
    ) -> None:
        """As `saveAsHadoopFile`, by a format of `org.apache.hadoop.mapreduce.lib.output`; parts are `part-r-00000`."""
        refuse_converters(keyConverter, valueConverter)
        settings = JobSettings(self.ctx.conf, conf)
        self._save_pairs(path, Api.NEW, output_format(Api.NEW, outputFormatClass, keyClass, valueClass, settings))

    def saveAsHadoopDataset(
        self, conf: Mapping[str, str], keyConverter: str | None = None, valueConverter: str | None = None
    ) -> None:
        """As `saveAsHadoopFile`, with everything in settings.

        Args:
            conf: `mapreduce.output.fileoutputformat.outputdir`, `mapred.output.format.class` (TextOutputFormat if it
                isn't there), `mapreduce.job.output.key.class`, `mapreduce.job.output.value.class`, and other settings.
            keyConverter, valueConverter: Java classes in Spark; not supported.
        """
        self._save_dataset(Api.OLD, conf, keyConverter, valueConverter)

    def saveAsNewAPIHadoopDataset(
        self, conf: Mapping[str, str], keyConverter: str | None = None, valueConverter: str | None = None
    ) -> None:
        """As `saveAsHadoopDataset`, for the formats of `saveAsNewAPIHadoopFile`.

        Args:
            conf: as there, but the format is in `mapreduce.job.outputformat.class`.
            keyConverter, valueConverter: Java classes in Spark; not supported.
        """
        self._save_dataset(Api.NEW, conf, keyConverter, valueConverter)

    def _save_dataset(
        self, api: Api, conf: Mapping[str, str], key_converter: str | None, value_converter: str | None
    ) -> None:
        refuse_converters(key_converter, value_converter)
        settings = JobSettings(self.ctx.conf, conf)
        path = settings.needed(job.OUTPUT, "where to write")
        self._save_pairs(path, api, output_format(api, format_in(settings, api), None, None, settings))

    def _save_pairs(self, path: str, api: Api, found: OutputFormat) -> None:
        if isinstance(found, SequenceOutput) and found.wants_first:
            found = found.for_first(self.take(1))
        self._save(path, found.extension, found.write, api.part_prefix)
