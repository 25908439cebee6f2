"""Options of Spark's for files that the engine doesn't follow: one that would change rows or files is refused.

The engine passes over what it doesn't know without a word. What changes nothing but speed, or what a malformed line is
told by, is passed over here, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from headwater.errors import UnsupportedOperationException

__all__ = ["refuse_unheard"]


class _Unheard(NamedTuple):
    """What there is instead of an option, and its values that change nothing, in lower case."""

    instead: str
    harmless: Collection[str] = ("false",)


_DECODE = "decode the bytes of sc.binaryFiles"
_AS_TEXT = "form the text by functions (date_format, coalesce ...) and write that"
_FROM_TEXT = "read the column as text and convert it by functions (to_date, trim, nullif ...)"
_UTF_8 = ("utf-8", "utf8")
_DATE = ("yyyy-mm-dd",)
_TIMESTAMP = ("yyyy-mm-dd't'hh:mm:ss[.sss][xxx]",)

_READ: Mapping[str, Mapping[str, _Unheard]] = {
    "csv": {
        "nullvalue": _Unheard(_FROM_TEXT, ("",)),
        "nanvalue": _Unheard(_FROM_TEXT, ("nan",)),
        "emptyvalue": _Unheard(_FROM_TEXT, ("",)),
        "ignoreleadingwhitespace": _Unheard(_FROM_TEXT),
        "ignoretrailingwhitespace": _Unheard(_FROM_TEXT),
        "dateformat": _Unheard(_FROM_TEXT, _DATE),
        "timestampformat": _Unheard(_FROM_TEXT, (*_TIMESTAMP, "yyyy-mm-dd't'hh:mm:ss", "yyyy-mm-dd hh:mm:ss")),
        "encoding": _Unheard(_DECODE, _UTF_8),
        "charset": _Unheard(_DECODE, _UTF_8),
        "linesep": _Unheard("split the text of sc.wholeTextFiles", ("\n", "\r\n")),
        "mode": _Unheard("parse the lines of sc.textFile", ("permissive", "failfast")),
    },
    "json": {
        "multiline": _Unheard("read documents: spark.read.json(sc.wholeTextFiles(path).values())"),
        "primitivesasstring": _Unheard("give a schema of strings"),
        "prefersdecimal": _Unheard("give a schema with decimals"),
        "dropfieldifallnull": _Unheard("drop the column"),
        "allowcomments": _Unheard("take the comments out of the lines of sc.textFile"),
        "allowunquotedfieldnames": _Unheard("parse the lines of sc.textFile"),
        "dateformat": _Unheard(_FROM_TEXT, _DATE),
        "timestampformat": _Unheard(_FROM_TEXT, (*_TIMESTAMP, "yyyy-mm-dd't'hh:mm:ss", "yyyy-mm-dd hh:mm:ss")),
        "encoding": _Unheard(_DECODE, _UTF_8),
        "charset": _Unheard(_DECODE, _UTF_8),
        "linesep": _Unheard("split the text of sc.wholeTextFiles", ("\n", "\r\n")),
    },
}
_WRITTEN: Mapping[str, Mapping[str, _Unheard]] = {
    "csv": {
        "quoteall": _Unheard(_AS_TEXT),
        "emptyvalue": _Unheard(_AS_TEXT, ("",)),
        "ignoreleadingwhitespace": _Unheard("trim the columns by functions"),
        "ignoretrailingwhitespace": _Unheard("trim the columns by functions"),
        "dateformat": _Unheard(_AS_TEXT, _DATE),
        "timestampformat": _Unheard(_AS_TEXT, _TIMESTAMP),
        "encoding": _Unheard("convert the files", _UTF_8),
        "linesep": _Unheard("write text", ("\n",)),
    },
    "json": {
        "ignorenullfields": _Unheard("write the text of to_json(struct(...), options)", ("true",)),
        "pretty": _Unheard("write the text of to_json"),
        "dateformat": _Unheard(_AS_TEXT, _DATE),
        "timestampformat": _Unheard(_AS_TEXT, _TIMESTAMP),
        "encoding": _Unheard("convert the files", _UTF_8),
        "linesep": _Unheard("write text", ("\n",)),
    },
}
_OF_FILES_ALONE = ("multiline", "linesep", "encoding", "charset")


def refuse_unheard(
    action: Literal["read", "written"], kind: str, options: Mapping[str, str | None], *, of_rdd: bool = False
) -> None:
    """See to it that no option is passed over that would change what is read or written.

    Args:
        action: what is done with the files.
        kind: their format.
        options: as they were given; names in any case of letters.
        of_rdd: the lines are an RDD's: how they stood in files doesn't matter.

    Raises:
        UnsupportedOperationException: there is one; it says what there is instead.
    """
    table = (_READ if action == "read" else _WRITTEN).get(kind, {})
    for name, value in options.items():
        unheard = table.get(name.lower())
        if unheard is None or value is None or (of_rdd and name.lower() in _OF_FILES_ALONE):
            continue
        if value.lower() not in unheard.harmless:
            raise UnsupportedOperationException(
                f"The option {name}={value!r} would change what is {action}, and the engine has it not for {kind}. "
                f"Instead: {unheard.instead}."
            )
