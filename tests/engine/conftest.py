"""An application on each of the masters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.applications import MASTERS, App, running


@pytest.fixture(params=MASTERS)
def master(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(master: str, tmp_path: Path) -> Iterator[App]:
    with running(master, tmp_path / "scratch") as app:
        yield app
