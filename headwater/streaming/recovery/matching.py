"""Which streams of a new program go on with what a checkpoint holds.

A stream has the uid that the program gave it, or else one by its position. A uid of the program's own is its word. A
position is none: after a change of the program another stream may stand there, so what stood there has to have been of
the same source; if it wasn't, input would be left out, or a state mixed with another one, without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from headwater.errors import SparkException

logger = logging.getLogger("headwater.streaming.recovery")

#: What a stream is, and of what: ("file stream of", "file:/in").
Source = Sequence[str]


def check(before: Mapping[str, Source], now: Mapping[str, Source], unnamed: Collection[str], *, refuses: bool) -> None:
    """See to it that streams of a new program may take over what a checkpoint holds for those of their uids.

    Args:
        before: the checkpoint's streams, by uid.
        now: the program's.
        unnamed: the uids that the program's streams have by position.
        refuses: whether a stream at the position of another one is an error, or only warned about.

    Raises:
        SparkException: a position has another stream now, or a uid one of another kind.
    """
    for uid in [uid for uid in now if uid in before]:
        was, is_now = before[uid], now[uid]
        if list(was) == list(is_now):
            continue
        changed = f"the stream {uid!r} was the {_text(was)} in the checkpoint, and is the {_text(is_now)} now"
        if uid in unnamed:
            text = f"{changed}: {_position(uid, was, now)}"
            if refuses:
                raise SparkException(
                    f"{text} To go on by position all the same, set headwater.streaming.recovery.positionalMatch=warn."
                )
            logger.warning("%s", text)
        elif was[0] != is_now[0]:
            raise SparkException(f"{changed}: what is kept of one kind can't be another's. Give it another uid.")
        else:
            logger.warning("%s: as its uid says, it goes on with what was kept of that", changed)


def report(before: Mapping[str, Source], now: Mapping[str, Source]) -> None:
    """Log which streams of a checkpoint go on, which are new, and which are left."""
    for what, uids in (
        ("taken over from the checkpoint", [uid for uid in now if uid in before]),
        ("new, from the first batch on", [uid for uid in now if uid not in before]),
        ("left, as the program doesn't have them", [uid for uid in before if uid not in now]),
    ):
        if uids:
            logger.info("Streams %s: %s", what, _listed(uids, {**before, **now}))


def _position(uid: str, was: Source, now: Mapping[str, Source]) -> str:
    """What to do about a position that has another stream."""
    moved = next((other for other, source in now.items() if list(source) == list(was)), None)
    where = "the stream that is to go on with that" if moved is None else f"the stream that has this source, {moved!r},"
    return (
        "it stands at that position and has no uid, and what came meanwhile for the other one would be lost. Give "
        f'{where} .uid("{uid}"), and all others uids of their own.'
    )


def _listed(uids: Iterable[str], sources: Mapping[str, Source]) -> str:
    return "; ".join(f"{uid} ({_text(sources[uid])})" for uid in uids)


def _text(source: Source) -> str:
    return " ".join(source)
