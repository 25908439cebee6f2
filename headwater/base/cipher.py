"""Encryption of what is written: the key, where it comes from, and the two ways in which bytes are sealed by it.

- AES-GCM. Each file, log segment and map has a key of its own, derived from the application's and a random salt; so
  nonces stay unique however long an application runs.
- What is sealed is bound to its context, such as a file's name: elsewhere it doesn't open.
- No key is ever logged or shown, or stored with what it seals. Its id, a hash, tells a wrong key from damaged data.

The formats are described in docs/formats/sealed.md and docs/formats/log.md.
"""

from __future__ import annotations

import importlib
import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

from headwater.conf import SparkConf
from headwater.errors import IllegalArgumentException, SparkException
from headwater.settings.table import read

KEY_BYTES = 32
KEY_ID_BYTES = 8
NONCE_BYTES = 12
# A range of a sealed file is read by whole chunks: small enough for that, large enough that tags cost nothing.
CHUNK_BYTES = 64 * 1024

_MAGIC = b"HWE\x01"  # the last byte is the format's version
_SALT_BYTES = 16
_HEADER = struct.Struct(f"<4s{KEY_ID_BYTES}s{_SALT_BYTES}s")  # magic, key id, salt
_TAG_BYTES = 16
_NAMES = "headwater.encryption.keyFile or headwater.encryption.keyVariable"
#: What decides whether an application's files are encrypted.
SETTINGS = ("headwater.encryption.keyFile", "headwater.encryption.keyVariable", "spark.io.encryption.enabled")


class WrongKeyException(SparkException):
    """Something is encrypted with another key than the one that is set, or none is set."""


def wrong_key(what: str, key_id: bytes, cipher: Cipher | None) -> WrongKeyException:
    """The error about something that needs the key of this id."""
    given = "no key is set" if cipher is None else f"the key that is set has id {cipher.key_id.hex()}"
    return WrongKeyException(
        f"{what} is encrypted with the key of id {key_id.hex()}, and {given}. Name that key by {_NAMES}."
    )


