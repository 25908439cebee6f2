"""The page of all settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from headwater.settings.page import page
from headwater.settings.table import SETTINGS

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "configuration.md"


def test_documentation_is_generated_from_the_table() -> None:
    assert PAGE.read_text() == page(), "run: python -m headwater.settings > docs/reference/configuration.md"


def test_page_is_what_the_module_prints() -> None:
    command = [sys.executable, "-m", "headwater.settings"]
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout == page()


def test_page_has_a_row_for_each_setting() -> None:
    keys = [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")]
    assert keys == list(SETTINGS)


def test_row_says_kind_default_standing_and_meaning() -> None:
    rows = {line.split("`")[1]: line for line in page().splitlines() if line.startswith("| `")}
    assert rows["spark.speculation.interval"] == (
        "| `spark.speculation.interval` | duration (ms) | `100ms` | no effect | How often to look for slow tasks. |"
    )
    assert "| size (b) | 0.5 × `spark.executor.memory` |" in rows["headwater.streaming.receiver.memoryLimit"]
    assert "| integer | no limit |" in rows["spark.cores.max"]
    assert rows["spark.streaming.fileStream.minRememberDuration"].endswith(
        " Older name: `spark.streaming.minRememberDuration`. |"
    )
