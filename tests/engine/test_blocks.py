from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater
from headwater.engine.blocks import BlockStore, Places, decode, encode_records, text_block
from headwater.errors import SparkException

ROOT = Path(headwater.__file__).parents[1]


# ------------------------------------------------------------------------------------------------ encodings
@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.text(), st.integers() | st.none() | st.lists(st.floats(allow_nan=False)))), st.booleans())
def test_records_come_back_from_their_block(records: list[Any], compress: bool) -> None:
    assert list(decode(encode_records(records, compress=compress))) == records


def test_large_block_of_records_shrinks_when_it_is_compressed() -> None:
    records = ["the same words again"] * 5000
    plain, compressed = encode_records(records), encode_records(records, compress=True)
    assert len(compressed) < len(plain) // 10
    assert list(decode(compressed)) == records


def test_small_block_is_left_as_it_is_when_compression_would_gain_nothing() -> None:
    assert encode_records(["a"], compress=True) == encode_records(["a"])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"one\n", ["one"]),
        (b"one\ntwo\n", ["one", "two"]),
        (b"no end", ["no end"]),
        (b"\n", [""]),
        (b"\n\n", ["", ""]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"dos\r\nunix\n", ["dos", "unix"]),
        (b"\r\n", [""]),
        (b"a\rb\n", ["a\rb"]),
        (b"two\r\r\n", ["two\r"]),
        ("gr\u00fc\u00df \U0001f600\n".encode(), ["gr\u00fc\u00df \U0001f600"]),
        (b"form\x0cfeed\x1c\xc2\x85\n", ["form\x0cfeed\x1c\x85"]),
        (b"bad \xff\xfe byte\ngood\n", ["bad \ufffd\ufffd byte", "good"]),
        (b"cut \xe2\x82\nshort\n", ["cut \ufffd", "short"]),
    ],
)
def test_text_is_read_line_by_line(text: bytes, lines: list[str]) -> None:
    assert list(decode(b"".join(text_block([text])))) == lines


def test_text_block_does_not_copy_its_pieces() -> None:
    piece = b"one\n"
    assert text_block([piece])[1] is piece


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 60_000), max_size=12))
def test_long_text_is_read_whole_wherever_it_is_cut_for_reading(lengths: list[int]) -> None:
    lines = [("\u00e9" * length) for length in lengths]
    assert list(decode(b"T" + "".join(line + "\n" for line in lines).encode())) == lines


def test_block_of_an_unknown_codec_is_an_error() -> None:
    with pytest.raises(SparkException, match="unknown codec b'X'"):
        list(decode(b"X..."))


# ------------------------------------------------------------------------------------------------ files
@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(str(tmp_path / "memory"), str(tmp_path / "disk"))
    places.make()
    return places


def files(places: Places) -> list[str]:
    """What lies where, as `memory/a`."""
    return sorted(f"{kind}/{name}" for kind in ("memory", "disk") for name in os.listdir(getattr(places, kind)))


@pytest.mark.parametrize("in_memory", [True, False])
def test_block_is_written_whole(places: Places, in_memory: bool) -> None:
    assert places.write("a", [b"12", memoryview(b"345"), b""], in_memory=in_memory) == 5
    assert places.read("a") == b"12345"
    assert files(places) == ["memory/a" if in_memory else "disk/a"]


@pytest.mark.parametrize(
    ("offset", "length", "piece"), [(0, -1, b"12345"), (2, -1, b"345"), (1, 3, b"234"), (0, 0, b""), (5, -1, b"")]
)
def test_range_of_a_block_is_read(places: Places, offset: int, length: int, piece: bytes) -> None:
    places.write("a", [b"12345"], in_memory=True)
    assert places.read("a", offset, length) == piece


def test_block_that_ends_early_is_an_error(places: Places) -> None:
    places.write("a", [b"12345"], in_memory=True)
    with pytest.raises(SparkException, match="ended 2 bytes early"):
        places.read("a", 3, 4)


def test_block_that_is_not_here_is_none(places: Places) -> None:
    assert places.read("a") is None


def test_memory_and_disk_may_be_one_place(tmp_path: Path) -> None:
    places = Places(str(tmp_path), str(tmp_path))
    places.make()
    places.write("a", [b"1"], in_memory=True)
    assert places.read("a") == b"1"


