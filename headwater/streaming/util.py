"""Small things that PySpark offers to streaming programs."""

from __future__ import annotations

from datetime import datetime

from headwater.streaming.durations import instant_ms
from headwater.streaming.outputs.saving import batch_path

__all__ = ["rddToFileName"]


def rddToFileName(prefix: str, suffix: str | None, timestamp: datetime | int) -> str:
    """The path that `saveAsTextFiles` and its like give to a batch.

    Args:
        prefix: the path up to the time.
        suffix: what follows the time after a dot, or None.
        timestamp: the batch time, as output functions get it, or in milliseconds.

    >>> rddToFileName("counts", None, 12345678910), rddToFileName("counts", "txt", 12345678910)
    ('counts-12345678910', 'counts-12345678910.txt')
    """
    return batch_path(prefix, suffix, timestamp if isinstance(timestamp, int) else instant_ms(timestamp))
