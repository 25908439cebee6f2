"""What the warden reports, in words, and what it is sent; what it does is shown where workers and drivers die."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.engine.warden import signal_text
from tests.engine.applications import MASTERS, running


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL (signal 9)"),
        (-11, "was killed by SIGSEGV (signal 11)"),
        (-63, "was killed by a signal (signal 63)"),
    ],
)
def test_end_of_a_process_is_reported_in_words(status: int, text: str) -> None:
    assert signal_text(status) == text


@pytest.mark.parametrize("master", MASTERS[1:])
def test_workers_get_settings_of_any_length(master: str, tmp_path: Path) -> None:
    """More than a datagram, or a pipe, takes at once."""
    long = {f"spark_executorEnv_LONG{number}": "x" * 110_000 for number in range(4)}
    with running(master, tmp_path, **long) as app:

        def lengths(_partition: int, _records: Any) -> list[int]:
            import os

            return [len(value) for name, value in os.environ.items() if name.startswith("LONG")]

        assert app.result(app.source([1]), lengths) == [[110_000] * 4]
