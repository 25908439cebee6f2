"""A setting: one row of the table of configuration keys, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from headwater.errors import IllegalArgumentException
from headwater.settings.kinds import Kind


class Standing(Enum):
    """What becomes of a setting; the values are for the docs."""

    IN_FORCE = "in force"  # something reads it
    NO_EFFECT = "no effect"  # it asks for what this version doesn't do: a context in which it is set warns
    ACCEPTED = "accepted"  # nothing is missing without it: there is nothing here that it could mean
    REFUSED = "refused"  # it asks for what isn't there and can't be done without: setting it raises


@dataclass(frozen=True)
class Setting:
    """One configuration key. A key that ends in `.*` stands for all that begin so.

    An empty `default` means that nothing is set: then a reader gets `share` times the setting `same_as`, if one is
    named, else the kind's `unset`, and `absent` says what the engine does.
    """

    key: str
    kind: Kind
    default: str
    meaning: str  # of an accepted or refused one: why
    absent: str = ""  # for the docs: what an empty default means
    same_as: str = ""
    share: float = 1.0
    aliases: tuple[str, ...] = ()  # older names of the key
    harmless: tuple[str, ...] = ("", "false")  # values, in any case of letters, that a refused setting may have
    standing: Standing = Standing.IN_FORCE

    def parse(self, text: str) -> Any:
        """The typed value of a text; None for an empty one where nothing is set by default, unless the kind is Text.

        Raises:
            IllegalArgumentException: the text is no such value; the message names the key and what is accepted.
        """
        text = text.strip()
        if not text and not self.default and self.kind.unset is None:
            return None
        value = self.kind.parse(text)
        if value is None:
            raise IllegalArgumentException(f"{self.key}: {text!r} is not {self.kind.accepts()}.")
        return value

    def check(self, key: str, text: str) -> None:
        """Raises IllegalArgumentException if a key of this setting can't be set to a text."""
        if self.standing is Standing.REFUSED and text.strip().lower() not in self.harmless:
            raise IllegalArgumentException(f"{key} is refused: {self.meaning}")  # the value may be a secret
        self.parse(text)


Sections: TypeAlias = Mapping[str, tuple[Setting, ...]]  # by the section's title in the docs
