"""What programs test their streams with: a harness that lets batches pass one by one, and a clock that stands still."""

from __future__ import annotations

from headwater.clock import ManualClock
from headwater.testing.harness import StreamHarness

__all__ = ["ManualClock", "StreamHarness"]
