"""The page of the control socket says what is so."""

import json
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyhands import Server
from manyhands.cli.ctl.verbs import VERBS
from manyhands.control.client import Client
from manyhands.control.protocol import Code
from tests.support import Echo, call
from tests.support.waiting import PATIENCE

from .fleet_kit import supervised

PAGE = (Path(__file__).parents[2] / "docs" / "control.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """Return a section of the page."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_it_has_every_code_of_an_error() -> None:
    listed = re.findall(r"^\| (-\d+) \|", section("Errors"), flags=re.MULTILINE)
    assert [int(code) for code in listed] == list(Code)


def test_it_has_every_verb_of_ctl() -> None:
    named = re.findall(r"`ctl ([a-z]+)", section("`manyhands ctl`"))
    assert set(named) == {"ls", "watch", "call", *VERBS}


def test_a_server_answers_the_shell_as_it_shows(tmp_path: Path) -> None:
    [command] = re.findall(r"^\$ (echo .*)$", PAGE, flags=re.MULTILINE)
    with Server(Echo, "tcp://127.0.0.1:0", control=str(tmp_path / "control.sock")):
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, capture_output=True, timeout=PATIENCE, check=True
        )
    hello, answer = map(json.loads, done.stdout.splitlines())
    assert hello["method"] == "hello"
    assert answer["result"]["pid"] == os.getpid()


class InRoom(Echo):
    """Is in a room."""

    def setup(self) -> None:
        super().setup()
        self.join("red")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of a server that has a connection, in a room."""
    place = str(tmp_path / "control.sock")
    with Server(InRoom, "tcp://127.0.0.1:0", control=place) as server, Client(place) as client:
        [address] = server.addresses
        with call((address.host, address.port)) as peer:
            peer.sendall(b"hello\n")
            assert peer.recv(100) == b"hello\n"
            yield client


def members_told_of() -> dict[str, set[str]]:
    """Return the members of each verb's result that the page tells of."""
    told: dict[str, set[str]] = defaultdict(set)
    verbs = ""
    for line in re.findall(r"^\|.*\|$", section("The answers"), flags=re.MULTILINE):
        _, of, what, _ = line.split("|")
        verbs = of.strip() or verbs
        for verb in re.findall(r"`([\w.]+)`", verbs):
            told[verb] |= set(re.findall(r"`(\w+)`", what))
    return told


COUNTS = {"open", "closed", "dropped", "certificates"}
"""Members whose own are states, reasons or files."""

OTHERS = {"help", "tls", "deadlines"}
"""Members of which the page says no more than that they are there."""


def members(answer: object) -> Iterator[str]:
    """Yield the names of the members of an answer, however deep."""
    if isinstance(answer, list):
        for each in answer:
            yield from members(each)
    elif isinstance(answer, dict):
        for name, value in answer.items():
            yield name
            if name not in COUNTS | OTHERS:
                yield from members(value)


def test_it_has_every_member_of_the_answers(client: Client) -> None:
    [item] = client.call("connections.list")["items"]
    params: dict[str, dict[str, object]] = {
        "connections.get": {"id": item["id"]},
        "connections.close": {"ids": []},
        "limits.set": {"values": {}},
        "rooms.tell": {"room": "red", "text": ""},
    }
    told = members_told_of()
    of_hello = set(re.findall(r'"(\w+)":', section("The protocol").splitlines()[5]))
    for name in [verb["name"] for verb in client.call("verbs")["items"]]:
        if name in {"reload", "upgrade", "drain", "watch"} or name.startswith("workers."):
            continue  # without certificates; at the end; and in sections of their own
        answer = client.call(name, **params.get(name, {}))
        unsaid = set(members(answer)) - told[name] - told["connections.list"] - of_hello
        assert not unsaid, f"{name} answers {unsaid}, of which the page does not tell"


def test_it_has_every_member_of_a_supervisor_s_answers(tmp_path: Path) -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))
    of_hello = set(re.findall(r'"(\w+)":', section("The protocol").splitlines()[5]))
    with supervised(tmp_path, 1) as fleet:
        for name in (
            "status",
            "connections.list",
            "stacks",
            "workers.list",
            "workers.restart",
            "reload",
        ):
            unsaid = set(members(fleet.client.call(name))) - told - of_hello
            assert not unsaid, f"{name} answers {unsaid}, of which the page does not tell"
