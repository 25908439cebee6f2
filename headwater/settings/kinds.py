"""The kinds of values that settings have: how a text becomes one, and what is said of a text that doesn't.

Below the settings a duration is `int` milliseconds and a size `int` bytes, whatever unit its text is written in.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

_DURATIONS_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES_BYTES = {"b": 1} | {
    name: 1024**power for power, unit in enumerate("kmgtp", start=1) for name in (unit, f"{unit}b")
}
_NUMBER_AND_UNIT = re.compile(r"(\d+)\s*([a-z]*)")


class Kind(ABC):
    """What the value of a setting is."""

    unset: ClassVar[Any] = None  # the value of a setting without text or default

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value of a text without white space around it; None: it's no such value."""

    @abstractmethod
    def accepts(self) -> str:
        """What a valid text looks like, as the end of "is not ..."."""

    @abstractmethod
    def described(self) -> str:
        """The kind in a word or two, for the docs."""


@dataclass(frozen=True)
class Text(Kind):
    """`str`; one of `choices`, in any case of letters, if there are some."""

    choices: tuple[str, ...] = ()
    unset: ClassVar[Any] = ""

    def parse(self, text: str) -> str | None:
        if not self.choices:
            return text
        return next((choice for choice in self.choices if choice.lower() == text.lower()), None)

    def accepts(self) -> str:
        return "one of " + ", ".join(self.choices)

    def described(self) -> str:
        return ", ".join(f"`{choice}`" for choice in self.choices) or "string"


@dataclass(frozen=True)
class Boolean(Kind):
    """`bool`."""

    def parse(self, text: str) -> bool | None:
        return {"true": True, "false": False}.get(text.lower())

    def accepts(self) -> str:
        return "a boolean: true or false"

    def described(self) -> str:
        return "boolean"


@dataclass(frozen=True)
class Integer(Kind):
    """`int`."""

    least: int = 0

    def parse(self, text: str) -> int | None:
        value = int(text) if re.fullmatch(r"[+-]?\d+", text) else None
        return value if value is not None and value >= self.least else None

    def accepts(self) -> str:
        return f"an integer of at least {self.least}"

    def described(self) -> str:
        return "integer"


@dataclass(frozen=True)
class Number(Kind):
    """`float`."""

    least: float = 0

    def parse(self, text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if self.least <= value < float("inf") else None

    def accepts(self) -> str:
        return f"a number of at least {self.least:g}"

    def described(self) -> str:
        return "number"


class _Quantity(Kind):
    """A whole number with a unit."""

    unit: str  # of a number without one
    least: int
    units: ClassVar[Mapping[str, float]]

    def parse(self, text: str) -> int | None:
        match = _NUMBER_AND_UNIT.fullmatch(text.lower())
        factor = None if match is None else self.units.get(match[2] or self.unit)
        if match is None or factor is None:
            return None
        value = int(int(match[1]) * factor)
        return value if value >= self.least else None


@dataclass(frozen=True)
class Duration(_Quantity):
    """`int`, milliseconds, as `least` is."""

    unit: str = "ms"
    least: int = 0
    units: ClassVar[Mapping[str, float]] = _DURATIONS_MS

    def accepts(self) -> str:
        return f"a duration: a whole number of us, ms, s, m, min, h or d (alone it counts {self.unit}), such as 30s"

    def described(self) -> str:
        return f"duration ({self.unit})"


@dataclass(frozen=True)
class Size(_Quantity):
    """`int`, bytes, as `least` is."""

    unit: str = "b"
    least: int = 0
    units: ClassVar[Mapping[str, float]] = _SIZES_BYTES

    def accepts(self) -> str:
        return f"a size: a whole number of b, k, m, g, t or p (alone it counts {self.unit}), such as 512m"

    def described(self) -> str:
        return f"size ({self.unit})"


@dataclass(frozen=True)
class Pattern(Kind):
    """`re.Pattern[str]`."""

    def parse(self, text: str) -> re.Pattern[str] | None:
        try:
            return re.compile(text)
        except re.error:
            return None

    def accepts(self) -> str:
        return "a regular expression"

    def described(self) -> str:
        return "regular expression"
