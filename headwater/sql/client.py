"""PySpark's client over a session's connection: no retries of its own, and errors as Spark would word them."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import grpc
from pyspark.errors.exceptions.connect import AnalysisException, IllegalArgumentException, ParseException
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


_END = re.compile(r"invalid argument: found end of input expected (?P<expected>.*)", re.DOTALL)
_AT = re.compile(
    r"invalid argument: found (?P<found>.*?) at (?P<start>\d+):(?P<end>\d+) expected (?P<expected>.*)", re.DOTALL
)


_FUNCTION = re.compile(r"unknown function: (?P<name>.*)")
_MISSING = re.compile(r"attribute ObjectName\(\[(?P<parts>.*)\]\) is missing from the schema")


def _as_spark_says(error: Exception) -> Exception:
    """An error of the engine as the exception, and with the words, that programs know from Spark."""
    text = str(error)
    if found := _FUNCTION.match(text):
        return AnalysisException(f"[UNRESOLVED_ROUTINE] Cannot resolve routine `{found['name']}`. SQLSTATE: 42883")
    if found := _MISSING.match(text):
        name = ".".join(f"`{part}`" for part in re.findall(r'Identifier\("(.*?)"\)', found["parts"]))
        return AnalysisException(
            "[UNRESOLVED_COLUMN.WITHOUT_SUGGESTION] A column, variable, or function parameter with name "
            f"{name} cannot be resolved. SQLSTATE: 42703"
        )
    if isinstance(error, IllegalArgumentException) and (found := _END.match(text)):
        return ParseException(
            f"[PARSE_SYNTAX_ERROR] Syntax error at or near end of input. Expected {found['expected']}. SQLSTATE: 42601"
        )
    if isinstance(error, IllegalArgumentException) and (found := _AT.match(text)):
        what = found["found"] if found["found"] else "end of input"
        return ParseException(
            f"[PARSE_SYNTAX_ERROR] Syntax error at or near {what!r} (characters {found['start']} to {found['end']} of "
            f"the statement). Expected {found['expected']}. SQLSTATE: 42601"
        )
    return error