# ------------------------------------------------------------------------------------------------ where the key is
@dataclass(frozen=True)
class KeySource:
    """Where an application's key is: this travels to executors and workers, which read the key when they need it.

    Args:
        file: that holds the key, if one was named.
        variable: the environment variable that holds it, if one was named.
        key: itself, if it was made for this application. Then it is known to its processes only, and goes with them.
    """

    file: str = ""
    variable: str = ""
    key: bytes = field(default=b"", repr=False)

    @classmethod
    def named(cls, conf: SparkConf) -> KeySource | None:
        """The key that the settings name; None if they name none.

        Raises:
            IllegalArgumentException: both settings are given.
        """
        file: str = conf.read("headwater.encryption.keyFile")
        variable: str = conf.read("headwater.encryption.keyVariable")
        if file and variable:
            raise IllegalArgumentException(
                "headwater.encryption.keyFile and headwater.encryption.keyVariable are both set. Set one of them."
            )
        return cls(os.path.abspath(file) if file else "", variable) if file or variable else None

    @classmethod
    def of_application(cls, conf: SparkConf) -> KeySource | None:
        """The key of an application: the one that the settings name, or a new one if they ask for encryption.

        Raises:
            IllegalArgumentException: as `named`.
        """
        named = cls.named(conf)
        if named is not None or not conf.read("spark.io.encryption.enabled"):
            return named
        return cls(key=os.urandom(int(conf.read("spark.io.encryption.keySizeBits")) // 8))

    @property
    def lasts(self) -> bool:
        """Whether the next driver has the key as well."""
        return not self.key

    @cached_property
    def cipher(self) -> Cipher:
        """The cipher; the key is read when it is first asked for.

        Raises:
            IllegalArgumentException: the key can't be read, or it hasn't 256 bits.
            SparkException: the package cryptography is missing.
        """
        if self.key:
            return Cipher(self.key)
        if self.file:
            return Cipher(_parse_key(_read_key_file(self.file), f"headwater.encryption.keyFile: the file {self.file}"))
        if self.variable not in os.environ:
            raise IllegalArgumentException(
                f"headwater.encryption.keyVariable: there is no environment variable {self.variable}. Set it to the"
                " key, as base64 or hex, for the driver and the executors."
            )
        key = os.environb[os.fsencode(self.variable)]
        return Cipher(_parse_key(key, f"headwater.encryption.keyVariable: the environment variable {self.variable}"))

    def __reduce__(self) -> tuple[Any, ...]:
        return KeySource, (self.file, self.variable, self.key)  # without the cipher


def is_wanted(pairs: Mapping[str, str]) -> bool:
    """Whether settings ask for encryption."""
    return any(read(pairs, key) for key in SETTINGS)


def cipher_of(source: KeySource | None) -> Cipher | None:
    """The cipher of a key, if there is one."""
    return None if source is None else source.cipher


def _read_key_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)  # no key is that long
    except OSError as error:
        raise IllegalArgumentException(
            f"headwater.encryption.keyFile: {path} can't be read: {error.strerror}"
        ) from error


def _parse_key(data: bytes, origin: str) -> bytes:
    """The key that a file or variable holds: raw bytes, hex or base64 (its URL variant too)."""
    # 32 random bytes are never all ASCII; 32 characters are a shorter key's text.
    if len(data) == KEY_BYTES and not data.isascii():
        return data
    import binascii

    text = data.strip()
    for decode in (binascii.unhexlify, _from_base64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == KEY_BYTES:
            return key
    raise IllegalArgumentException(
        f"{origin} holds {len(data)} bytes, which are no key of {KEY_BYTES} bytes: raw, base64 or hex. "
        "`openssl rand -hex 32` makes one."
    )


def _from_base64(text: bytes) -> bytes:
    import base64

    return base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")), validate=True)


# ------------------------------------------------------------------------------------------------ the cipher
class Cipher:
    """An application's key, and what is done with it. Any thread.

    Args:
        key: random; 32 bytes, or 16 or 24 for what only this application reads.

    Raises:
        SparkException: the package cryptography is missing.
    """

    def __init__(self, key: bytes) -> None:
        import hmac  # here, since it's slow to load, and most applications have no use for it

        self._aesgcm = _aesgcm()  # a missing package is told before the first record
        self._hmac = hmac.digest
        self._key = key
        self.key_id = self._hmac(key, b"headwater log key id", "sha256")[:KEY_ID_BYTES]

    @classmethod
    def from_conf(cls, conf: SparkConf) -> Cipher | None:
        """The cipher whose key the settings name; None if they name none.

        Raises:
            IllegalArgumentException: both settings are given, the key can't be read, or it hasn't 256 bits.
            SparkException: the package cryptography is missing.
        """
        return cipher_of(KeySource.named(conf))

    def derive(self, purpose: bytes) -> bytes:
        """A key for one purpose, as long as the application's."""
        return self._hmac(self._key, purpose, "sha256")[: len(self._key)]

    def for_segment(self, salt: bytes) -> SegmentCipher:
        """The cipher of one log segment, or of one map."""
        return SegmentCipher(self._aesgcm(self.derive(b"headwater log segment" + salt)))

    # -------------------------------------------------------------------------------------------- files
    def seal(self, pieces: Iterable[bytes | memoryview], context: str) -> Iterator[bytes]:
        """The sealed form of a content that comes in pieces: its header and its chunks, made as they are asked for.

        Args:
            context: what `SealedReader` must be told to open it, such as the file's name.
        """
        salt = os.urandom(_SALT_BYTES)
        aes = self._of_file(salt, context)
        yield _HEADER.pack(_MAGIC, self.key_id, salt)
        number, held = 0, bytearray()
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), CHUNK_BYTES):
                if len(held) >= CHUNK_BYTES:  # and more follows, so it isn't the last one
                    yield aes.encrypt(_nonce(number, last=False), bytes(held[:CHUNK_BYTES]), None)
                    del held[:CHUNK_BYTES]
                    number += 1
                held += view[start : start + CHUNK_BYTES]
        if len(held) > CHUNK_BYTES:
            yield aes.encrypt(_nonce(number, last=False), bytes(held[:CHUNK_BYTES]), None)
            del held[:CHUNK_BYTES]
            number += 1
        yield aes.encrypt(_nonce(number, last=True), bytes(held), None)

    def sealed(self, content: bytes | memoryview, context: str) -> bytes:
        """The sealed form of a content; see `seal`."""
        return b"".join(self.seal([content], context))

    def _of_file(self, salt: bytes, context: str) -> Any:
        return self._aesgcm(self.derive(b"headwater file" + salt + context.encode("utf-8", "surrogateescape")))

    def __repr__(self) -> str:
        return f"Cipher(key id {self.key_id.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a cipher holds a key and is not pickled: make it from the settings where it is used")


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(NONCE_BYTES - 1, "little") + (b"\x01" if last else b"\x00")


