"""The table of all configuration keys, and how they are read.

- A setting is in force if, and only if, something reads it: a test looks for the readers.
- A key that isn't in the table is the program's own business, unless it begins as ours do (`PREFIXES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headwater.settings import engine, ineffective, sql, streaming
from headwater.settings.setting import Sections, Setting, Standing

#: How keys begin that are ours to judge.
PREFIXES = ("spark.", "headwater.")

_TABLES: tuple[tuple[Standing, Sections], ...] = (
    (Standing.IN_FORCE, engine.SECTIONS),
    (Standing.IN_FORCE, streaming.SECTIONS),
    (Standing.IN_FORCE, sql.SECTIONS),
    (Standing.NO_EFFECT, ineffective.NO_EFFECT),
    (Standing.ACCEPTED, ineffective.ACCEPTED),
    (Standing.REFUSED, ineffective.REFUSED),
)


def _joined(tables: tuple[tuple[Standing, Sections], ...]) -> dict[str, tuple[Setting, ...]]:
    """The sections of all tables, in the tables' order."""
    joined: dict[str, tuple[Setting, ...]] = {}
    for standing, sections in tables:
        for title, settings in sections.items():
            joined[title] = (*joined.get(title, ()), *(replace(each, standing=standing) for each in settings))
    return joined


#: Section title -> its settings: those in force, without effect, accepted, refused.
SECTIONS: dict[str, tuple[Setting, ...]] = _joined(_TABLES)
SETTINGS: dict[str, Setting] = {setting.key: setting for section in SECTIONS.values() for setting in section}
_ALIASES: dict[str, str] = {alias: setting.key for setting in SETTINGS.values() for alias in setting.aliases}
# The longest first: a family may lie within another one.
_FAMILIES: tuple[str, ...] = tuple(sorted((key[:-1] for key in SETTINGS if key.endswith(".*")), key=len, reverse=True))


def current_name(key: str) -> str:
    """The name that a key has now, if this is an older one; else the key itself.

    >>> current_name("spark.streaming.minRememberDuration")
    'spark.streaming.fileStream.minRememberDuration'
    """
    return _ALIASES.get(key, key)


def find(key: str) -> Setting | None:
    """The setting that a key belongs to, by its name, an older name or its family; None if it's unknown."""
    setting = SETTINGS.get(current_name(key))
    if setting is None:
        family = next((family for family in _FAMILIES if key.startswith(family)), None)
        setting = None if family is None else SETTINGS[family + "*"]
    return setting


def nearest(key: str) -> str | None:
    """The known key that an unknown one is most like; None if it's like none.

    >>> nearest("spark.streaming.blockIntervall")
    'spark.streaming.blockInterval'
    """
    from difflib import get_close_matches

    known = [name for name in (*SETTINGS, *_ALIASES) if not name.endswith(".*")]
    return next(iter(get_close_matches(key, known, n=1)), None)


def read(pairs: Mapping[str, str], key: str) -> Any:
    """The typed value of a setting: that of `pairs`, else its default.

    Args:
        pairs: texts by key, such as a conf's pairs that travelled to a worker.
        key: a key of the table.

    Returns:
        str, bool, int, float; int milliseconds for a duration, int bytes for a size. A setting without value or default
        is None, or "" if it is a text.

    Raises:
        KeyError: the key isn't in the table.
        IllegalArgumentException: the pairs hold a value that isn't valid.

    >>> read({}, "spark.locality.wait"), read({"spark.locality.wait": "2s"}, "spark.locality.wait")
    (3000, 2000)
    >>> read({"spark.executor.memory": "2g"}, "headwater.streaming.receiver.memoryLimit") == 2**30
    True
    """
    setting = find(key)
    if setting is None:
        raise KeyError(f"{key} is not in the table of settings (headwater/settings/)")
    names = (key,) if setting.key.endswith(".*") else (setting.key, *setting.aliases)
    text = next((pairs[name] for name in names if name in pairs), setting.default).strip()
    if not text and setting.same_as:
        value = read(pairs, setting.same_as)
        return value if setting.share == 1.0 else int(value * setting.share)
    return setting.parse(text) if text else setting.kind.unset


def without_effect(pairs: Mapping[str, str]) -> list[str]:
    """The keys without effect that are set to something other than their default.

    >>> without_effect({"spark.speculation": "True", "spark.ui.port": "4040"})
    ['spark.speculation']
    """
    idle = _standing(pairs, Standing.NO_EFFECT)
    return [key for key in idle if read(pairs, key) != read({k: v for k, v in pairs.items() if k != key}, key)]


def meaningless(pairs: Mapping[str, str]) -> list[str]:
    """The keys that are set and accepted for programs' sake only.

    >>> meaningless({"spark.jars.packages": "org.apache:x:1", "spark.rdd.compress": "True"})
    ['spark.jars.packages']
    """
    return _standing(pairs, Standing.ACCEPTED)


def _standing(pairs: Mapping[str, str], standing: Standing) -> list[str]:
    return [key for key in pairs if (setting := find(key)) is not None and setting.standing is standing]
