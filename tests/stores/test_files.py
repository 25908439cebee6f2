"""Files of each store, as RDDs read and write them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headwater import SparkContext, filesystem
from headwater.errors import SparkException
from headwater.filesystem import FileAlreadyExistsException, InvalidInputException, OutputDirectory, RemoteFileSystem
from tests.servers.stores import Store


def write(path: str, content: bytes) -> None:
    """A file; its directory is made where there are directories."""
    system, directory = filesystem.resolve(os.path.dirname(path))
    if system.renames and not system.exists(directory):
        system.make_directory(directory)
    filesystem.write_whole(path, content)


def names(place: str, pattern: str) -> list[str]:
    return [file.path.removeprefix(place) for file in filesystem.list_files(place + pattern)]


def test_text_is_read_as_it_was_saved(sc: SparkContext, place: str) -> None:
    lines = [f"line {number} \u00e4" for number in range(200)]
    sc.parallelize(lines, 3).saveAsTextFile(f"{place}/out")
    assert names(place, "/out") == ["/out/part-00000", "/out/part-00001", "/out/part-00002"]
    assert filesystem.exists(f"{place}/out/_SUCCESS")
    assert not filesystem.exists(f"{place}/out/_temporary")
    assert sc.textFile(f"{place}/out").collect() == lines
    assert sc.textFile(f"{place}/out/part-0000[02]", 4).count() == 134 - 1
    whole = dict(sc.wholeTextFiles(f"{place}/out").collect())
    assert list(whole) == [f"{place}/out/part-0000{n}" for n in range(3)]
    assert "".join(whole.values()).splitlines() == lines


def test_compressed_text_is_read_as_it_was_saved(sc: SparkContext, place: str) -> None:
    codec = "org.apache.hadoop.io.compress.GzipCodec"
    sc.parallelize(["a", "b", "c"], 2).saveAsTextFile(f"{place}/out", codec)
    assert names(place, "/out") == ["/out/part-00000.gz", "/out/part-00001.gz"]
    assert sc.textFile(f"{place}/out").collect() == ["a", "b", "c"]


def test_pickled_records_are_read_as_they_were_saved(sc: SparkContext, place: str) -> None:
    records = [(number, {"half": number / 2}) for number in range(100)]
    sc.parallelize(records, 2).saveAsPickleFile(f"{place}/out")
    assert sc.pickleFile(f"{place}/out").collect() == records


def test_large_file_is_split_and_read_in_ranges(sc: SparkContext, place: str) -> None:
    lines = [f"{number:099d}" for number in range(32_000)]
    write(f"{place}/in/large", "\n".join(lines).encode())
    rdd = sc.textFile(f"{place}/in/large", 4)
    assert rdd.getNumPartitions() == 4
    assert rdd.collect() == lines


def test_output_of_a_failed_job_is_absent(sc: SparkContext, place: str) -> None:
    def fail_late(number: int) -> int:
        if number == 9:
            raise ValueError("nine")
        return number

    with pytest.raises(ValueError, match="nine"):
        sc.parallelize(range(10), 2).map(fail_late).saveAsTextFile(f"{place}/out")
    assert not filesystem.exists(f"{place}/out/_SUCCESS")
    assert not filesystem.exists(f"{place}/out")


def test_output_directory_that_exists_is_refused(sc: SparkContext, place: str) -> None:
    write(f"{place}/out/part-00000", b"old")
    with pytest.raises(FileAlreadyExistsException, match=f"Output directory {place}/out already exists"):
        sc.parallelize(["new"]).saveAsTextFile(f"{place}/out")
    assert sc.textFile(f"{place}/out").collect() == ["old"]


def test_output_of_a_second_attempt_replaces_the_first(place: str) -> None:
    output = OutputDirectory(f"{place}/out")
    output.prepare()
    for attempt in (0, 1):
        with filesystem.open_write(output.task_path(7, attempt)) as file:
            file.write(b"attempt %d" % attempt)
        output.commit_task(7, attempt)
    output.commit()
    with filesystem.open_read(f"{place}/out/part-00007") as part:
        assert part.read() == b"attempt 1"


def test_globs_braces_and_commas_choose_files(place: str) -> None:
    for name in ("1/a.txt", "1/b.txt", "2/a.txt", "2/c.csv", "3/d.txt", "3/_d.txt"):
        write(f"{place}/{name}", b"x")
    assert names(place, "/*/*.txt") == ["/1/a.txt", "/1/b.txt", "/2/a.txt", "/3/d.txt"]
    assert names(place, "/{1,3}/[^b]*") == ["/1/a.txt", "/3/d.txt"]
    assert names(place, f"/2/?.csv,{place}/1") == ["/2/c.csv", "/1/a.txt", "/1/b.txt"]
    assert filesystem.expand(f"{place}/*") == [f"{place}/{name}" for name in (1, 2, 3)]


def test_names_with_blanks_and_signs_lead_to_their_files(sc: SparkContext, place: str) -> None:
    for name in ("a b.txt", "100%25 +1.txt", "\u00fcber=1&2.txt"):
        write(f"{place}/in/{name}", name.encode())
        assert sc.textFile(f"{place}/in/{name}").collect() == [name]
    assert len(names(place, "/in")) == 3


def test_missing_input_is_told_by_its_url(sc: SparkContext, place: str) -> None:
    with pytest.raises(SparkException, match=f"Input path does not exist: {place}/no"):
        sc.textFile(f"{place}/no").collect()
    with pytest.raises(InvalidInputException, match=f"Input path does not exist: {place}/no"):
        filesystem.open_read(f"{place}/no")


def test_file_tells_its_size_its_time_and_another_identity_when_it_is_replaced(place: str) -> None:
    write(f"{place}/in/a", b"one")
    (before,) = filesystem.list_files(f"{place}/in")
    write(f"{place}/in/a", b"two")
    (after,) = filesystem.list_files(f"{place}/in")
    assert (before.size, after.size) == (3, 3)
    assert before.mtime_ms > 1_600_000_000_000
    assert (after.identity, after.mtime_ms) != (before.identity, before.mtime_ms)


def test_rename_moves_a_file_over_another_one(place: str) -> None:
    write(f"{place}/in/a", b"new")
    write(f"{place}/in/b", b"old")
    system, source = filesystem.resolve(f"{place}/in/a")
    system.rename(source, f"{place}/in/b")
    assert names(place, "/in") == ["/in/b"]
    with filesystem.open_raw(f"{place}/in/b") as file:
        assert file.read() == b"new"


def test_file_that_is_replaced_is_there_at_any_moment(place: str) -> None:
    write(f"{place}/a", b"0")

    def replace() -> None:
        for number in range(1, 4):
            filesystem.write_whole(f"{place}/a", b"%d" % number)

    with ThreadPoolExecutor(1) as aside:
        replacing = aside.submit(replace)
        while not replacing.done():
            assert filesystem.exists(f"{place}/a")
        replacing.result()
    with filesystem.open_read(f"{place}/a") as file:
        assert file.read() == b"3"


def test_of_many_that_create_a_file_at_once_one_does(place: str) -> None:
    write(f"{place}/beside", b"x")
    start = threading.Barrier(8)

    def create(number: int) -> int | None:
        start.wait()
        try:
            RemoteFileSystem(place).create(f"{place}/a", b"%d" % number)
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as aside:
        (created,) = {number for number in aside.map(create, range(8)) if number is not None}
    with filesystem.open_read(f"{place}/a") as file:
        assert file.read() == b"%d" % created
    assert sorted(names(place, "")) == ["/a", "/beside"]


def test_file_that_was_created_though_the_answer_got_lost_is_created(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"{place}/beside", b"x")
    system = RemoteFileSystem(place)
    step = "pipe_file" if "hdfs" not in place else "mv"
    done = getattr(type(system._driver), step)
    answers = iter([False, True])

    def lose_the_first_answer(driver: object, *arguments: object, **options: object) -> None:
        done(driver, *arguments, **options)
        if not next(answers):
            raise ConnectionResetError("no answer")

    monkeypatch.setattr(type(system._driver), step, lose_the_first_answer)
    system.create(f"{place}/a", b"1")
    with filesystem.open_read(f"{place}/a") as file:
        assert file.read() == b"1"


def test_removal_takes_a_directory_with_all_in_it_and_nothing_beside_it(place: str) -> None:
    for name in ("in/a", "in/deep/b", "in2/c"):
        write(f"{place}/{name}", b"x")
    filesystem.remove(f"{place}/in")
    filesystem.remove(f"{place}/in")
    assert not filesystem.exists(f"{place}/in")
    assert names(place, "/in2") == ["/in2/c"]


def test_place_is_spelled_as_users_do(sc: SparkContext, store: Store, place: str) -> None:
    write(f"{place}/in/a", b"found")
    for spelling in store.spellings:
        url = f"{spelling}{place.removeprefix(store.root)}"
        assert sc.textFile(f"{url}/in/*").collect() == ["found"], url
        assert [file.path for file in filesystem.list_files(f"{url}/in")] == [filesystem.qualify(f"{url}/in/a")]
        sc.parallelize([url]).saveAsTextFile(f"{url}/out")
        assert sc.textFile(f"{place}/out").collect() == [url]
        filesystem.remove(f"{url}/out")
