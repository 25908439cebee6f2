"""PySpark's client over a session's connection: no retries of its own, and errors as Spark would word them."""

from __future__ import annotations

import atexit
import re
from typing import Any, NamedTuple, NoReturn

import grpc
from pyspark.errors.exceptions.connect import (
    AnalysisException,
    ArithmeticException,
    DateTimeException,
    NumberFormatException,
    ParseException,
)
from pyspark.sql.connect.client import ChannelBuilder, SparkConnectClient

from headwater.sql.connection import USER, EngineLost, SessionConnection

__all__ = ["Client"]


class _Builder(ChannelBuilder):
    """What the client asks for a channel: it's there already."""

    def __init__(self, connection: SessionConnection, session_id: str) -> None:
        super().__init__(params={ChannelBuilder.PARAM_SESSION_ID: session_id, ChannelBuilder.PARAM_USER_ID: USER})
        self._connection = connection

    def toChannel(self) -> Any:
        return self._connection

    @property
    def host(self) -> str:
        return "127.0.0.1"


class Client(SparkConnectClient):
    """A client of Spark Connect, whose engine may be replaced below it.

    Args:
        connection: the session's.
        session_id: the session's, a UUID.
    """

    def __init__(self, connection: SessionConnection, session_id: str) -> None:
        super().__init__(connection=_Builder(connection, session_id), use_reattachable_execute=False)
        atexit.unregister(self._on_exit)  # which would keep it, and its session, until the program ends
        self.set_retry_policies([])  # the connection tries again where that may be done, and knows when it's no use
        self._zstd_module = None  # a plan is looked at on its way, and goes to the same machine

    def _execute_and_fetch(self, req: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return super()._execute_and_fetch(req, *arguments, **options)
        except EngineLost:
            if req.plan.WhichOneof("op_type") != "root":
                raise
        return super()._execute_and_fetch(req, *arguments, **options)  # nobody has seen what had come of it

    def _handle_rpc_error(self, rpc_error: grpc.RpcError) -> NoReturn:
        try:
            super()._handle_rpc_error(rpc_error)
        except Exception as error:
            raise _as_spark_says(error) from None
        raise AssertionError("PySpark's client raises what it is given")


# ------------------------------------------------------------------------------------------------ errors
class _Rule(NamedTuple):
    """What an error of the engine is to Spark, if its text is found: the class, and the text with groups' values."""

    found: re.Pattern[str]
    kind: type[Exception]
    text: str


_RULES = [
    _Rule(re.compile(found, re.DOTALL), kind, text)
    for found, kind, text in (
        (
            r"invalid argument: found end of input expected (?P<expected>.*)",
            ParseException,
            "[PARSE_SYNTAX_ERROR] Syntax error at or near end of input. Expected {expected}. SQLSTATE: 42601",
        ),
        (
            r"invalid argument: found (?P<found>.*?) at (?P<start>\d+):(?P<end>\d+) expected (?P<expected>.*)",
            ParseException,
            "[PARSE_SYNTAX_ERROR] Syntax error at or near '{found}' (characters {start} to {end} of the statement). "
            "Expected {expected}. SQLSTATE: 42601",
        ),
        (
            r"unknown function: (?P<name>.*)",
            AnalysisException,
            "[UNRESOLVED_ROUTINE] Cannot resolve routine `{name}`. SQLSTATE: 42883",
        ),
        (
            r"attribute ObjectName\(\[(?P<names>.*?)\]\) is missing from the schema",
            AnalysisException,
            "[UNRESOLVED_COLUMN.WITHOUT_SUGGESTION] A column, variable, or function parameter with name {names} cannot "
            "be resolved. SQLSTATE: 42703",
        ),
        (r"Division by zero", ArithmeticException, "[DIVIDE_BY_ZERO] Division by zero. SQLSTATE: 22012"),
        (
            r"Cast error: Cannot cast string '(?P<value>.*)' to value of (?P<type>\w+) type",
            NumberFormatException,
            '[CAST_INVALID_INPUT] The value \'{value}\' of the type "STRING" cannot be cast to "{type}" because it is '
            "malformed. SQLSTATE: 22018",
        ),
        (
            r"(?P<text>\[CAST_INVALID_INPUT\].*cannot be cast to \"(?:DATE|TIMESTAMP)\".*)",
            DateTimeException,
            "{text}",
        ),
    )
]
_IDENTIFIER = re.compile(r'Identifier\("(.*?)"\)')


def _as_spark_says(error: Exception) -> Exception:
    """An error of the engine as the exception, and with the words, that programs know from Spark."""
    for rule in _RULES:
        if found := rule.found.match(str(error)):
            values = found.groupdict()
            if "names" in values:
                values["names"] = ".".join(f"`{name}`" for name in _IDENTIFIER.findall(values["names"]))
            return rule.kind(rule.text.format(**values))
    return error
