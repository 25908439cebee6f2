"""The settings of a session: those of its context, and its own on top."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headwater.errors import IllegalArgumentException, NoSuchElementException
from headwater.settings.table import find

if TYPE_CHECKING:
    from headwater.context import SparkContext

__all__ = ["RuntimeConfig", "local_zone"]

NO_DEFAULT: Any = object()


class RuntimeConfig:
    """What `SparkSession.conf` gives: settings that can be changed while the session runs."""

    def __init__(self, sc: SparkContext, own: dict[str, str], connected: Callable[[], Any]) -> None:
        self._context = sc.getConf()
        self._own = own
        self._connected = connected  # the session as its engine has it, once there is one

    def get(self, key: str, default: Any = NO_DEFAULT) -> Any:
        """The text of a setting, or `default`.

        Raises:
            NoSuchElementException: it isn't set, and there's no default.
        """
        value = self._own.get(key, self._context.get(key))
        if value is None and key.startswith("spark.sql.") and (session := self._connected()) is not None:
            value = session.conf.get(key, None)
        if value is not None:
            return value
        if default is NO_DEFAULT:
            raise NoSuchElementException(
                f'[SQL_CONF_NOT_FOUND] The SQL config "{key}" cannot be found: it isn\'t set, and has no default.'
            )
        return default

    def set(self, key: str, value: str | int | bool) -> None:
        """Set a setting of this session.

        Raises:
            IllegalArgumentException: it's a setting of the context, which has been read by now.
        """
        if not self.isModifiable(key):
            raise IllegalArgumentException(
                f"Cannot modify the value of a Spark config: {key}. Set it before the context starts, by "
                "SparkSession.builder.config or SparkConf."
            )
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if (session := self._connected()) is not None:
            session.conf.set(key, text)
        self._own[key] = text

    def unset(self, key: str) -> None:
        """Take a setting of this session back."""
        if not self.isModifiable(key):
            raise IllegalArgumentException(f"Cannot modify the value of a Spark config: {key}.")
        self._own.pop(key, None)
        if (session := self._connected()) is not None:
            session.conf.unset(key)

    def isModifiable(self, key: str) -> bool:
        """Whether a session may set it: it's one of SQL's, or the program's own."""
        setting = find(key)
        return setting is None or setting.key == "spark.sql.*"


def local_zone() -> str:
    """The name of this process's time zone, such as `Europe/Paris`; an offset, such as `+01:00`, if it has none."""
    for name in (
        os.environ.get("TZ", "").removeprefix(":"),
        os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2],
    ):
        if name:
            return name
    minutes = -time.timezone // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
