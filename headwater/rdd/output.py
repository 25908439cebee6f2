"""Saving an RDD: a directory with a part for each partition, which readers see only once it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO, TypeVar

from headwater.filesystem import OutputDirectory
from headwater.formats.picklefile import write_pickle_file
from headwater.formats.textfiles import codec_extension, create_file, write_text
from headwater.rdd.checks import check_positive
from headwater.rdd.sorting import Sorting
from headwater.taskcontext import TaskContext

T = TypeVar("T")


class Saving(Sorting[T]):
    """The outputs of an `RDD`."""

    def saveAsTextFile(self, path: str, compressionCodecClass: str | None = None) -> None:
        """Write `str(record)` of each record as a line.

        Args:
            path: a directory that doesn't exist yet; gets `part-00000`, ... and, when all are there, `_SUCCESS`.
            compressionCodecClass: a Hadoop codec's name, such as `org.apache.hadoop.io.compress.GzipCodec`.

        Raises:
            FileAlreadyExistsException: there is something at the path already.
            IllegalArgumentException: the codec is unknown.
        """
        self._save(path, codec_extension(compressionCodecClass), write_text)

    def saveAsPickleFile(self, path: str, batchSize: int = 10) -> None:
        """Write the records pickled, in the container that PySpark uses; `SparkContext.pickleFile` reads them back.

        Args:
            path: a directory that doesn't exist yet.
            batchSize: records per pickle.

        Raises:
            FileAlreadyExistsException: there is something at the path already.
        """
        check_positive("batchSize", batchSize)
        self._save(path, "", partial(write_pickle_file, batch_size=batchSize))

    def _save(
        self, path: str, extension: str, write: Callable[[Iterable[Any], BinaryIO], None], prefix: str = "part-"
    ) -> None:
        if not isinstance(path, str):
            raise TypeError(f"path should be a str, got {path!r} of type {type(path).__name__}")
        self.ctx.check_running()
        directory = OutputDirectory(path, prefix)
        directory.prepare()
        try:
            self._run(partial(_write_part, directory, extension, write))
        except BaseException:
            directory.abort()
            raise
        directory.commit()


def _write_part(
    directory: OutputDirectory,
    extension: str,
    write: Callable[[Iterable[Any], BinaryIO], None],
    partition: int,
    records: Iterator[Any],
) -> None:
    task = TaskContext.get()
    attempt = task.taskAttemptId() if task is not None else 0
    try:
        with create_file(directory.task_path(partition, attempt, extension)) as file:
            write(records, file)
        directory.commit_task(partition, attempt, extension)
    except BaseException:
        directory.abort_task(partition, attempt, extension)
        raise
