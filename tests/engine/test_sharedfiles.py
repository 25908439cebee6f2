from __future__ import annotations

from pathlib import Path

from headwater.engine.sharedfiles import SharedFiles
from tests.engine.told import Fixed, Told


def test_file_reaches_executors_that_are_there_and_those_to_come(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"one two")
    backend = Fixed("a", "b")
    files = SharedFiles(backend)
    files.add("words.txt", str(tmp_path / "words.txt"), importable=False)
    (tmp_path / "words.txt").write_bytes(b"changed since")
    newcomer = Told()
    files.send_to(newcomer.handle)
    for told in (*backend.told.values(), newcomer):
        assert told.taken() == [("add_file", "words.txt", b"one two", False)]


def test_directory_is_shared_with_all_that_is_below_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "deeper").mkdir(parents=True)
    (tmp_path / "data" / "first").write_bytes(b"1")
    (tmp_path / "data" / "deeper" / "second").write_bytes(b"2")
    backend = Fixed("a")
    SharedFiles(backend).add("data", str(tmp_path / "data"), importable=True)
    assert sorted(backend.told["a"].taken()) == [
        ("add_file", "data/deeper/second", b"2", True),
        ("add_file", "data/first", b"1", True),
    ]