class SegmentCipher:
    """Seals and opens the records of one segment. See `Cipher.for_segment`."""

    def __init__(self, aes: Any) -> None:
        self._aes = aes

    def seal(self, payload: bytes, context: bytes, nonce: bytes | None = None) -> bytes:
        """Nonce, ciphertext and tag; opens with the same context only.

        Args:
            nonce: 12 bytes that no other record of the segment has; None: random, good for 2**32 records.
        """
        nonce = nonce or os.urandom(NONCE_BYTES)
        return nonce + bytes(self._aes.encrypt(nonce, payload, context))

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The payload that was sealed.

        Raises:
            ValueError: it was changed, or sealed with another key or context.
        """
        return _opened(self._aes, sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)


def _opened(aes: Any, nonce: bytes, sealed: bytes, context: bytes | None) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(aes.decrypt(nonce, sealed, context))
    except InvalidTag:
        raise ValueError("not authentic") from None


def _aesgcm() -> Any:
    """The class of the package that only encryption needs."""
    try:
        return importlib.import_module("cryptography.hazmat.primitives.ciphers.aead").AESGCM
    except ImportError as error:
        raise SparkException(
            "Encryption needs the package cryptography: pip install 'headwater[encryption]', or unset "
            f"{_NAMES}, or spark.io.encryption.enabled"
        ) from error


# ------------------------------------------------------------------------------------------------ reading
def is_sealed(data: bytes) -> bool:
    """Whether bytes, four at least, begin as `Cipher.seal` makes them, in whatever version."""
    return data[:3] == _MAGIC[:3]


class SealedReader:
    """What `Cipher.seal` made, to be read by ranges.

    Args:
        cipher: its key's; None if none is set.
        read_at: gives a number of bytes from an offset; less only at the end.
        size: of all the sealed bytes.
        context: what it was sealed for.
        what: it is, for messages, such as its path.

    Raises:
        WrongKeyException: it was sealed with another key.
        SparkException: it isn't whole, or nothing that was sealed by this version.
    """

    def __init__(
        self, cipher: Cipher | None, read_at: Callable[[int, int], bytes], size: int, context: str, what: str
    ) -> None:
        self._read_at = read_at
        self._size = size
        self._what = what
        header = read_at(0, _HEADER.size)
        if len(header) < _HEADER.size or not is_sealed(header) or size < _HEADER.size + _TAG_BYTES:
            raise self._damaged("it doesn't begin as an encrypted file, or it is cut off")
        magic, key_id, salt = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise SparkException(f"{what} is encrypted in format {magic[3]}, this version reads {_MAGIC[3]}")
        if cipher is None or cipher.key_id != key_id:
            raise wrong_key(what, key_id, cipher)
        self._aes = cipher._of_file(salt, context)
        self._chunks = -(-(size - _HEADER.size) // (CHUNK_BYTES + _TAG_BYTES))
        self.length = size - _HEADER.size - self._chunks * _TAG_BYTES  # of the content

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        """The content, or a range of it; what lies behind its end is left out.

        Raises:
            SparkException: the range was damaged or changed.
        """
        end = self.length if length < 0 else min(offset + length, self.length)
        if offset == 0 and end == self.length:
            return b"".join(map(self._chunk, range(self._chunks)))
        if offset >= end:
            return b""
        first = offset // CHUNK_BYTES
        data = b"".join(map(self._chunk, range(first, -(-end // CHUNK_BYTES))))
        return data[offset - first * CHUNK_BYTES : end - first * CHUNK_BYTES]

    def _chunk(self, number: int) -> bytes:
        sealed = self._read_at(_HEADER.size + number * (CHUNK_BYTES + _TAG_BYTES), CHUNK_BYTES + _TAG_BYTES)
        try:
            return _opened(self._aes, _nonce(number, last=number == self._chunks - 1), sealed, None)
        except ValueError:
            raise self._damaged(f"chunk {number + 1} of {self._chunks} is not authentic") from None

    def _damaged(self, reason: str) -> SparkException:
        return SparkException(f"{self._what} is damaged, or was changed or moved: {reason}")


def unsealed(cipher: Cipher | None, data: bytes, context: str, what: str) -> bytes:
    """The content of sealed bytes; see `SealedReader`."""
    return SealedReader(cipher, lambda offset, length: data[offset : offset + length], len(data), context, what).read()


class SealedFile(io.RawIOBase):
    """The content of a sealed file, read from its beginning to its end; closes the file with itself."""

    def __init__(self, cipher: Cipher | None, file: Any, context: str, what: str) -> None:
        self._file = file
        self._at = 0
        self._reader = SealedReader(cipher, self._read_at, file.seek(0, io.SEEK_END), context, what)

    def _read_at(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return bytes(self._file.read(length))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = min(len(buffer), CHUNK_BYTES - self._at % CHUNK_BYTES)  # within one chunk
        data = self._reader.read(self._at, room)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
