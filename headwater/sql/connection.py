"""A session's connection: the channel of gRPC that PySpark's client is given, over whichever engine there is.

- Each call takes a lease of the engine. One that the session hasn't used yet is first told what the session told those
  before it (`record.py`).
- Calls that change the session go one after the other, and are remembered once they have succeeded; queries run beside
  them, but none is planned while a view is being replaced (`planning.py`).
- A query whose engine dies before it has answered runs again on another, and nobody notices. What may have written
  something, or was answered in part, is an error that says so.
- An engine whose answer can't be read has lost its mind, and counts as dead.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import grpc
import pyspark.sql.connect.proto as pb2
from google.protobuf.message import DecodeError

from headwater.errors import SparkException, see
from headwater.sql.catalogue import Catalogue, Table, described_table
from headwater.sql.engines import Engines, Lease
from headwater.sql.planning import Planning
from headwater.sql.record import Entry, SessionRecord, change_in, options_in, sql_text
from headwater.sql.statements import Change, quoted, writes

__all__ = ["EngineLost", "SessionConnection"]

logger = logging.getLogger(__name__)

USER = "headwater"  # of all sessions, to the engine
_TRIES = 3  # of what can be repeated
_BYTES_SHOWN = 16  # of an answer that can't be read: its head, and no data
_EXECUTE = "/spark.connect.SparkConnectService/ExecutePlan"
_CONFIG = "/spark.connect.SparkConnectService/Config"


_REMEDY = ": call the action again, another engine takes its place" + see("the-sql-engine")


class EngineLost(SparkException):
    """The SQL engine has died while it was at something that isn't begun again by itself."""


