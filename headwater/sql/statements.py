"""What a statement of SQL changes for those after it: told from its first words, as engines only say that it's done.

Only the beginning is looked at: the engine itself parses the statement, and has accepted it when this is asked.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

__all__ = ["NAME", "Change", "change_of", "literal", "options_of", "plain", "quoted", "quoted_part", "writes"]

Kind = Literal["table", "view", "database", "function", "use", "set", "reset"]


class Change(NamedTuple):
    """A statement that has to be known: it makes or drops something by a name, or changes the session.

    `name` is as written, without quotes, or a setting's key; empty if there is none.
    """

    kind: Kind
    name: str
    drops: bool = False
    has_query: bool = False  # it makes the table from a query, which is not to run again


_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*.*?\*/", re.DOTALL)
_PART = r"(?:`(?:[^`]|``)+`|\w+)"
NAME = rf"({_PART}(?:\s*\.\s*{_PART})*)"
"""A name in a statement, as a group of a regular expression: its parts may be quoted."""
_CREATE = re.compile(
    r"create\s+(?:or\s+replace\s+)?(?:external\s+)?(?:(?:global\s+)?temp(?:orary)?\s+)?"
    rf"(table|view|function|database|schema|namespace)\s+(?:if\s+not\s+exists\s+)?{NAME}",
    re.IGNORECASE,
)
_DROP = re.compile(
    r"drop\s+(?:temp(?:orary)?\s+)?(table|view|function|database|schema|namespace)\s+(?:if\s+exists\s+)?" + NAME,
    re.IGNORECASE,
)
_USE = re.compile(rf"use\s+(?:(?:database|schema|namespace|catalog)\s+)?{NAME}", re.IGNORECASE)
_SET = re.compile(r"(set|reset)\b\s*(?:time\s+zone\b|([\w.\-]+))?", re.IGNORECASE)
_QUERY = re.compile(r"\bas\s*\(?\s*(?:select|with|from|values|table)\b", re.IGNORECASE)
_OPTIONS = re.compile(r"\boptions\s*\(((?:[^')]|'[^']*')*)\)", re.IGNORECASE)
_OPTION = re.compile(r"['`]?([\w.]+)['`]?\s*=?\s*'([^']*)'")
_WRITE = re.compile(r"(?:insert|delete|update|merge|load|copy)\b", re.IGNORECASE)
_KINDS: dict[str, Kind] = {
    "table": "table",
    "view": "view",
    "function": "function",
    "database": "database",
    "schema": "database",
    "namespace": "database",
}


def writes(statement: str) -> bool:
    """Whether it writes data, so that it is another thing to run it twice.

    >>> writes("/* more */ INSERT INTO words VALUES ('to')"), writes("SELECT 'insert'")
    (True, False)
    """
    return _WRITE.match(statement, _beginning(statement)) is not None


def change_of(statement: str) -> Change | None:
    """What a statement changes; None for a query, and for what changes nothing but data.

    >>> change_of("CREATE TABLE IF NOT EXISTS `db`.words USING parquet AS SELECT 1")
    Change(kind='table', name='db.words', drops=False, has_query=True)
    >>> change_of("drop view words"), change_of("-- how many?\\nSELECT count(*) FROM words")
    (Change(kind='view', name='words', drops=True, has_query=False), None)
    """
    start = _beginning(statement)
    if found := _CREATE.match(statement, start):
        kind = _KINDS[found[1].lower()]
        has_query = kind == "table" and _QUERY.search(statement, found.end()) is not None
        return Change(kind, plain(found[2]), has_query=has_query)
    if found := _DROP.match(statement, start):
        return Change(_KINDS[found[1].lower()], plain(found[2]), drops=True)
    if found := _USE.match(statement, start):
        return Change("use", plain(found[1]))
    if found := _SET.match(statement, start):
        return Change("set" if found[1].lower() == "set" else "reset", found[2] or "")
    return None


def _beginning(statement: str) -> int:
    """Where a statement begins behind blanks and comments."""
    start = 0
    while (skipped := _COMMENT.match(statement, start)) is not None:
        start = skipped.end()
    return start


def options_of(statement: str) -> dict[str, str]:
    """The options that a statement gives to a table's format.

    >>> options_of("create table t using csv options (header 'true', sep=';') as select 1")
    {'header': 'true', 'sep': ';'}
    """
    found = _OPTIONS.search(statement)
    return dict(_OPTION.findall(found[1])) if found is not None else {}


def plain(name: str) -> str:
    """A name of SQL without its quotes.

    >>> plain("`my db` . words")
    'my db.words'
    """
    parts = re.findall(_PART, name)
    return ".".join(part[1:-1].replace("``", "`") if part.startswith("`") else part for part in parts)


def quoted(name: str) -> str:
    """A plain name as SQL has it, whatever is in it.

    >>> quoted("my db.words")
    '`my db`.`words`'
    """
    return ".".join(map(quoted_part, name.split(".")))


def quoted_part(name: str) -> str:
    """A name that has no parts, as SQL has it: a dot in it is a dot."""
    return f"`{name.replace('`', '``')}`"


def literal(text: str) -> str:
    r"""A text as SQL has it.

    >>> print(literal("it's"))
    'it\'s'
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
