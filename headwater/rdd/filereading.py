"""What a `SparkContext` reads from text files, files of bytes and pickle files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.rdd.checks import check_int, check_positive

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver


class WithFileInput:
    """The part of `SparkContext` that makes RDDs of files, of which it knows no more than their bytes or lines."""

    def textFile(self: Driver, name: str, minPartitions: int | None = None, use_unicode: bool = True) -> RDD[str]:
        """The lines of text files.

        Args:
            name: files, directories and globs, separated by commas. .gz, .bz2 and .zst files are decompressed.
            minPartitions: at least this many partitions, if the files can be split; None is `defaultMinPartitions`.
            use_unicode: give str; otherwise bytes.

        Raises:
            InvalidInputException: by actions, if there is no such file.
        """
        from headwater.rdd import sources

        return sources.of_text(self, name, _min_partitions(self, minPartitions), use_unicode)

    def wholeTextFiles(
        self: Driver, path: str, minPartitions: int | None = None, use_unicode: bool = True
    ) -> RDD[tuple[str, str]]:
        """(URI, content) of each text file; see `textFile`."""
        from headwater.rdd import sources

        return sources.of_whole_text(self, path, _min_partitions(self, minPartitions), use_unicode)

    def binaryFiles(self: Driver, path: str, minPartitions: int | None = None) -> RDD[tuple[str, bytes]]:
        """(URI, content) of each file, as bytes."""
        from headwater.rdd import sources

        return sources.of_binary_files(self, path, _min_partitions(self, minPartitions))

    def binaryRecords(self: Driver, path: str, recordLength: int) -> RDD[bytes]:
        """The records of binary files, each `recordLength` bytes long.

        Raises:
            SparkException: a file ends within a record.
        """
        from headwater.rdd import sources

        check_positive("recordLength", recordLength)
        return sources.of_binary_records(self, path, recordLength)

    def pickleFile(self: Driver, name: str, minPartitions: int | None = None) -> RDD[Any]:
        """The records that `RDD.saveAsPickleFile` wrote, a partition a file.

        Args:
            minPartitions: accepted for PySpark's sake: a pickle file isn't split.
        """
        from headwater.rdd import sources

        return sources.of_pickle_files(self, name)


def _min_partitions(context: Driver, number: int | None) -> int:
    if number is None:
        return context.defaultMinPartitions
    check_int("minPartitions", number)
    return max(number, 1)
