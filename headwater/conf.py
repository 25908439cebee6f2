"""SparkConf: an application's settings, as a program gives them.

- The value of a known key is checked when it is set, so that what runs later never meets an invalid one.
- A key that isn't in the table (`headwater.settings`) is kept as it is. One that looks like ours warns.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable
from typing import Any

from headwater.errors import IllegalArgumentException
from headwater.settings import submitargs
from headwater.settings.secrets import MASK, is_secret
from headwater.settings.table import PREFIXES, current_name, find, nearest, read

__all__ = ["SparkConf"]

#: What `SparkContext.setSystemProperty` has set; new confs begin with its `spark.*` and `headwater.*` keys.
system_properties: dict[str, str] = {}


class UnknownSettingWarning(UserWarning):
    """A `spark.*` or `headwater.*` key was set that isn't in the table; perhaps it's misspelt."""


class SparkConf:
    """An application's settings. Setters return the conf, so that calls can be chained.

    A context takes a copy: changes made later don't reach it.

    Args:
        loadDefaults: begin with `spark-defaults.conf` of the directory `SPARK_CONF_DIR`, if there is one, with the
            options in `PYSPARK_SUBMIT_ARGS`, and with what `SparkContext.setSystemProperty` set.
        _jvm, _jconf: accepted for PySpark's sake, and ignored.

    >>> conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("counts").set("spark.rdd.compress", True)
    >>> print(conf.toDebugString())
    spark.master=local[2]
    spark.app.name=counts
    spark.rdd.compress=True
    >>> conf.set("spark.streaming.blockInterval", "fast")
    Traceback (most recent call last):
    headwater.errors.IllegalArgumentException: spark.streaming.blockInterval: 'fast' is not a duration: a whole number \
of us, ms, s, m, min, h or d (alone it counts ms), such as 30s.
    """

    def __init__(self, loadDefaults: bool = True, _jvm: object = None, _jconf: object = None) -> None:
        self._pairs: dict[str, str] = {}  # in order of first setting; the values of known keys are valid
        if loadDefaults:
            for key, (value, origin) in _defaults().items():
                try:
                    self.set(key, value)
                except IllegalArgumentException as error:
                    raise IllegalArgumentException(f"{origin}: {error}") from None

    def set(self, key: str, value: Any) -> SparkConf:
        """Set one key to `str(value)`.

        Raises:
            IllegalArgumentException: the value isn't valid for a known key, or asks for a protection that isn't there.

        Warns:
            UnknownSettingWarning: a `spark.*` or `headwater.*` key isn't known.
        """
        setting, text = find(key), str(value)
        if setting is not None:
            setting.check(key, text)
        elif key.startswith(PREFIXES):
            warnings.warn(_unknown(key), UnknownSettingWarning, stacklevel=2)
        self._pairs[current_name(key)] = text
        return self

    def setIfMissing(self, key: str, value: Any) -> SparkConf:
        """Set one key unless it is set already."""
        return self if self.contains(key) else self.set(key, value)

    def setMaster(self, value: str) -> SparkConf:
        """Set `spark.master`: where tasks run."""
        return self.set("spark.master", value)

    def setAppName(self, value: str) -> SparkConf:
        """Set `spark.app.name`."""
        return self.set("spark.app.name", value)

    def setSparkHome(self, value: str) -> SparkConf:
        """Set `spark.home`, which only `SparkContext.sparkHome` shows."""
        return self.set("spark.home", value)

    def setExecutorEnv(
        self, key: str | None = None, value: str | None = None, pairs: Iterable[tuple[str, str]] | None = None
    ) -> SparkConf:
        """Set an environment variable of the workers, or several.

        Raises:
            IllegalArgumentException: both a key and pairs were given, or neither.

        >>> SparkConf(False).setExecutorEnv("LANG", "C").get("spark.executorEnv.LANG")
        'C'
        """
        if (key is None) == (pairs is None):
            raise IllegalArgumentException("Either pass one key-value pair or a list of pairs")
        for name, text in [(key, value)] if pairs is None else pairs:
            self.set(f"spark.executorEnv.{name}", text)
        return self

    def setAll(self, pairs: Iterable[tuple[str, Any]]) -> SparkConf:
        """Set several keys, given as (key, value) pairs."""
        for key, value in pairs:
            self.set(key, value)
        return self

    def get(self, key: str, defaultValue: str | None = None) -> str | None:
        """The text that a key was set to, or `defaultValue`. The table's default doesn't count as set."""
        return self._pairs.get(current_name(key), defaultValue)

    def getAll(self) -> list[tuple[str, str]]:
        """All (key, value) pairs that were set, in order."""
        return list(self._pairs.items())

    def contains(self, key: str) -> bool:
        """Whether a key was set."""
        return current_name(key) in self._pairs

    def __repr__(self) -> str:
        pairs = ", ".join(self.toDebugString().splitlines())
        return f"<SparkConf: {pairs or 'no settings'}>"

    def toDebugString(self) -> str:
        """The settings as lines `key=value`; the values of secrets are masked."""
        pattern = self.read("spark.redaction.regex")

        def shown(key: str, value: str) -> str:
            hidden = is_secret(key) or (pattern is not None and (pattern.search(key) or pattern.search(value)))
            return f"{key}={MASK if hidden else value}"

        return "\n".join(shown(key, value) for key, value in self._pairs.items())

    def clone(self) -> SparkConf:
        """A conf of its own with the same settings."""
        conf = SparkConf(loadDefaults=False)
        conf._pairs.update(self._pairs)
        return conf

    def read(self, key: str) -> Any:
        """The typed value of a key of the table, or its default; see `headwater.settings.table.read`.

        >>> SparkConf(False).set("spark.network.timeout", "2min").read("spark.network.timeout")
        120000
        """
        return read(self._pairs, key)


def _defaults() -> dict[str, tuple[str, str]]:
    """What new confs begin with: key -> (value, where it comes from). Later sources win: file, options, properties."""
    found: dict[str, tuple[str, str]] = {}
    path = os.path.join(os.environ.get("SPARK_CONF_DIR", ""), "spark-defaults.conf")
    if os.environ.get("SPARK_CONF_DIR") and os.path.exists(path):
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                # A key ends at the first white space, '=' or ':'; a '#' or '!' begins a comment.
                match = re.match(r"\s*([^\s=:#!][^\s=:]*)\s*[=:\s]?\s*(.*?)\s*$", line)
                if match:
                    found[match[1]] = (match[2], f"{path}, line {number}")
    options = submitargs.settings_of(os.environ.get(submitargs.VARIABLE, ""))
    found |= {key: (value, submitargs.VARIABLE) for key, value in options.items()}
    found |= {key: (value, "a system property") for key, value in system_properties.items()}
    return {key: value for key, value in found.items() if key.startswith(PREFIXES)}


def _unknown(key: str) -> str:
    known = nearest(key)
    hint = f" Did you mean {known}?" if known else ""
    return f"{key} is not a setting that Headwater knows.{hint} It is kept, and has no effect."