def test_full_disk_is_a_clear_error_and_leaves_nothing(places: Places) -> None:
    """/dev/full stands for the disk: it's where the temporary file of this thread would be."""
    temporary = f"{places.disk}/a.{os.getpid()}.{threading.get_ident()}.tmp"
    os.symlink("/dev/full", temporary)
    with pytest.raises(SparkException, match=f"no space left on {places.disk} for block a: .*spark.local.dir"):
        places.write("a", [b"x" * 100], in_memory=False)
    assert files(places) == []


def test_full_quota_is_a_clear_error_and_leaves_nothing(places: Places) -> None:
    script = """
        import resource, sys
        from headwater.engine.blocks import Places
        from headwater.errors import SparkException
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        places = Places(*sys.argv[1:])
        places.write("small", [b"x" * 5000], in_memory=False)
        try:
            places.write("large", [b"x" * 4000, b"y" * 4000], in_memory=False)
        except SparkException as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), places.memory, places.disk]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert f"no space left on {places.disk} for block large" in done.stdout, done.stderr
    assert files(places) == ["disk/small"]


# ------------------------------------------------------------------------------------------------ the store
class Store:
    """A store of ten bytes of memory, checked after each call; blocks are one letter, filled with it."""

    def __init__(self, places: Places, limit: int = 10) -> None:
        self.places = places
        self.store = BlockStore(places, limit)

    def put(
        self, block: str, size: int, *, disk: bool = False, memory: bool = True, evictable: bool = True
    ) -> list[str]:
        put = self.store.put(block, [block.encode() * size], use_memory=memory, use_disk=disk, evictable=evictable)
        self.store.check()
        return put.dropped

    def holds(self, block: str, size: int) -> bool:
        return self.store.get(block) == block.encode() * size


@pytest.fixture
def store(places: Places) -> Store:
    return Store(places)


def test_store_keeps_what_fits(store: Store) -> None:
    assert store.put("a", 5) == []
    assert store.put("b", 5) == []
    assert store.store.sizes() == (10, 0)
    assert files(store.places) == ["memory/a", "memory/b"]


def test_store_drops_memory_only_blocks_when_it_is_full_the_oldest_first(store: Store) -> None:
    store.put("a", 5)
    store.put("b", 5)
    assert store.put("c", 4) == ["a"]
    assert store.store.get("a") is None
    assert store.holds("b", 5)
    assert store.put("d", 10) == ["b", "c"]
    assert files(store.places) == ["memory/d"]


def test_store_moves_blocks_to_disk_when_they_may_and_keeps_their_content(store: Store) -> None:
    store.put("a", 6, disk=True)
    assert store.put("b", 6, disk=True) == []
    assert store.holds("a", 6)
    assert store.store.get("a", 1, 2) == b"aa"
    assert store.store.sizes() == (6, 6)
    assert files(store.places) == ["disk/a", "memory/b"]


def test_store_keeps_in_memory_what_nothing_could_bring_back(store: Store) -> None:
    store.put("a", 6, evictable=False)
    assert store.put("b", 6, evictable=False) == []
    assert store.holds("a", 6)
    assert store.store.sizes() == (12, 0)


def test_store_passes_over_what_must_stay_when_it_makes_room(store: Store) -> None:
    store.put("a", 5, evictable=False)
    store.put("b", 5)
    assert store.put("c", 5) == ["b"]


def test_store_drops_what_was_used_longest_ago(store: Store) -> None:
    store.put("a", 5)
    store.put("b", 5)
    store.store.used(["a", "unknown"])
    assert store.put("c", 5) == ["b"]


def test_store_writes_to_disk_at_once_what_does_not_fit_into_memory_at_all(store: Store) -> None:
    store.put("a", 5)
    assert store.put("b", 11, disk=True) == []
    assert files(store.places) == ["disk/b", "memory/a"]


def test_store_writes_to_disk_what_must_not_be_in_memory(store: Store) -> None:
    store.put("a", 5, disk=True, memory=False)
    assert store.store.sizes() == (0, 5)
    assert files(store.places) == ["disk/a"]


def test_store_takes_a_block_that_a_worker_wrote(store: Store) -> None:
    store.put("a", 6)
    store.places.write("b", [b"b" * 6], in_memory=True)
    assert store.store.added("b", 6, in_memory=True, use_disk=False, evictable=True) == ["a"]
    store.store.check()


def test_store_counts_a_block_that_is_put_twice_once(store: Store) -> None:
    store.put("a", 6)
    assert store.put("a", 7) == []
    assert store.store.sizes() == (7, 0)
    assert store.holds("a", 7)


@pytest.mark.parametrize("first_in_memory", [True, False])
def test_store_leaves_nothing_of_a_block_that_was_put_into_both_places(store: Store, first_in_memory: bool) -> None:
    store.put("a", 6, disk=True, memory=first_in_memory)
    store.put("a", 7, disk=True, memory=not first_in_memory)
    assert store.holds("a", 7)
    store.store.remove(["a"])
    assert store.store.get("a") is None
    assert files(store.places) == []


def test_store_removes_blocks_wherever_they_are(store: Store) -> None:
    store.put("a", 6, disk=True)
    store.put("b", 6, disk=True)
    store.store.remove(["a", "b", "unknown"])
    store.store.check()
    assert store.store.sizes() == (0, 0)
    assert files(store.places) == []


def test_store_removes_all_blocks_of_a_prefix(store: Store) -> None:
    for block in ("rdd_1_0", "rdd_1_1", "rdd_10_0"):
        store.store.put(block, [b"x"], use_memory=True, use_disk=False, evictable=True)
    store.store.remove_prefix("rdd_1_")
    store.store.check()
    assert files(store.places) == ["memory/rdd_10_0"]


def test_store_knows_the_sizes_of_a_prefix(store: Store) -> None:
    store.store.put("rdd_1_0", [b"12"], use_memory=True, use_disk=False, evictable=True)
    store.store.put("input-0-1", [b"345"], use_memory=False, use_disk=True, evictable=False)
    assert store.store.sizes("rdd_") == (2, 0)
    assert store.store.sizes("input-") == (0, 3)


def test_block_stays_in_memory_when_the_disk_to_which_it_should_move_is_full(store: Store) -> None:
    store.put("a", 6, disk=True)
    temporary = f"{store.places.disk}/a.{os.getpid()}.{threading.get_ident()}.tmp"
    os.symlink("/dev/full", temporary)
    try:
        store.put("b", 6, disk=True)
    except SparkException as error:
        assert "no space left" in str(error)
    store.store.check()
    assert store.holds("a", 6)
    assert store.holds("b", 6)
    assert not os.path.lexists(temporary)


def test_block_that_is_being_read_stays_readable_while_the_store_moves_it(store: Store) -> None:
    """Readers and the store work side by side; a reader finds a block in one place or the other."""
    stop = threading.Event()
    missed = []

    def read() -> None:
        while not stop.is_set():
            if not store.holds("a", 6):
                missed.append("a")

    store.put("a", 6, disk=True)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for _ in range(50):
        store.put("b", 6, disk=True)
        store.store.remove(["b"])
        store.store.remove(["c"])
        store.put("c", 6, disk=True)
    stop.set()
    reader.join()
    assert not missed


letters = st.sampled_from("abcd")
calls = st.lists(
    st.tuples(st.just("put"), letters, st.integers(0, 12), st.booleans(), st.booleans())
    | st.tuples(st.just("remove"), letters)
    | st.tuples(st.just("used"), letters),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(calls)
def test_store_holds_what_was_put_and_neither_dropped_nor_removed(
    tmp_path_factory: pytest.TempPathFactory, calls: list[Any]
) -> None:
    root = tmp_path_factory.mktemp("store")
    store = Store(Places(str(root / "memory"), str(root / "disk")))
    held: dict[str, int] = {}
    for call, block, *more in calls:
        if call == "put":
            size, disk, evictable = more
            held[block] = size
            for dropped in store.put(block, size, disk=disk, evictable=evictable):
                del held[dropped]
        elif call == "remove":
            store.store.remove([block])
            held.pop(block, None)
        else:
            store.store.used([block])
        for name in "abcd":
            assert store.holds(name, held[name]) if name in held else store.store.get(name) is None
    assert sum(store.store.sizes()) == sum(held.values())
