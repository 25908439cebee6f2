"""What Spark Streaming has and Headwater not yet says so."""

from __future__ import annotations

import pytest

from headwater import SparkContext
from headwater.streaming import DStream, StreamingContext
from headwater.streaming.notyet import OF_DSTREAM


@pytest.fixture
def ssc(sc: SparkContext) -> StreamingContext:
    return StreamingContext(sc, 1)


@pytest.mark.parametrize("name", OF_DSTREAM)
def test_stream_says_what_comes_later(ssc: StreamingContext, name: str) -> None:
    stream = ssc.queueStream([])
    with pytest.raises(AttributeError, match=f"DStream.{name} is not there yet: it comes with"):
        getattr(stream, name)


def test_nothing_that_is_there_is_listed_as_missing() -> None:
    assert not [name for name in OF_DSTREAM if hasattr(DStream, name)]


def test_an_unknown_attribute_is_just_unknown(ssc: StreamingContext) -> None:
    with pytest.raises(AttributeError, match="'StreamingContext' object has no attribute 'windw'"):
        ssc.windw  # noqa: B018
