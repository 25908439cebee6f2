"""The cipher: where its key comes from, what it refuses, that the key stays secret; sealed records and sealed files."""

from __future__ import annotations

import base64
import io
import os
import pickle
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import SparkConf
from headwater.base.cipher import CHUNK_BYTES, Cipher, KeySource, SealedFile, SealedReader, WrongKeyException, unsealed
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


# ------------------------------------------------------------------------------------------------ sealed files
def reader(sealed: bytes, cipher: Cipher | None = None, context: str = "name") -> SealedReader:
    return SealedReader(cipher or Cipher(KEY), lambda at, n: sealed[at : at + n], len(sealed), context, "the file")


SIZES = st.one_of(st.integers(0, 100), st.integers(-2, 2).map(lambda n: CHUNK_BYTES + n), st.integers(0, 200_000))


@given(st.lists(SIZES, max_size=4), st.data())
def test_sealed_file_gives_back_any_range_of_what_came_in_pieces(sizes: list[int], data: st.DataObject) -> None:
    pieces = [os.urandom(size) for size in sizes]
    content = b"".join(pieces)
    found = reader(b"".join(Cipher(KEY).seal(pieces, "name")))
    assert (found.length, found.read()) == (len(content), content)
    offset = data.draw(st.integers(0, len(content)))
    length = data.draw(st.one_of(st.just(-1), st.integers(0, len(content) + 10)))
    assert found.read(offset, length) == (content[offset:] if length < 0 else content[offset : offset + length])


def test_range_of_a_sealed_file_is_read_by_its_chunks_alone() -> None:
    asked: list[int] = []
    sealed = Cipher(KEY).sealed(bytes(100 * CHUNK_BYTES), "name")

    def read_at(offset: int, length: int) -> bytes:
        asked.append(length)
        return sealed[offset : offset + length]

    SealedReader(Cipher(KEY), read_at, len(sealed), "name", "the file").read(50 * CHUNK_BYTES - 10, 20)
    assert sum(asked) < 3 * CHUNK_BYTES


@pytest.mark.parametrize("size", [0, 10, CHUNK_BYTES, 2 * CHUNK_BYTES + 7])
def test_sealed_file_is_read_as_a_file(size: int) -> None:
    content = os.urandom(size)
    file = SealedFile(Cipher(KEY), io.BytesIO(Cipher(KEY).sealed(content, "name")), "name", "the file")
    assert io.BufferedReader(file, 1000).read() == content


def test_example_of_the_format_page_opens() -> None:
    page = Path(__file__).parents[2] / "docs" / "formats" / "sealed.md"
    rows = re.findall(r"^[0-9a-f]{8}: ([0-9a-f ]+)$", page.read_text(), re.MULTILINE)
    assert unsealed(Cipher(bytes(32)), bytes.fromhex("".join(rows)), "name", "the example") == b""


def test_sealed_file_is_damaged_when_a_byte_is_changed_or_missing() -> None:
    sealed = Cipher(KEY).sealed(b"content", "name")
    changed = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    for wrong in (*changed, *(sealed[:length] for length in range(len(sealed))), sealed + b"x"):
        with pytest.raises(SparkException, match=r"the file is (damaged|encrypted)"):
            reader(wrong).read()


def test_sealed_file_is_damaged_when_whole_chunks_are_missing_swapped_or_of_another_file() -> None:
    content = os.urandom(3 * CHUNK_BYTES)
    one, other = (Cipher(KEY).sealed(content, "name") for _ in range(2))
    step = CHUNK_BYTES + 16
    head, chunks = one[: len(one) - 3 * step], [one[len(one) - n * step :][:step] for n in (3, 2, 1)]
    foreign = other[len(other) - 3 * step :][:step]
    swapped = [chunks[1], chunks[0], chunks[2]]
    for wrong in (chunks[:2], chunks[1:], swapped, [foreign, *chunks[1:]], [*chunks, foreign]):
        with pytest.raises(SparkException, match="chunk . of . is not authentic"):
            reader(head + b"".join(wrong)).read()


def test_sealed_file_does_not_open_under_another_name() -> None:
    with pytest.raises(SparkException, match="the file is damaged, or was changed or moved"):
        unsealed(Cipher(KEY), Cipher(KEY).sealed(b"content", "name"), "another name", "the file")


@pytest.mark.parametrize(
    ("cipher", "given"), [(None, "no key is set"), (Cipher(bytes(32)), "the key that is set has id")]
)
def test_sealed_file_names_its_key_when_another_one_is_set(cipher: Cipher | None, given: str) -> None:
    own = Cipher(KEY)
    with pytest.raises(WrongKeyException, match=f"encrypted with the key of id {own.key_id.hex()}, and {given}"):
        unsealed(cipher, own.sealed(b"content", "name"), "name", "the file")


# ------------------------------------------------------------------------------------------------ sources of keys
def test_application_has_a_new_key_each_time_when_none_is_named() -> None:
    asked = SparkConf(loadDefaults=False).set("spark.io.encryption.enabled", True)
    one, other = KeySource.of_application(asked), KeySource.of_application(asked)
    assert one is not None and other is not None
    assert one.cipher.key_id != other.cipher.key_id
    assert (one.lasts, repr(one)) == (False, "KeySource(file='', variable='')")


def test_application_has_no_key_when_nobody_asks_for_one() -> None:
    assert KeySource.of_application(SparkConf(loadDefaults=False)) is None


def test_key_source_travels_without_its_cipher_and_gives_the_same_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    for source in (KeySource.named(conf(file=str(tmp_path / "key"))), KeySource(key=KEY)):
        assert source is not None
        before = source.cipher.key_id
        assert pickle.loads(pickle.dumps(source)).cipher.key_id == before


def test_key_file_is_found_from_another_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(KEY)
    monkeypatch.chdir(tmp_path)
    source = KeySource.named(conf(file="key"))
    monkeypatch.chdir("/")
    assert source is not None and source.cipher.key_id == Cipher(KEY).key_id
