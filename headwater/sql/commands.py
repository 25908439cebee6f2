"""Statements of SQL that the engine lacks, done here; and those that it wants in other words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from headwater.sql.statements import NAME, plain

if TYPE_CHECKING:
    from headwater.sql.sessionview import SessionView

__all__ = ["done_here", "in_the_engines_words"]

_CACHE = re.compile(rf"cache\s+(?:lazy\s+)?table\s+{NAME}(?:\s+(?:as\s+)?((?:select|with)\b.*))?", re.I | re.S)
_UNCACHE = re.compile(rf"uncache\s+table\s+(?:if\s+exists\s+)?{NAME}", re.I)
_SET = re.compile(r"set\s+([\w.]+)\s*(?:=\s*(.*))?", re.I | re.S)
_DESCRIBE = re.compile(
    r"desc(?:ribe)?\s+(?!(?:function|catalog|database|schema|namespace|table|query|select|with)\b)"
    rf"(extended\s+|formatted\s+)?{NAME}",
    re.I,
)
_USE = re.compile(rf"use\s+(?!(?:database|schema|namespace|catalog)\b){NAME}", re.I)
_PIVOTED = re.compile(rf"\bfor\s+{NAME}\s+in\b", re.I)


def done_here(session: SessionView, statement: str) -> Any:
    """What a statement gives that is no business of the engine's; None if it is one of the engine's."""
    text = statement.strip().rstrip(";").rstrip()
    nothing = "SELECT 1 AS nothing WHERE false"
    if found := _CACHE.fullmatch(text):
        if found[2]:
            session.sql(found[2]).createOrReplaceTempView(plain(found[1]))
        session.catalog.cacheTable(plain(found[1]))
    elif found := _UNCACHE.fullmatch(text):
        session.catalog.uncacheTable(plain(found[1]))
    elif re.fullmatch(r"clear\s+cache", text, re.I):
        session.catalog.clearCache()
    elif re.fullmatch(rf"refresh\s+(?:table\s+)?{NAME}", text, re.I):
        session.catalog.refreshTable(text.split()[-1])
    elif (found := _SET.fullmatch(text)) and not text.lower().startswith("set time zone"):
        key, value = found[1], found[2]
        if value is not None:
            session.facade.conf.set(key, value.strip().strip("'\""))
        shown = session.facade.conf.get(key, "<undefined>")
        return session.createDataFrame([(key, shown)], "key STRING, value STRING")
    else:
        return None
    return session.sql(nothing).drop("nothing")


def in_the_engines_words(statement: str) -> str:
    """A statement as the engine wants it.

    >>> in_the_engines_words("DESCRIBE words"), in_the_engines_words("use shop"), in_the_engines_words("SELECT 1")
    ('DESCRIBE TABLE words', 'USE DATABASE shop', 'SELECT 1')
    """
    text = statement.strip().rstrip(";").rstrip()
    if found := _DESCRIBE.fullmatch(text):
        return f"DESCRIBE TABLE {'EXTENDED ' if found[1] else ''}{found[2]}"
    if found := _USE.fullmatch(text):
        return f"USE DATABASE {found[1]}"
    if re.search(r"\bpivot\s*\(", text, re.I):
        return _PIVOTED.sub(r"FOR (\1) IN", text)
    return statement
