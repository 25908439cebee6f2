"""What the warden reports, in words; what it does is shown where workers, executors and drivers die."""

from __future__ import annotations

import pytest

from headwater.engine.warden import signal_text


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
def test_end_of_a_process_is_told_in_words(status: int, text: str) -> None:
    assert signal_text(status) == text
