"""What the tests want of a store: a place, the settings that lead there, and a way to stand between."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Store:
    """A server that holds files or objects.

    Args:
        name: of the kind of store.
        root: the URL below which tests put theirs.
        port: of the server, on loopback.
        settings_at: the settings by which a program reaches it through a port.
        spellings: other beginnings of URLs, that lead to the same place as `root`.
    """

    name: str
    root: str
    port: int
    settings_at: Callable[[int], Mapping[str, str]]
    spellings: tuple[str, ...] = ()

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings by which a program reaches it."""
        return self.settings_at(self.port)

    def place(self) -> str:
        """The URL of a directory that nobody has used."""
        return f"{self.root}/{uuid.uuid4().hex[:12]}"

    def through(self, port: int, url: str) -> str:
        """The URL by which the same place is reached through another port; most kinds have no port in theirs."""
        return url.replace(f":{self.port}/", f":{port}/")
