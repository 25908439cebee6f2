"""The cipher of the logs: AES-256-GCM, with a key that a file or an environment variable holds.

- A segment has a key of its own, derived from the user's and the segment's salt: random nonces then stay unique however
  long a stream runs.
- What is sealed is bound to its context, its place in a segment: elsewhere it doesn't open.
- No key is ever logged, shown or pickled. Its id, a hash, tells a wrong key from damaged data.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import importlib
import os
from typing import Any, NoReturn

from headwater.conf import SparkConf
from headwater.errors import IllegalArgumentException, SparkException

KEY_BYTES = 32
KEY_ID_BYTES = 8
NONCE_BYTES = 12


class Cipher:
    """The user's key.

    Args:
        key: 32 bytes, random.

    Raises:
        SparkException: the package cryptography is missing.
    """

    def __init__(self, key: bytes) -> None:
        _aesgcm()  # a missing package is told before the first record
        self._key = key
        self.key_id = hmac.digest(key, b"headwater log key id", "sha256")[:KEY_ID_BYTES]

    @classmethod
    def from_conf(cls, conf: SparkConf) -> Cipher | None:
        """The cipher whose key the settings name; None if they name none.

        Raises:
            IllegalArgumentException: both settings are given, the key can't be read, or it hasn't 256 bits.
            SparkException: the package cryptography is missing.
        """
        file = conf.read("headwater.streaming.log.keyFile")
        variable = conf.read("headwater.streaming.log.keyVariable")
        if file and variable:
            raise IllegalArgumentException(
                "headwater.streaming.log.keyFile and headwater.streaming.log.keyVariable are both set. Set one of them."
            )
        if file:
            return cls(_parse_key(_read_key_file(file), f"headwater.streaming.log.keyFile: the file {file}"))
        if variable:
            if variable not in os.environ:
                raise IllegalArgumentException(
                    f"headwater.streaming.log.keyVariable: there is no environment variable {variable}. Set it to the "
                    "key, as base64 or hex, for the driver and the executors."
                )
            key = os.environb[os.fsencode(variable)]
            return cls(_parse_key(key, f"headwater.streaming.log.keyVariable: the environment variable {variable}"))
        return None

    def for_segment(self, salt: bytes) -> SegmentCipher:
        """The cipher of one segment."""
        return SegmentCipher(_aesgcm()(hmac.digest(self._key, b"headwater log segment" + salt, "sha256")))

    def __repr__(self) -> str:
        return f"Cipher(key id {self.key_id.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a cipher holds a key and is not pickled: make it from the settings where it is used")


class SegmentCipher:
    """Seals and opens the records of one segment. See `Cipher.for_segment`."""

    def __init__(self, aes: Any) -> None:
        self._aes = aes

    def seal(self, payload: bytes, context: bytes) -> bytes:
        """Nonce, ciphertext and tag; opens with the same context only."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + bytes(self._aes.encrypt(nonce, payload, context))

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The payload that was sealed.

        Raises:
            ValueError: it was changed, or sealed with another key or context.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._aes.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context))
        except InvalidTag:
            raise ValueError("not authentic") from None


def _aesgcm() -> Any:
    """The class of the package that only encryption needs."""
    try:
        return importlib.import_module("cryptography.hazmat.primitives.ciphers.aead").AESGCM
    except ImportError as error:
        raise SparkException(
            "Encrypted logs need the package cryptography: pip install 'headwater[encryption]', or unset "
            "headwater.streaming.log.keyFile and headwater.streaming.log.keyVariable"
        ) from error


def _read_key_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)  # no key is that long
    except OSError as error:
        raise IllegalArgumentException(
            f"headwater.streaming.log.keyFile: {path} can't be read: {error.strerror}"
        ) from error


def _parse_key(data: bytes, origin: str) -> bytes:
    """The key that a file or variable holds: raw bytes, hex or base64 (its URL variant too)."""
    # 32 random bytes are never all ASCII; 32 characters are a shorter key's text.
    if len(data) == KEY_BYTES and not data.isascii():
        return data
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
    return base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")), validate=True)
