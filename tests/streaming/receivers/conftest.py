"""The servers that receivers talk to; each test has a context of its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _alone(no_context: None) -> None:
    """No context lives before and after."""
