"""A map on disk, for a state's partition that is too large for its worker's memory.

- It is an LMDB of buckets: a key's portable hash leads to a short list of keys and entries, so that keys are compared
  as a dict compares them. With a key, a bucket stands under an HMAC of that hash, and is bound to it.
- It ends with the worker; what is kept are the state's segments. One thread uses it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from typing import Any

from headwater.base.cipher import NONCE_BYTES, Cipher
from headwater.base.hashing import portable_hash
from headwater.base.pickling import dump_records, load_records
from headwater.errors import SparkException

# An address range, not a size: the file grows as it is filled.
_ADDRESSES = 1 << 40
# Changes before a commit: it bounds the memory that uncommitted ones take, and is needed for nothing else.
_CHANGES_PER_COMMIT = 50_000
_MASK = (1 << 64) - 1


class SpilledMap:
    """The part of a dict that a state uses.

    Args:
        path: a directory, which is made anew and removed by `close`.
        entries: what it holds at first.
        cipher: encrypts keys and entries; None: they aren't.
    """

    def __init__(self, path: str, entries: dict[Any, Any], cipher: Cipher | None = None) -> None:
        import lmdb

        self._seal = None if cipher is None else _Seal(cipher)
        os.makedirs(path)
        self._path = path
        self._environment = lmdb.open(path, map_size=_ADDRESSES, sync=False, lock=False, max_dbs=0)
        self._transaction = self._environment.begin(write=True)
        self._length = 0
        self._uncommitted = 0
        self._changes = 0  # ever made: a reader sees by it that the map has changed under it
        try:
            for key, entry in entries.items():
                self[key] = entry
        except BaseException:  # others need the room on a full disk
            self.close()
            raise

    def __len__(self) -> int:
        return self._length

    def get(self, key: Any, default: Any = None) -> Any:
        """The entry of a key."""
        bucket = self._bucket(self._address(key))
        for i in range(0, len(bucket), 2):
            if bucket[i] == key:
                return bucket[i + 1]
        return default

    def __setitem__(self, key: Any, entry: Any) -> None:
        address = self._address(key)
        bucket = self._bucket(address)
        for i in range(0, len(bucket), 2):
            if bucket[i] == key:
                bucket[i + 1] = entry
                break
        else:
            bucket += [key, entry]
            self._length += 1
        self._write(address, bucket)

    def pop(self, key: Any, default: Any = None) -> Any:
        """Remove a key; returns its entry, or `default` if there was none."""
        address = self._address(key)
        bucket = self._bucket(address)
        for i in range(0, len(bucket), 2):
            if bucket[i] == key:
                entry = bucket[i + 1]
                del bucket[i : i + 2]
                self._length -= 1
                self._write(address, bucket)
                return entry
        return default

    def items(self) -> Iterator[tuple[Any, Any]]:
        """All keys with their entries, read as they are asked for.

        Raises:
            SparkException: the map changes before the end.
        """
        changes = self._changes
        for address, data in self._transaction.cursor():
            bucket = self._load(address, data)
            for i in range(0, len(bucket), 2):
                yield bucket[i], bucket[i + 1]
                if self._changes != changes:
                    raise SparkException(
                        "a state on disk went on to another batch while this task was reading it: persist the stream "
                        "of the state, so that older batches of it are kept"
                    )

    def _commit(self) -> None:
        import lmdb

        try:
            self._transaction.commit()
        except lmdb.Error as error:
            raise SparkException(
                f"the state on disk in {self._path} can't be written ({error}): if the disk is full, free some, or "
                "point spark.local.dir to a larger one"
            ) from error

    def close(self) -> None:
        """Remove it."""
        self._transaction.abort()
        self._environment.close()
        shutil.rmtree(self._path, ignore_errors=True)

    def _address(self, key: Any) -> bytes:
        address = (portable_hash(key) & _MASK).to_bytes(8, "big")
        return address if self._seal is None else self._seal.address(address)

    def _bucket(self, address: bytes) -> list[Any]:
        data = self._transaction.get(address)
        return [] if data is None else self._load(address, data)

    def _load(self, address: bytes, data: bytes) -> list[Any]:
        if self._seal is None:
            return load_records(data)
        try:
            return load_records(self._seal.open(data, address))
        except ValueError:
            raise SparkException(f"the state on disk in {self._path} is damaged or was changed") from None

    def _write(self, address: bytes, bucket: list[Any]) -> None:
        if bucket:
            data = dump_records(bucket)
            self._transaction.put(address, data if self._seal is None else self._seal.close(data, address))
        else:
            self._transaction.delete(address)
        self._changes += 1
        self._uncommitted += 1
        if self._uncommitted >= _CHANGES_PER_COMMIT:
            self._commit()
            self._transaction = self._environment.begin(write=True)
            self._uncommitted = 0


class _Seal:
    """Encrypts one map, by keys that nothing else has; so counting is enough for its nonces."""

    def __init__(self, cipher: Cipher) -> None:
        import hmac  # here, since it's slow to load, and most applications have no use for it

        salt = os.urandom(16)
        self._digest = hmac.digest
        self._cipher = cipher.for_segment(salt)
        self._address_key = cipher.derive(b"headwater map addresses" + salt)
        self._numbers = count()

    def address(self, address: bytes) -> bytes:
        return self._digest(self._address_key, address, "sha256")[:16]

    def close(self, data: bytes, address: bytes) -> bytes:
        return self._cipher.seal(data, address, next(self._numbers).to_bytes(NONCE_BYTES, "little"))

    def open(self, sealed: bytes, address: bytes) -> bytes:
        return self._cipher.open(sealed, address)
