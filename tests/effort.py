"""How hard the randomised tests look. HEADWATER_EFFORT=5 has them look five times as hard as the default, 1, does."""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("HEADWATER_EFFORT", "1"))


def tries(number: int) -> int:
    """How many random cases to try: a number at the default effort, more at a higher one."""
    return number * EFFORT
