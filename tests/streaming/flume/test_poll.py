"""The polling receiver: against an agent of our own that misbehaves, and against real ones."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import IllegalArgumentException
from headwater.streaming import StreamingContext
from headwater.streaming.flume import FlumeUtils
from headwater.streaming.flume.poll import SPARK_FLUME_PROTOCOL
from headwater.streaming.flume.rpc import Protocol, Request, Responder
from tests.servers.flume import polled_agent
from tests.servers.processes import free_port
from tests.streaming.programs import FRAGILE_LOG, LOG, Program, broken, program

PROTOCOL = Protocol(SPARK_FLUME_PROTOCOL)


class Agent:
    """An agent with Spark's sink. A batch is given again if it's refused, or if its connection ends before the answer.

    Args:
        bodies: of its events.
        cut: which answer to a request for a batch ends in the middle, with its connection; from 1, 0: none.
        error: the first answer is this error message.
    """

    def __init__(self, bodies: list[str], cut: int = 0, error: str = "") -> None:
        self.events: deque[dict[str, Any]] = deque()
        self.story: list[str] = []
        self._changed = threading.Condition()
        self.offer(*bodies)
        self._cut = cut
        self._error = error
        self._batches = 0
        self._over = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = self._listening.getsockname()

    def offer(self, *bodies: str) -> None:
        """Hold further events."""
        with self._changed:
            self.events += [{"headers": {"at": "agent"}, "body": body.encode()} for body in bodies]
            self._changed.notify_all()

    @contextmanager
    def running(self) -> Iterator[Agent]:
        """Serve, on threads, within the block."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        responder, open_batches = Responder(PROTOCOL), {}
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    for item in list(responder.feed(data)):
                        if isinstance(item, bytes):
                            connection.sendall(item)
                            continue
                        answer, is_cut = self._answer(item, open_batches)
                        data = responder.respond(item, answer)
                        connection.sendall(data[: len(data) // 2] if is_cut else data)
                        if is_cut:
                            return
            except ConnectionResetError:
                pass  # a receiver that stops hangs up on what it asked for
            finally:
                for events in open_batches.values():
                    self._give_back(events, "lost")

    def _answer(self, request: Request, open_batches: dict[str, Any]) -> tuple[Any, bool]:
        if request.message != "getEventBatch":
            events = open_batches.pop(request.parameters["sequenceNumber"])
            if request.message == "nack":
                self._give_back(events, "nack")
            else:
                self._tell("ack", events)
            return None, False
        with self._changed:
            self._batches += 1
            if self._error and self._batches == 1:
                return {"errorMsg": self._error, "sequenceNumber": "", "events": []}, False
            self._changed.wait_for(lambda: self.events or self._over)
            count = min(request.parameters["n"], len(self.events))
            events = [self.events.popleft() for _ in range(count)]
            number = f"uuid{self._batches}"
            open_batches[number] = events
            return {"errorMsg": "", "sequenceNumber": number, "events": events}, self._batches == self._cut

    def _give_back(self, events: list[Any], why: str) -> None:
        self._tell(why, events)
        with self._changed:
            self.events.extendleft(reversed(events))
            self._changed.notify_all()

    def _tell(self, what: str, events: list[Any]) -> None:
        self.story.append(f"{what} {' '.join(event['body'].decode() for event in events)}")


def polled(*addresses: tuple[str, int], **options: Any) -> Callable[[StreamingContext], Any]:
    return lambda ssc: FlumeUtils.createPollingStream(ssc, list(addresses), **options)


def bodies(running: Program) -> list[str]:
    return [record.body for record in running.records]


# ------------------------------------------------------------------------------------------------ the protocol
def test_polled_events_arrive_in_batches_and_each_is_acknowledged() -> None:
    with Agent(["a", "b", "c"]).running() as agent:
        with program(polled(agent.address, maxBatchSize=2, parallelism=1)) as running:
            running.wait(lambda: len(running.records) == 3)
        assert running.records == [({"at": "agent"}, body) for body in "abc"]
        assert agent.story[:2] == ["ack a b", "ack c"]
        assert running.errors == []


def test_every_address_is_polled_though_the_parallelism_is_less() -> None:
    with Agent([]).running() as first, Agent([]).running() as second, Agent(["x"]).running() as third:
        polling = polled(first.address, second.address, third.address, parallelism=1)
        with program(polling) as running:
            running.wait(lambda: len(running.records) == 1)
    assert bodies(running) == ["x"]


def test_batch_is_given_again_when_its_connection_was_cut_within_a_frame() -> None:
    with Agent(["a", "b"], cut=1).running() as agent:
        with program(polled(agent.address, parallelism=1)) as running:
            running.wait(lambda: len(running.records) == 2)
        assert bodies(running) == ["a", "b"]
        assert agent.story[:2] == ["lost a b", "ack a b"]
    assert "the connection ended within a frame" in running.errors[0]
    assert f"the Flume agent at 127.0.0.1:{agent.address[1]}" in running.errors[0]


def test_batch_that_can_not_be_stored_is_refused_and_given_again(tmp_path: Path) -> None:
    with Agent(["a"]).running() as agent:
        with program(polled(agent.address, parallelism=1), FRAGILE_LOG, tmp_path) as running:
            running.wait(lambda: len(running.records) == 1)
            with broken(tmp_path / "receivedData"):
                agent.offer("b")
                running.wait(lambda: bool(running.errors))
            running.wait(lambda: len(running.records) == 2)
        assert bodies(running) == ["a", "b"]
        assert (agent.story[:2], agent.story[-1]) == (["ack a", "nack b"], "ack b")


def test_error_of_the_agent_is_told_and_it_is_asked_again() -> None:
    agent = Agent(["a"], error="no transaction")
    with agent.running(), program(polled(agent.address, parallelism=1)) as running:
        running.wait(lambda: len(running.records) == 1)
    assert "the agent has no batch for us: no transaction" in running.errors[0]


def test_agent_that_comes_later_is_found() -> None:
    agent = Agent(["late"])
    agent._listening.close()
    with program(polled(agent.address, parallelism=1)) as running:
        running.wait(lambda: bool(running.errors))
        agent._listening = socket.create_server(agent.address)
        with agent.running():
            running.wait(lambda: len(running.records) == 1)
    assert "ConnectionRefusedError" in running.errors[0]


@pytest.mark.parametrize(
    ("addresses", "options", "error", "text"),
    [
        ([], {}, IllegalArgumentException, "there are none"),
        ([("a", 0)], {}, ValueError, "port must be between"),
        ([("a", 1)], {"maxBatchSize": 0}, IllegalArgumentException, "maxBatchSize must be positive"),
        ([("a", 1)], {"parallelism": -1}, IllegalArgumentException, "parallelism must be positive"),
        ([("a", 1)], {"bodyDecoder": 5}, TypeError, "bodyDecoder should be a function"),
    ],
)
def test_arguments_are_checked(addresses: Any, options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        FlumeUtils.createPollingStream(None, addresses, **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ real agents
@pytest.mark.timeout(300)
def test_real_agent_loses_nothing_when_it_is_killed(tmp_path: Path) -> None:
    port = free_port()
    first, second = [f"first {n}" for n in range(300)], [f"second {n}" for n in range(300)]
    with (
        polled_agent(tmp_path / "agent", port) as agent,
        program(polled(("127.0.0.1", port), maxBatchSize=50), LOG, tmp_path / "checkpoint") as running,
    ):
        agent.send(first)
        running.wait(lambda: len(running.records) >= 100)
        agent.send(second)
        agent.kill()
        agent.start()
        running.wait(lambda: set(bodies(running)) >= {*first, *second})
    assert set(bodies(running)) == {*first, *second}
    assert running.records[0].headers == {"from": "agent"}