class SessionConnection:
    """What PySpark's client takes for a channel. Any thread may call.

    Args:
        engines: of the application.
        session_id: the session's, on each engine.
        catalogue: the tables that there are; a session is told of them with the rest.
        held_by: gives what a request refers to by name and must live as long as it's remembered.
    """

    def __init__(
        self, engines: Engines, session_id: str, catalogue: Catalogue, held_by: Callable[[bytes], object]
    ) -> None:
        self._engines = engines
        self._session_id = session_id
        self._catalogue = catalogue
        self._held_by = held_by
        self._changing = threading.RLock()  # held while the session changes, and while an engine is told
        self._planning = Planning()
        self._record = SessionRecord()
        self._epoch = -1  # of the latest engine that was told all of the record; written under the lock
        self._catalogue_seen = 0  # changes of the catalogue that this engine was told; likewise

    # -------------------------------------------------------------------------------------------- a channel of gRPC
    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Any]:
        """What makes calls with one answer."""
        return partial(self._call, "unary_unary", method, request_serializer, response_deserializer)

    def stream_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Any]:
        """What makes calls with several requests."""
        return partial(self._call, "stream_unary", method, request_serializer, response_deserializer)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Callable[..., Iterator[Any]]:
        """What makes calls with several answers."""
        return partial(self._stream, method, request_serializer, response_deserializer)

    def close(self) -> None:
        """Nothing: the engine is the application's, and others use it."""

    # -------------------------------------------------------------------------------------------- views
    def view(self, name: str) -> Any:
        """The request that made a view; None if there is no such view."""
        with self._changing:
            entry = self._record.get(("view", name.lower()))
        return None if entry is None else entry.request

    def define(self, request: Any) -> None:
        """Make a view again by the request that has made it before."""
        serialize, deserialize = pb2.ExecutePlanRequest.SerializeToString, pb2.ExecutePlanResponse.FromString
        for _ in self._stream(_EXECUTE, serialize, deserialize, request):
            continue

    # -------------------------------------------------------------------------------------------- calls
    def _call(self, shape: str, method: str, serialize: Any, deserialize: Any, request: Any, **options: Any) -> Any:
        def call(lease: Lease) -> Any:
            answer = getattr(lease.engine.channel, shape)(method, serialize)(request, **options)
            return _read(answer, deserialize, method)

        if method == _CONFIG and request.operation.WhichOneof("op_type") in ("set", "unset"):
            with self._changing:
                answer = self._repeated(call, _TRIES)
                self._remember_settings(request)
            return answer
        return self._repeated(call, _TRIES if shape == "unary_unary" else 1)  # a stream of requests can be taken once

    def _repeated(self, call: Callable[[Lease], Any], tries: int) -> Any:
        while True:
            tries -= 1
            with self._engines.lease() as lease:
                try:
                    self._tell(lease)
                    return call(lease)
                except (grpc.RpcError, DecodeError) as error:
                    if not lease.has_lost(error):
                        raise
                    self._engines.give_up(lease)
                    if not tries:
                        raise EngineLost(f"The SQL engine has died{_REMEDY}") from error

    def _stream(self, method: str, serialize: Any, deserialize: Any, request: Any, **options: Any) -> Iterator[Any]:
        def call(lease: Lease) -> Iterator[Any]:
            for answer in lease.engine.channel.unary_stream(method, serialize)(request, **options):
                yield _read(answer, deserialize, method)

        change = change_in(request) if method == _EXECUTE else None
        if change is None:
            yield from self._planned(self._answers(call, request))
            return
        with self._planning.interrupted() if change.kind == "view" else nullcontext(), self._changing:
            answers = list(self._answers(call, request))
            self._remember(change, request)
        yield from answers

    def _planned(self, answers: Iterator[Any]) -> Iterator[Any]:
        """The answers to a query, which is planned once the first one comes: the schema, before all rows."""
        self._planning.begin()
        try:
            first = next(answers, None)
        finally:
            self._planning.end()
        if first is not None:
            yield first
            yield from answers

    def _answers(self, call: Callable[[Lease], Iterator[Any]], request: Any) -> Iterator[Any]:
        tries = _TRIES if _can_repeat(request) else 1
        while True:
            tries -= 1
            came = False
            with self._engines.lease() as lease:
                try:
                    self._tell(lease)
                    for answer in call(lease):
                        yield answer
                        came = True
                    return
                except (grpc.RpcError, DecodeError) as error:
                    if not lease.has_lost(error):
                        raise
                    self._engines.give_up(lease)
                    if came or not tries:
                        wrote = "" if _can_repeat(request) else ", and may have written a part of its output"
                        raise EngineLost(f"The SQL engine has died while it ran a query{wrote}{_REMEDY}") from error

    # -------------------------------------------------------------------------------------- what an engine is told
    def _tell(self, lease: Lease) -> None:
        """See to it that an engine knows the session, and the tables that there are by now."""
        lease.engine.follow()
        if self._epoch == lease.epoch and self._catalogue_seen == self._catalogue.last:
            return
        with self._changing:
            if lease.epoch < self._epoch:
                return  # it was told before its successor was there, and serves what had begun by then
            known = self._catalogue_seen if self._epoch == lease.epoch else 0
            seen, statements = self._catalogue.statements_since(known)
            for statement in statements:
                self._run(lease, self._of_sql(statement))
            if self._epoch != lease.epoch:
                self._record.replay(partial(self._send, lease))
            self._epoch, self._catalogue_seen = lease.epoch, seen

    def _send(self, lease: Lease, request: Any) -> None:
        if isinstance(request, pb2.ConfigRequest):
            answer = lease.engine.channel.unary_unary(_CONFIG, pb2.ConfigRequest.SerializeToString)(request)
            _read(answer, pb2.ConfigResponse.FromString, _CONFIG)
        else:
            self._run(lease, request)

    def _run(self, lease: Lease, request: Any) -> list[Any]:
        call = lease.engine.channel.unary_stream(_EXECUTE, pb2.ExecutePlanRequest.SerializeToString)
        return [_read(answer, pb2.ExecutePlanResponse.FromString, _EXECUTE) for answer in call(request)]

    def _of_sql(self, statement: str) -> Any:
        request = pb2.ExecutePlanRequest(session_id=self._session_id)
        request.user_context.user_id = USER
        request.plan.command.sql_command.input.sql.query = statement
        return request

    def _remember_settings(self, request: Any) -> None:
        operation = request.operation
        for pair in operation.set.pairs:
            alone = pb2.ConfigRequest()
            alone.CopyFrom(request)
            del alone.operation.set.pairs[:]
            alone.operation.set.pairs.add().CopyFrom(pair)
            self._record.add(("set", pair.key), Entry(alone))
        for key in operation.unset.keys:
            self._record.drop(("set", key))

    def _remember(self, change: Change, request: Any) -> None:
        key = (change.kind, change.name.lower())
        if change.kind in ("table", "database"):
            self._keep_table(change, request)
        elif change.drops:
            self._record.drop(key)
        elif change.kind == "use":
            self._record.add(("use", ""), Entry(request))
        else:
            self._record.add(key, Entry(request, self._held_by(request.SerializeToString())))

    # -------------------------------------------------------------------------------------------- tables
    def _keep_table(self, change: Change, request: Any) -> None:
        """Enter into the catalogue what has just been made or dropped."""

        def keep(lease: Lease) -> None:
            name = change.name
            if change.kind == "table" and "." not in name:
                name = f"{self._rows(lease, 'SELECT current_database() AS name')[0]['name']}.{name}"
            if change.drops:
                seen = self._catalogue.drop(name)
            elif change.kind == "database":
                seen = self._catalogue.add(Table(name, f"CREATE DATABASE IF NOT EXISTS {quoted(name)}"))
            else:
                described = self._rows(lease, f"DESCRIBE TABLE EXTENDED {quoted(name)}")
                seen = self._catalogue.add(described_table(name, described, options_in(request)))
            if seen == self._catalogue_seen + 1:  # else another session has changed something, too
                self._catalogue_seen = seen

        self._repeated(keep, tries=1)  # another engine doesn't know what this one has just made

    def _rows(self, lease: Lease, query: str) -> list[dict[str, Any]]:
        from pyarrow import ipc

        request = self._of_sql(query)
        request.plan.root.sql.query = query
        batches = [answer.arrow_batch.data for answer in self._run(lease, request) if answer.HasField("arrow_batch")]
        return [row for data in batches for row in ipc.open_stream(data).read_all().to_pylist()]


def _read(answer: bytes, deserialize: Callable[[bytes], Any], method: str) -> Any:
    """An answer's message. gRPC isn't asked to make it: it would hide what is wrong with the answer.

    Raises:
        DecodeError: it is none.
    """
    try:
        return deserialize(answer)
    except DecodeError:
        logger.warning(
            "The SQL engine has answered %s with what can't be read: %d bytes that begin with %s",
            method,
            len(answer),
            answer[:_BYTES_SHOWN].hex(),
        )
        raise


def _can_repeat(request: Any) -> bool:
    """Whether it does no harm to run it twice: it's a query, or changes nothing but what an engine knows."""
    if request.plan.WhichOneof("op_type") == "root":
        return True
    kind = request.plan.command.WhichOneof("command_type")
    if kind == "sql_command":
        change = change_in(request)
        makes_table = change is not None and change.has_query
        return not makes_table and not writes(sql_text(request.plan.command.sql_command.input))
    return kind in ("create_dataframe_view", "register_function", "register_table_function", "register_data_source")
