"""A started context's receivers: the settings that they are launched with. What they do is in receivers/."""

from __future__ import annotations

import pytest

from headwater import SparkConf
from headwater.streaming.receiving import block_interval_ms


@pytest.mark.parametrize(
    ("setting", "batch_ms", "cores", "interval_ms"),
    [(None, 1000, 2, 250), (None, 1000, 5, 200), ("300ms", 1000, 2, 300), (None, 1, 4, 1), (None, 300, 1, 150)],
)
def test_block_interval_is_the_settings_or_suits_batches_and_cores(
    setting: str | None, batch_ms: int, cores: int, interval_ms: int
) -> None:
    conf = SparkConf(loadDefaults=False)
    if setting is not None:
        conf.set("spark.streaming.blockInterval", setting)
    assert block_interval_ms(conf, batch_ms, cores) == interval_ms
