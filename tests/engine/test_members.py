from __future__ import annotations

import socket

import pytest

from headwater.engine.members import Members, is_on


@pytest.fixture
def members() -> Members:
    members = Members()
    for executor_id, host in (("0", "127.0.0.1"), ("1", "10.0.0.1"), ("2", "10.0.0.1")):
        members.join(executor_id, host)
    return members


def test_members_are_those_that_have_joined_and_not_left(members: Members) -> None:
    members.leave("1")
    members.leave("1")
    assert members.hosts() == {"0": "127.0.0.1", "2": "10.0.0.1"}


def test_who_watches_is_told_who_is_there_at_once_and_at_each_change(members: Members) -> None:
    told: list[frozenset[str]] = []
    members.watch(told.append)
    members.leave("0")
    members.tell()
    members.watch(None)
    members.tell()
    assert told == [{"0", "1", "2"}, {"1", "2"}]


def test_members_are_found_by_their_host(members: Members) -> None:
    assert members.on_host(["0", "1", "3"], "10.0.0.1") == ["1"]
    assert members.on_host(["0", "1"], "localhost") == ["0"]


@pytest.mark.parametrize(
    ("among", "avoid", "suspects", "left"),
    [
        (["0", "1"], None, "", ["0", "1"]),
        (["0", "1"], "0", "", ["1"]),
        (["0"], "0", "", ["0"]),
        (["0", "1", "2"], "0", "1", ["2"]),
        (["0", "1"], "0", "1", ["1"]),
        (["1", "2"], None, "12", ["1", "2"]),
        ([], "0", "1", []),
    ],
)
def test_member_is_avoided_while_there_is_another(
    members: Members, among: list[str], avoid: str | None, suspects: str, left: list[str]
) -> None:
    for executor_id in suspects:
        members.suspect(executor_id)
    assert members.without(among, avoid) == left


def test_suspect_that_is_trusted_again_is_not_avoided(members: Members) -> None:
    members.suspect("0")
    members.trust("0")
    assert members.without(["0", "1"], None) == ["0", "1"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", socket.gethostname()])
def test_the_drivers_machine_has_several_names(name: str) -> None:
    assert is_on("127.0.0.1", name)
    assert not is_on("10.0.0.1", name)
