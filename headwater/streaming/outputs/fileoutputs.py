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
        """
        codec_extension(compressionCodecClass)  # better now than in the first batch
        self._save("saveAsTextFiles", prefix, suffix, lambda rdd, path: rdd.saveAsTextFile(path, compressionCodecClass))

    def saveAsPickleFiles(self, prefix: str, suffix: str | None = None) -> None:
        """Like `saveAsTextFiles`, but with pickled records, which `SparkContext.pickleFile` reads back."""
        self._save("saveAsPickleFiles", prefix, suffix, lambda rdd, path: rdd.saveAsPickleFile(path))

    def saveAsObjectFiles(self, prefix: str, suffix: str | None = None) -> None:
        """`saveAsPickleFiles`, under the name that Scala programs have for it; the files aren't Java's."""
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
        """Like `saveAsTextFiles`, but each batch of pairs by `RDD.saveAsHadoopFile`, which tells the arguments.

        Raises:
            TypeError: prefix or suffix is no string.
            IllegalArgumentException: a format, class, codec or setting isn't supported.
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
        """Like `saveAsHadoopFiles`, but by `RDD.saveAsNewAPIHadoopFile`."""
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
