"""The rules of which file belongs to which batch, against what they promise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.filesystem import FileStatus
from headwater.streaming.sources.selection import ByIdentity, ByModificationTime, Listing
from tests.effort import tries

WINDOW_MS = 60_000


def file(path="a", size=1, mtime_ms=0, identity=1):
    return FileStatus(path, size, mtime_ms, identity)


def take(rule, time_ms, *files, gone=()):
    """The paths that a batch takes, once they are marked."""
    found = rule.find(Listing(files, gone), time_ms)
    rule.mark(time_ms, found)
    return [file.path for file in found]


# ------------------------------------------------------------------------------------------------ by modification time
def by_time(ignore_until_ms=10_000, **more):
    return ByModificationTime(ignore_until_ms=ignore_until_ms, window_ms=WINDOW_MS, **more)


@pytest.mark.parametrize(
    ("mtime_ms", "time_ms", "taken"),
    [
        (10_000, 11_000, False),  # in the very millisecond of the stream's construction: before it, as with Spark
        (10_001, 11_000, True),
        (11_000, 11_000, True),
        (11_001, 11_000, False),
        (20_000, 79_999, True),
        (20_000, 80_000, False),  # as old as the window is long
    ],
)
def test_file_is_taken_within_the_bounds_of_its_modification_time(mtime_ms, time_ms, taken) -> None:
    assert take(by_time(), time_ms, file(mtime_ms=mtime_ms)) == (["a"] if taken else [])


def test_files_that_were_not_marked_are_found_again() -> None:
    rule, listing = by_time(), Listing([file(mtime_ms=10_500)])
    assert rule.find(listing, 11_000) == rule.find(listing, 12_000) == [file(mtime_ms=10_500)]


def test_filter_is_asked_with_each_batch_for_what_would_be_taken() -> None:
    asked = []
    rule = by_time(accept=lambda path: asked.append(path) or len(asked) > 1)
    files = file("new", mtime_ms=10_500), file("old", mtime_ms=10_000)
    assert [take(rule, 11_000, *files), take(rule, 12_000, *files)] == [[], ["new"]]
    assert asked == ["new", "new"]


BATCHES = 14
BATCH_MS = 10
times = st.integers(-20, BATCHES * BATCH_MS + 20)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, BATCHES), times), max_size=30),
    st.integers(-20, 40),
    st.integers(1, 6).map(lambda n: n * BATCH_MS),
)
@settings(max_examples=tries(60))
@example([("a", 0, 5), ("a", 3, 30)], 0, 20)
def test_spark_rule_is_its_brute_force_statement_when_settled_files_are_not_listed(
    changes, ignore_until_ms, window_ms
) -> None:
    """`changes`: a path gets a modification time before a batch. Settled files are listed only when they change."""
    rule = ByModificationTime(ignore_until_ms=ignore_until_ms, window_ms=window_ms)
    mtimes: dict[str, int] = {}
    settled: dict[str, int] = {}
    history: dict[str, int] = {}  # path -> the latest batch that took it
    for number in range(BATCHES):
        time_ms = (number + 1) * BATCH_MS
        mtimes |= {path: mtime for path, before, mtime in changes if before == number}
        expected = sorted(
            path
            for path, mtime in mtimes.items()
            if mtime > ignore_until_ms
            and time_ms - window_ms < mtime <= time_ms
            and not (path in history and history[path] > time_ms - window_ms)
        )
        listed = [file(path, mtime_ms=mtime) for path, mtime in mtimes.items() if settled.get(path) != mtime]
        assert take(rule, time_ms, *listed) == expected
        history |= dict.fromkeys(expected, time_ms)
        for each in listed:
            settled.pop(each.path, None)
            if rule.is_settled(each):
                settled[each.path] = each.mtime_ms


# ------------------------------------------------------------------------------------------------ by identity
def by_identity(*ignore, stable_ms=2000, **more):
    return ByIdentity(ignore=ignore, window_ms=WINDOW_MS, stable_ms=stable_ms, **more)


def test_file_is_taken_once_it_has_not_changed_for_the_stability_duration() -> None:
    rule = by_identity()
    batches = [(1000, 5), (2000, 9), (3000, 9), (4000, 9), (5000, 9)]
    taken = [take(rule, time, file(size=size, mtime_ms=time + 7000)) for time, size in batches[:2]]
    taken += [take(rule, time, file(size=size, mtime_ms=9000)) for time, size in batches[1:]]
    assert taken == [[], [], [], [], ["a"], []]


@pytest.mark.parametrize("mtime_ms", [-1, 0, 7999, 8000])
def test_back_dated_file_is_taken_at_first_sight(mtime_ms) -> None:
    assert take(by_identity(), 10_000, file(mtime_ms=mtime_ms)) == ["a"]


def test_file_from_the_future_is_taken_when_it_has_been_seen_twice() -> None:
    rule, ahead = by_identity(), file(mtime_ms=10**9)
    assert [take(rule, time, ahead) for time in (1000, 2000, 3000, 4000)] == [[], [], ["a"], []]


def test_without_a_stability_duration_two_listings_must_agree_or_the_file_is_not_from_the_future() -> None:
    rule = by_identity(stable_ms=0)
    assert take(rule, 1000, file("past", mtime_ms=1000), file("future", mtime_ms=1001)) == ["past"]
    assert take(rule, 1010, file("future", mtime_ms=5000)) == []
    assert take(rule, 1020, file("future", mtime_ms=5000)) == ["future"]


@pytest.mark.parametrize("name", ["a.tmp", "a._COPYING_", "a.part", "a~", "a.crdownload"])
def test_temporary_name_is_settled_and_never_taken(name) -> None:
    rule = by_identity()
    assert take(rule, 10_000, file(name)) == []
    assert rule.is_settled(file(name))
    assert take(rule, 20_000, file("a"), gone=[name]) == ["a"]


def test_empty_file_is_taken_when_it_is_filled() -> None:
    rule = by_identity()
    assert [take(rule, time, file(size=size)) for time, size in [(10_000, 0), (20_000, 0), (30_000, 3)]] == [
        [], [], ["a"]
    ]  # fmt: skip


TAKEN = file(size=10, mtime_ms=1000)


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        ({"mtime_ms": 5000}, False),  # a touch
        ({"size": 12, "mtime_ms": 5000}, False),  # something was appended
        ({"size": 9, "mtime_ms": 5000}, True),  # written anew in place
        ({"identity": 2}, True),  # another file was renamed over it
        ({"identity": 2, "mtime_ms": 5000}, True),
    ],
)
def test_data_of_a_taken_path_is_new_when_the_file_is_another(change, is_new) -> None:
    rule = by_identity()
    assert take(rule, 10_000, TAKEN) == ["a"]
    changed = replace(TAKEN, **change)
    assert [take(rule, time, changed) for time in (20_000, 30_000)] == [["a"] if is_new else [], []]


@pytest.mark.parametrize(
    ("before", "after", "is_new"),
    [
        (file(identity="e1"), file(identity="e1", mtime_ms=5000), False),
        (file(identity="e1"), file(identity="e2"), True),
        (file(identity=None), file(identity=None), False),
        (file(identity=None), file(identity=None, mtime_ms=5000), True),
        (file(identity=None), file(identity=None, size=2), True),
    ],
)
def test_data_of_an_object_is_new_when_its_etag_or_else_size_or_time_differs(before, after, is_new) -> None:
    rule = by_identity()
    assert take(rule, 10_000, before) == ["a"]
    assert take(rule, 20_000, after) == (["a"] if is_new else [])


def test_append_to_a_taken_file_is_warned_of(caplog) -> None:
    rule = by_identity()
    take(rule, 10_000, TAKEN)
    take(rule, 20_000, replace(TAKEN, size=12))
    take(rule, 30_000, replace(TAKEN, size=12))
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "a grew from 10 to 12 bytes after it was taken"
    ]


def test_file_that_was_truncated_is_new_when_it_is_filled_again() -> None:
    rule = by_identity()
    sizes = [(10_000, 10), (20_000, 0), (30_000, 10)]
    files = [(time, replace(TAKEN, size=size, mtime_ms=time - 5000)) for time, size in sizes]
    assert [take(rule, time, file) for time, file in files] == [["a"], [], ["a"]]


def test_old_file_is_not_taken_unless_it_grows_or_is_replaced() -> None:
    rule = by_identity(file("old"), file("growing", identity=2), file("replaced", identity=3))
    assert take(rule, 10_000, file("old"), file("growing", identity=2)) == []
    changed = file("old", mtime_ms=9), file("growing", size=2, identity=2), file("replaced", identity=4)
    assert take(rule, 20_000, *changed) == ["growing", "replaced"]


def test_file_that_was_renamed_within_the_directory_is_not_taken_again() -> None:
    rule = by_identity()
    assert take(rule, 10_000, file("log", identity=7)) == ["log"]
    assert take(rule, 20_000, file("log.1", identity=7), gone=["log"]) == []
    assert take(rule, 30_000, file("log", identity=7, mtime_ms=20_500)) == ["log"]  # another file got the inode


def test_file_that_comes_back_is_taken_again_only_if_it_is_another() -> None:
    rule = by_identity()
    assert take(rule, 10_000, file()) == ["a"]
    assert take(rule, 11_000, gone=["a"]) == []
    assert take(rule, 12_000, file()) == []
    assert take(rule, 13_000, gone=["a"]) == []
    assert take(rule, 20_000, file(mtime_ms=13_500)) == ["a"]  # same size, and the inode was given out again


def test_files_that_have_left_are_forgotten_after_the_window() -> None:
    rule = by_identity()
    take(rule, 10_000, file("taken"), file("pending", mtime_ms=9_999, identity=2))
    take(rule, 11_000, gone=["taken", "pending"])
    assert take(rule, 11_000 + WINDOW_MS, file("taken")) == ["taken"]
    assert take(rule, 200_000, gone=["taken"]) == []
    assert take(rule, 200_000 + WINDOW_MS) == []
    assert rule.remembered() == 0


def test_files_that_were_not_marked_by_identity_are_found_again() -> None:
    rule, listing = by_identity(), Listing([file()])
    assert rule.find(listing, 10_000) == rule.find(listing, 11_000) == [file()]


# ------------------------------------------------------------------------------------------------ exactly once
@dataclass
class Directory:
    """A model of a directory: complete files, those that are still written, and what was taken of them."""

    now_ms: int = 0
    inodes: int = 0
    files: dict[str, FileStatus] = field(default_factory=dict)
    growing: dict[str, tuple[int, int]] = field(default_factory=dict)  # path -> (final size, modification time then)
    complete: list[int] = field(default_factory=list)  # inodes
    moved: set[int] = field(default_factory=set)  # inodes; of a file that is renamed and touched nobody can tell

    def create(self, name, size, mtime_ms):
        """A file that is complete at once: renamed in, perhaps over another one."""
        self.inodes += 1
        self.growing.pop(name, None)
        self.files[name] = FileStatus(name, size, mtime_ms, self.inodes)
        self.complete.append(self.inodes)

    def begin(self, name, size, mtime_ms):
        """A file that is written in place."""
        if name in self.files:
            return
        self.inodes += 1
        self.files[name] = FileStatus(name, 0, self.now_ms, self.inodes)
        self.growing[name] = (size, mtime_ms)

    def touch(self, name, mtime_ms):
        if name in self.files and name not in self.growing and self._move(name):
            self.files[name] = replace(self.files[name], mtime_ms=mtime_ms)

    def rename(self, name, other):
        if name in self.files and name not in self.growing and self._move(name):
            self.growing.pop(other, None)
            self.files[other] = replace(self.files.pop(name), path=other)

    def _move(self, name):
        inode = self.files[name].identity
        first = inode not in self.moved
        self.moved.add(inode)
        return first

    def write(self):
        """Each file that is written grows, by a write that changes its modification time too."""
        self.moved.clear()
        for name, (size, mtime_ms) in list(self.growing.items()):
            before = self.files[name]
            if before.size + 1 < size:
                self.files[name] = replace(before, size=before.size + 1, mtime_ms=self.now_ms)
            else:
                self.files[name] = replace(before, size=size, mtime_ms=mtime_ms)
                self.complete.append(before.identity)
                del self.growing[name]


names = st.sampled_from(["a", "b", "c", "d"])
mtimes = st.integers(-5000, 200_000)
step = st.one_of(
    st.tuples(st.just("create"), names, st.integers(1, 5), mtimes),
    st.tuples(st.just("begin"), names, st.integers(1, 5), mtimes),
    st.tuples(st.just("touch"), names, mtimes),
    st.tuples(st.just("rename"), names, names),
    st.just(("pass",)),
)


@given(st.lists(st.lists(step, max_size=3), max_size=25))
@settings(max_examples=tries(100))
@example([[("create", "a", 1, 0)], [("rename", "a", "b")], [("create", "a", 1, 99_000)], [("touch", "b", 50_000)]])
def test_every_complete_file_is_taken_exactly_once_whatever_its_times(history) -> None:
    """Files arrive, grow, are touched, renamed and replaced between batches. Of a file that was replaced before it
    could be known to be complete nothing is asked but that it isn't taken twice."""
    directory, rule, batch_ms = Directory(), by_identity(stable_ms=1000), 1000
    taken: list[int] = []
    listed: set[str] = set()
    settled: dict[str, FileStatus] = {}
    quiet = [[("pass",)]] * 8  # at last whatever is written is completed, and nothing changes
    for number, steps in enumerate([*history, *quiet]):
        for kind, *arguments in steps:
            if kind != "pass":
                getattr(directory, kind)(*arguments)
        directory.now_ms = (number + 1) * batch_ms - 1
        directory.write()
        time_ms = (number + 1) * batch_ms
        gone = sorted(listed - directory.files.keys())
        found = rule.find(
            Listing([status for path, status in directory.files.items() if settled.get(path) != status], gone), time_ms
        )
        for status in found:
            assert status.path not in directory.growing, "taken before it was complete"
            taken.append(status.identity)
        rule.mark(time_ms, found)
        rule.check()
        listed = set(directory.files)
        settled = {path: status for path, status in directory.files.items() if rule.is_settled(status)}
    assert len(taken) == len(set(taken)), "taken twice"
    assert set(taken) <= set(directory.complete)
    assert {status.identity for status in directory.files.values()} <= set(taken)


def test_file_that_is_taken_back_late_leaves_the_one_that_has_taken_its_place_to_its_batch() -> None:
    rule = by_identity(stable_ms=0)
    damaged, whole = file(size=5, identity=1), file(size=9, identity=2)
    assert take(rule, 1000, damaged) == ["a"]
    assert take(rule, 2000, whole) == ["a"]
    rule.take_back(damaged)  # what the tasks of the first batch say is heard now
    assert take(rule, 3000, whole) == []
    rule.take_back(whole)
    assert take(rule, 4000, whole) == ["a"]
