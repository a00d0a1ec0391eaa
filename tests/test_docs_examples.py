"""Every program and every command line of the documentation works; new ones are found by themselves."""

import argparse
import io
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import manyhands
from manyhands import cli, socketserver
from manyhands.cli import ctl
from manyhands.cli.flags import given_options
from manyhands.cli.parser import Parser
from manyhands.cli.run import split
from manyhands.config.options import DROP_IN_OPTIONS, SERVER_OPTIONS
from manyhands.model.addresses import parse
from manyhands.testing import serving
from tests.support import Authority, Echo
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parent.parent

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

PROGRAMS = [
    pytest.param(page.name, program, id=f"{page.name}-{number}")
    for page in PAGES
    for number, program in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    )
]

COMMANDS = [
    pytest.param(line, id=f"{page.name}: {line[:60]}")
    for page in PAGES
    for block in re.findall(
        r"```console\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    for line in re.findall(
        r"^\$ (?:.* \| )?manyhands ([^|\n]*)", block.replace("\\\n", " "), flags=re.MULTILINE
    )
]


@pytest.fixture
def world(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What a reader has: the names of the page before, files of certificates, and a server with a client."""
    monkeypatch.chdir(tmp_path)
    for stem in ("site", "cert"):
        authority.write(tmp_path, "localhost", stem=stem)
    # Which is until Ctrl-C.
    monkeypatch.setattr(manyhands.Server, "run", lambda _: [])
    monkeypatch.setattr(socketserver.BaseServer, "serve_forever", lambda _: None)
    silent, other_end = socket.socketpair()
    other_end.close()
    with silent, serving(Echo) as running:
        running.connect()
        assert running.server.wait_for_connections(1, timeout=PATIENCE)
        yield {
            **{name: getattr(manyhands, name) for name in manyhands.__all__},
            "__name__": "__main__",
            "socketserver": socketserver,
            "socket": socket,
            "Echo": Echo,
            "server": running.server,
            "connection": silent,
            "lock": threading.Lock(),
            "table": {"key": b"answer"},
            "key": "key",
            "answer": b"answer",
            "self": SimpleNamespace(wfile=io.BytesIO()),
        }


@pytest.mark.parametrize(("page", "program"), PROGRAMS)
def test_a_program_of_the_documentation_runs(
    world: dict[str, Any], page: str, program: str
) -> None:
    [open_number] = world["server"].connections
    program = program.replace("connections[17]", f"connections[{open_number}]")
    program = re.sub(r"\b8008\b", "0", program).replace(", timeout=60)", ", timeout=0)")
    if page == "testing.md" and "server.socket" in program:
        world["server"] = socketserver.TCPServer(("127.0.0.1", 0), Echo)
    given = socket.create_server(("127.0.0.1", 0)).detach()
    program = program.replace("fileno=3", f"fileno={given}")
    controlled = manyhands.Server(Echo, "tcp://127.0.0.1:0", control="control.sock")
    try:
        with controlled if page == "control.md" else nullcontext():
            exec(compile(program, page, "exec"), world)
    finally:
        _end(world)
        if f"fileno={given}" not in program:
            socket.close(given)


def _end(world: dict[str, Any]) -> None:
    for name in ("end", "unsubscribe"):
        if name in world:
            world[name]()
    if isinstance(world["server"], socketserver.BaseServer):
        world["server"].server_close()


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_documentation_is_one_that_is_taken(line: str) -> None:
    name, *words = shlex.split(line, comments=True)
    if name.startswith("-"):
        return  # --help, of all commands
    command = cli._load(name)
    parser = Parser(prog=name)
    command.add_arguments(parser)
    if name == "ctl":
        own, rest = ctl.split(words)
        ctl.parsed(parser.parse_args(own, argparse.Namespace(words=rest)))
        return
    if name == "run":
        words, program = split(words)
        assert program
    arguments = parser.parse_args(words, argparse.Namespace())
    given_options(arguments, DROP_IN_OPTIONS if name == "run" else SERVER_OPTIONS)
    for address in getattr(arguments, "bind", None) or ():
        parse(address)


def test_there_are_such_programs_and_commands() -> None:
    assert len(PROGRAMS) > 20
    assert len(COMMANDS) > 12
