"""Files on the other side of a network: read by ranges, some ahead, and written in one go when they're closed."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import IO, Any

from headwater.base.daemonpool import DaemonPool
from headwater.filesystem.retries import TruncatedReadError

RANGE_BYTES = 1 << 20  # of one request: connections are reused, and a small read doesn't cost much more
RANGES_AHEAD_MAX = 4  # what a sequential reader has on its way; it may be in vain at the end of a split
REQUESTS_MAX = 16  # at once, of all the process's reads ahead
_IN_MEMORY_BYTES = 8 << 20  # of a file that is written; larger ones wait on disk


@cache
def pool() -> DaemonPool:
    """The threads that read ahead, shared by all readers of the process."""
    return DaemonPool(REQUESTS_MAX, "filesystem")


class RangedReader(io.BufferedIOBase):
    """A file read by ranges; once reading is seen to be sequential, the next ranges are fetched in parallel.

    One thread at a time uses it.

    Args:
        url: for errors.
        size: of the file, in bytes.
        fetch: the bytes `[start, end)`, fewer if the file is shorter; called on any thread. Tries again by itself.
    """

    def __init__(self, url: str, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._url = url
        self._size = size
        self._fetch = fetch
        self._position = 0
        self._range = (-1, b"")  # number and bytes of the range read last
        self._coming: dict[int, Future[bytes]] = {}  # ranges that are fetched ahead, by number
        self._ahead = 0  # how many of them there should be

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._position)
        end = self._position + (left if size is None or size < 0 else min(size, left))
        pieces = []
        while self._position < end:
            number, start = divmod(self._position, RANGE_BYTES)
            piece = self._bytes_of(number)[start : start + end - self._position]
            self._position += len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def prime(self) -> None:
        """Fetch what a read from the start will need first."""
        if self._size:
            self._bytes_of(0)

    def close(self) -> None:
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()
        self._range = (-1, b"")
        super().close()

    def _bytes_of(self, number: int) -> bytes:
        before, data = self._range
        if number == before:
            return data
        self._ahead = min(2 * self._ahead + 1, RANGES_AHEAD_MAX) if number == before + 1 and before >= 0 else 0
        future = self._coming.pop(number, None)
        for skipped in [other for other in self._coming if not number < other <= number + RANGES_AHEAD_MAX]:
            self._coming.pop(skipped).cancel()
        for next_number in range(number + 1, number + 1 + self._ahead):
            if next_number * RANGE_BYTES < self._size and next_number not in self._coming:
                self._coming[next_number] = pool().submit(self._fetch_range, next_number)
        data = self._fetch_range(number) if future is None else future.result()
        self._range = (number, data)
        return data

    def _fetch_range(self, number: int) -> bytes:
        start = number * RANGE_BYTES
        return self._fetch(start, min(start + RANGE_BYTES, self._size))


def check_length(url: str, data: bytes, start: int, end: int) -> bytes:
    """The bytes `[start, end)` that were asked for.

    Raises:
        TruncatedReadError: there are fewer.
    """
    if len(data) != end - start:
        raise TruncatedReadError(
            f"{url} gave {len(data)} of the {end - start} bytes from {start} on, though it was listed to have {end} or "
            "more: the read was cut short, or the file was replaced after it had been listed"
        )
    return data


class Upload(io.BufferedIOBase):
    """A file that appears when it's closed; not if the `with` block that writes it raises.

    Args:
        store: given the content, as bytes or as the path of a local file, puts it under its name. It may take time.
        in_memory: keep it off the disk, however large it is, since what is there must be encrypted.
    """

    def __init__(self, store: Callable[[bytes | str], None], *, in_memory: bool = False) -> None:
        self._store = store
        self._in_memory_max = sys.maxsize if in_memory else _IN_MEMORY_BYTES
        self._content: IO[bytes] = io.BytesIO()
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("write to closed file")
        length = memoryview(data).nbytes
        if isinstance(self._content, io.BytesIO) and self._position + length > self._in_memory_max:
            on_disk = tempfile.NamedTemporaryFile(prefix="headwater-upload-")  # noqa: SIM115 (we close it)
            on_disk.write(self._content.getbuffer())
            self._content = on_disk
        self._content.write(data)
        self._position += length
        return length

    def close(self) -> None:
        """Put it in its place; raises what the file system raises, and then it isn't there."""
        if self.closed:
            return
        super().close()
        with self._content:
            if isinstance(self._content, io.BytesIO):
                self._store(self._content.getvalue())
            else:
                self._content.flush()
                self._store(self._content.name)

    def discard(self) -> None:
        """Forget it."""
        if not self.closed:
            super().close()
            self._content.close()

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        self.discard()  # its writer has failed, or would have closed it; Python's own __del__ would do that
