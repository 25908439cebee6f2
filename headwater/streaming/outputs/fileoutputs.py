"""The outputs of a stream that are files: a directory a batch, complete or absent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headwater.formats.hadoop.outputs import output_format
from headwater.formats.hadoop.settings import Api, JobSettings, refuse_converters
from headwater.formats.textfiles import codec_extension
from headwater.streaming.outputs.batchoutput import BatchOutput
from headwater.streaming.outputs.saving import DirectoryOutput

if TYPE_CHECKING:
    from headwater.context import SparkContext
    from headwater.rdd import RDD


class WithFileOutputs(ABC):
    """The part of `DStream` that saves files."""

    _sc: SparkContext

    def saveAsTextFiles(self, prefix: str, suffix: str | None = None, compressionCodecClass: str | None = None) -> None:
        """Write each batch as text, `str(record)` a line, into a directory `prefix-TIME_IN_MS[.suffix]` of its own.

        A directory is complete if it has a file `_SUCCESS`; a batch that runs again leaves a complete one as it is and
        replaces an incomplete one. An empty batch has a directory too, unless `headwater.streaming.output.skipEmpty`.

        Args:
            prefix: a path, or a URL that fsspec knows.
            suffix: None for none.
            compressionCodecClass: a Hadoop codec's name, such as `org.apache.hadoop.io.compress.GzipCodec`.

        Raises:
            TypeError: prefix or suffix is no string.
            IllegalArgumentException: the codec is unknown.

        >>> harness.stream([["to be", "or not"]]).saveAsTextFiles(f"{directory}/lines", "txt")
        >>> _ = harness.run()
        >>> sc.textFile(f"{directory}/lines-*.txt").collect()
        ['to be', 'or not']
        """
        codec_extension(compressionCodecClass)  # better now than in the first batch
        self._save("saveAsTextFiles", prefix, suffix, lambda rdd, path: rdd.saveAsTextFile(path, compressionCodecClass))

    def saveAsPickleFiles(self, prefix: str, suffix: str | None = None) -> None:
        """Like `saveAsTextFiles`, but with pickled records, which `SparkContext.pickleFile` reads back.

        Args:
            prefix: as for `saveAsTextFiles`.
            suffix: None for none.

        Raises:
            TypeError: prefix or suffix is no string.

        >>> harness.stream([[("a", 1)]]).saveAsPickleFiles(f"{directory}/pairs")
        >>> _ = harness.run()
        >>> sc.pickleFile(f"{directory}/pairs-*").collect()
        [('a', 1)]
        """
        self._save("saveAsPickleFiles", prefix, suffix, lambda rdd, path: rdd.saveAsPickleFile(path))

    def saveAsObjectFiles(self, prefix: str, suffix: str | None = None) -> None:
        """`saveAsPickleFiles`, under the name that Scala programs have for it; the files aren't Java's.

        Args:
            prefix: as for `saveAsTextFiles`.
            suffix: None for none.

        >>> harness.stream([[("a", 1)]]).saveAsObjectFiles(f"{directory}/pairs")
        >>> _ = harness.run()
        >>> sc.pickleFile(f"{directory}/pairs-*").collect()
        [('a', 1)]
        """
        self._save("saveAsObjectFiles", prefix, suffix, lambda rdd, path: rdd.saveAsPickleFile(path))

    def saveAsHadoopFiles(
        self,
        prefix: str,
        suffix: str | None,
        outputFormatClass: str,
        keyClass: str | None = None,
        valueClass: str | None = None,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        conf: Mapping[str, str] | None = None,
        compressionCodecClass: str | None = None,
    ) -> None:
        """Like `saveAsTextFiles`, but each batch of pairs by `RDD.saveAsHadoopFile`.

        Args:
            prefix: as for `saveAsTextFiles`.
            suffix: None for none.
            outputFormatClass: this and all that follow are those of `RDD.saveAsHadoopFile`.

        Raises:
            TypeError: prefix or suffix is no string.
            IllegalArgumentException: a format, class, codec or setting isn't supported.

        >>> pairs = harness.stream([[("a", 1)]])
        >>> pairs.saveAsHadoopFiles(f"{directory}/pairs", "seq", "org.apache.hadoop.mapred.SequenceFileOutputFormat")
        >>> _ = harness.run()
        >>> sc.sequenceFile(f"{directory}/pairs-*.seq").collect()
        [('a', 1)]
        """
        refuse_converters(keyConverter, valueConverter)
        chosen = outputFormatClass, keyClass, valueClass
        # Better now than in the first batch.
        output_format(Api.OLD, *chosen, JobSettings(self._sc.conf, conf), compressionCodecClass)
        self._save(
            "saveAsHadoopFiles",
            prefix,
            suffix,
            lambda rdd, path: rdd.saveAsHadoopFile(
                path, *chosen, conf=conf, compressionCodecClass=compressionCodecClass
            ),
        )

    def saveAsNewAPIHadoopFiles(
        self,
        prefix: str,
        suffix: str | None,
        outputFormatClass: str,
        keyClass: str | None = None,
        valueClass: str | None = None,
        keyConverter: str | None = None,
        valueConverter: str | None = None,
        conf: Mapping[str, str] | None = None,
    ) -> None:
        """Like `saveAsHadoopFiles`, but by `RDD.saveAsNewAPIHadoopFile`.

        Args:
            prefix: as for `saveAsTextFiles`.
            suffix: None for none.
            outputFormatClass: this and all that follow are those of `RDD.saveAsNewAPIHadoopFile`.

        Raises:
            TypeError: prefix or suffix is no string.
            IllegalArgumentException: a format, class or setting isn't supported.

        >>> pairs = harness.stream([[("a", 1)]])
        >>> text = "org.apache.hadoop.mapreduce.lib.output.TextOutputFormat"
        >>> pairs.saveAsNewAPIHadoopFiles(f"{directory}/pairs", None, text)
        >>> _ = harness.run()
        >>> sc.textFile(f"{directory}/pairs-*").map(str.split).collect()
        [['a', '1']]
        """
        refuse_converters(keyConverter, valueConverter)
        chosen = outputFormatClass, keyClass, valueClass
        output_format(Api.NEW, *chosen, JobSettings(self._sc.conf, conf))
        self._save(
            "saveAsNewAPIHadoopFiles",
            prefix,
            suffix,
            lambda rdd, path: rdd.saveAsNewAPIHadoopFile(path, *chosen, conf=conf),
        )

    def _save(self, operation: str, prefix: str, suffix: str | None, save: Callable[[RDD[Any], str], None]) -> None:
        skip_empty: bool = self._sc.conf.read("headwater.streaming.output.skipEmpty")
        self._add_output(operation, DirectoryOutput(prefix, suffix, save, skip_empty=skip_empty))

    @abstractmethod
    def _add_output(self, operation: str, sink: BatchOutput) -> None:
        """Have the stream's batches written; `operation` is the method that the program called."""
