"""An application on each of the masters; surroundings for tasks without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.applications import MASTERS, App, running
from tests.engine.tasks import Surroundings


@pytest.fixture(params=MASTERS)
def master(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(master: str, tmp_path: Path) -> Iterator[App]:
    with running(master, tmp_path / "scratch") as app:
        yield app


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)
