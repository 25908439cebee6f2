"""Secrets: values that travel to executors and workers, and are left out of checkpoints and of all that is printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

    from headwater.conf import SparkConf


class Secrets(Mapping[str, Any]):
    """Named values. A checkpoint holds the names; what reads it calls `found`.

    Args:
        values: by name.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    @classmethod
    def found(cls, names: Iterable[str], conf: SparkConf) -> Self:
        """The secrets of these names, looked up on this machine; called in a restarted driver.

        Raises:
            IllegalArgumentException: one isn't there; the text says where it is looked for.
        """
        raise NotImplementedError(cls.__name__)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._values)})"
