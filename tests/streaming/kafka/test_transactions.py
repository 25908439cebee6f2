"""Notes of what an output's partition has written; pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.streaming.kafka.transactions import NOTE_CHARACTERS_MAX, NOTHING_WRITTEN, PartitionBatch, TransactionNote

TIMES = st.integers(0, 2**42)


@given(st.integers(0, 10_000), st.integers(-1, 2**42), st.sets(st.integers(1, 2**20), max_size=50))
def test_note_is_read_as_it_was_written(partitions: int, floor_ms: int, above_ms: set[int]) -> None:
    note = TransactionNote(partitions, floor_ms, tuple(sorted(floor_ms + each for each in above_ms)))
    assert TransactionNote.of_text(note.text()) == note


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_note_knows_the_batches_that_were_written_and_no_others(succeeds: list[bool]) -> None:
    note, failed = NOTHING_WRITTEN, list[int]()
    for time_ms, well in enumerate(succeeds, start=1000):
        if not well:
            failed.append(time_ms)
            continue
        note = note.after(PartitionBatch(time_ms, min([time_ms, *failed]) - 1, 2))
    written = [time_ms for time_ms in range(1000, 1000 + len(succeeds)) if note.has(time_ms)]
    # The failed ones at the end come after the last note.
    assert [time_ms for time_ms in written if time_ms in failed] == []
    assert set(range(1000, 1000 + len(succeeds))) == {*written, *failed}
    assert len(note.written) <= 1 + len([t for t in written if failed and t > failed[0]])


def test_note_behind_two_hundred_batches_of_which_the_first_failed_has_room() -> None:
    note = NOTHING_WRITTEN
    for number in range(200):
        note = note.after(PartitionBatch(1_700_000_000_000 + number * 500, 1_699_999_999_999, 4))
    assert len(note.text()) < NOTE_CHARACTERS_MAX / 2
