"""What every backend promises to the application, asked of each: see `headwater.engine.backend`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.beds import KINDS, Bed


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bed(kind: str, tmp_path: Path, no_context: None) -> Iterator[Bed]:
    """Processes are counted here: no other application may have any."""
    bed = Bed(kind, tmp_path)
    yield bed
    bed.backend.stop()
