"""The cipher of the logs: where its key comes from, what it refuses, and that the key stays secret."""

from __future__ import annotations

import base64
import pickle
import sys
from pathlib import Path

import pytest

from headwater import SparkConf
from headwater.cipher import Cipher
from headwater.errors import IllegalArgumentException, SparkException

KEY = bytes(range(100, 132))
FILE, VARIABLE = "headwater.encryption.keyFile", "headwater.encryption.keyVariable"
TEXTS = {
    "raw": KEY,
    "hex": KEY.hex().encode(),
    "upper-case hex with a line's end": KEY.hex().upper().encode() + b"\n",
    "base64": base64.b64encode(KEY) + b"\n",
    "URL base64": base64.urlsafe_b64encode(KEY),
}


def conf(**pairs: str) -> SparkConf:
    names = {"file": FILE, "variable": VARIABLE}
    return SparkConf(loadDefaults=False).setAll((names[name], value) for name, value in pairs.items())


def test_cipher_is_none_when_no_key_is_set() -> None:
    assert Cipher.from_conf(conf()) is None


@pytest.mark.parametrize("kind", TEXTS)
def test_cipher_takes_its_key_from_a_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "key").write_bytes(TEXTS[kind])
    cipher = Cipher.from_conf(conf(file=str(tmp_path / "key")))
    assert cipher is not None and cipher.key_id == Cipher(KEY).key_id


@pytest.mark.parametrize("kind", ["hex", "base64", "URL base64"])
def test_cipher_takes_its_key_from_an_environment_variable(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("STREAM_KEY", TEXTS[kind].decode())
    cipher = Cipher.from_conf(conf(variable="STREAM_KEY"))
    assert cipher is not None and cipher.key_id == Cipher(KEY).key_id


@pytest.mark.parametrize(
    "text",
    [b"", KEY[:31], KEY + b"\xff", KEY.hex().encode()[:32], base64.b64encode(KEY[:24]), b"not a key"],
    ids=["empty", "too short", "too long", "hex of 16 bytes", "base64 of 24 bytes", "words"],
)
def test_cipher_refuses_what_is_no_key_of_256_bits(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "key").write_bytes(text)
    with pytest.raises(IllegalArgumentException, match=f"{FILE}: the file .*key holds {len(text)} bytes") as raised:
        Cipher.from_conf(conf(file=str(tmp_path / "key")))
    assert not text or repr(text)[2:-1] not in str(raised.value)


def test_cipher_names_the_setting_when_its_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(IllegalArgumentException, match=f"{FILE}: .*/none can't be read: No such file"):
        Cipher.from_conf(conf(file=str(tmp_path / "none")))


def test_cipher_names_the_setting_when_its_variable_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAM_KEY", raising=False)
    with pytest.raises(IllegalArgumentException, match=f"{VARIABLE}: there is no environment variable STREAM_KEY"):
        Cipher.from_conf(conf(variable="STREAM_KEY"))


def test_cipher_refuses_two_keys() -> None:
    with pytest.raises(IllegalArgumentException, match="both set. Set one"):
        Cipher.from_conf(conf(file="/key", variable="STREAM_KEY"))


def test_cipher_names_the_extra_when_its_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(SparkException, match=r"pip install 'headwater\[encryption\]'"):
        Cipher(KEY)


def test_cipher_shows_its_id_and_not_its_key() -> None:
    cipher = Cipher(KEY)
    assert repr(cipher) == f"Cipher(key id {cipher.key_id.hex()})"
    with pytest.raises(TypeError, match="holds a key and is not pickled"):
        pickle.dumps(cipher)


def test_sealed_payload_opens_to_what_it_was() -> None:
    segment = Cipher(KEY).for_segment(b"salt")
    for payload in (b"", b"x", bytes(100_000)):
        sealed = segment.seal(payload, b"here")
        assert segment.open(sealed, b"here") == payload
        assert len(sealed) == len(payload) + 28


def test_sealed_payload_is_different_each_time() -> None:
    segment = Cipher(KEY).for_segment(b"salt")
    assert segment.seal(b"payload", b"") != segment.seal(b"payload", b"")


@pytest.mark.parametrize(
    ("cipher", "salt", "context"),
    [(Cipher(bytes(32)), b"salt", b"here"), (Cipher(KEY), b"pepper", b"here"), (Cipher(KEY), b"salt", b"there")],
    ids=["another key", "another segment", "another place"],
)
def test_sealed_payload_does_not_open_elsewhere(cipher: Cipher, salt: bytes, context: bytes) -> None:
    sealed = Cipher(KEY).for_segment(b"salt").seal(b"payload", b"here")
    with pytest.raises(ValueError, match="not authentic"):
        cipher.for_segment(salt).open(sealed, context)


def test_sealed_payload_does_not_open_when_a_byte_is_changed_or_missing() -> None:
    segment = Cipher(KEY).for_segment(b"salt")
    sealed = segment.seal(b"payload", b"")
    changed = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    for wrong in (*changed, *(sealed[:length] for length in range(len(sealed)))):
        with pytest.raises(ValueError):
            segment.open(wrong, b"")
