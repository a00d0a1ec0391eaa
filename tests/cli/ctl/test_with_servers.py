"""`manyhands ctl` with servers that serve, on every engine."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manyhands import Server, StreamRequestHandler
from manyhands.cli import main
from manyhands.control.client_socket import Lost, Unreachable
from manyhands.control.discovery import Follower, choose
from manyhands.testing import half_close
from tests.desk.kit import Desk
from tests.support import Echo, Program, call, everything, read_line, wait_until

OLD_PROGRAM = """
import socketserver
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), socketserver.StreamRequestHandler) as server:
    print("serving", flush=True)
    server.serve_forever()
"""

Says = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"{tmp_path}/control.sock"


@pytest.fixture
def says(place: str, capsys: pytest.CaptureFixture[str]) -> Says:
    """Carry out `manyhands ctl`; return what it printed."""

    def say(*words: str, status: int = 0) -> str:
        ended = main(["ctl", "--control", place, *words])
        printed = capsys.readouterr()
        assert (ended, printed.err.count("\n")) == (status, bool(status)), printed.err
        return printed.out + printed.err

    return say


@pytest.fixture
def server(place: str, engine: str) -> Iterator[Server]:
    with Server(Echo, "tcp://127.0.0.1:0", engine=engine, control=place, drain_timeout=1) as server:
        yield server


def test_a_connection_is_listed_found_and_closed(server: Server, says: Says) -> None:
    # On the engine `sequential` its handler has the server's only thread meanwhile.
    address = server.addresses[0]
    with call((address.host, address.port)) as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"
        peer = f"127.0.0.1:{client.getsockname()[1]}"
        [_, line, last] = says("connections", "--sort", "-id").splitlines()
        assert (line.split()[1], last) == (peer, "1 connection")
        [found] = json.loads(says("connections", "--text", peer, "--json"))["items"]
        assert says("connections", "--text", "nowhere") == "0 connections, of 1 open\n"
        assert f"client     {peer}\n" in says("connection", found["id"])
        assert says("close", f"#{found['id']}") == f"closed {found['id']}\n"
        assert everything(client) == b""
    wait_until(lambda: says("connections") == "0 connections\n")
    gone = says("close", found["id"], status=1)
    assert gone.startswith(f"manyhands: there is no connection {found['id']}")


def test_the_status_has_books_that_balance(server: Server, engine: str, says: Says) -> None:
    address = server.addresses[0]
    with call((address.host, address.port)) as client:
        assert server.wait_for_connections(1, timeout=30)
        assert "1 accepted = 1 open + 0 closed, 0 of these refused" in says("status")
        # A forked handler has a copy of this end, too: to close it here would end nothing.
        half_close(client)
        assert everything(client) == b""
    wait_until(lambda: "1 accepted = 0 open + 1 closed" in says("status"))
    said = says("status")
    assert f"process  {os.getpid()}, " in said
    assert f"listener  127.0.0.1:{address.port}" in said
    assert f"engine    {engine}: 0" in said


def test_limits_are_changed_while_it_serves(server: Server, says: Says) -> None:
    said = says("limits", "max_connections=5", "idle-timeout=none")
    assert said == "max_connections  5\nidle_timeout     none\n"
    assert (server.max_connections, server.idle_timeout) == (5, None)
    assert says("limits", "idle_timeout=5m") == "idle_timeout  300\n"
    refused = says("limits", "max_connections=7", "idle_timeout=-1", status=2)
    assert refused.startswith("manyhands: idle_timeout must be ")
    assert server.max_connections == 5
    assert says("limits", "max_connections").splitlines()[:2] == [
        "name     max_connections",
        "value    5 connections",
    ]


@pytest.mark.parametrize("engine", ["threads"])
@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["connections", "--sort", "nonsense"], 2, "sort must be id, -id, "),
        (["connections", "--limit", "0"], 2, "limit must be a whole number from 1 to 1000, not 0"),
        (["connections", "--peer", "10.0.0.0/99"], 2, "where.peer: "),
        (["connections", "--state", "shut"], 2, "where.state must be "),
        (["watch", "--every", "0.01"], 2, "every must be a number from 0.1 to 60"),
        (["limits", "nosuch"], 2, "there is no limit 'nosuch'; there are "),
        (["limits", "max_connection=5"], 2, "there is no limit 'max_connection'; did you mean "),
        (["limits", "max_connections=abc"], 2, "max_connections must be a whole number "),
        (["limits", "max_connections="], 2, "max_connections: the value is missing"),
        (["drain", "--timeout", "1e9"], 2, "--timeout must be a number of seconds from 0 up to "),
        (["call", "nosuch"], 2, "there is no verb 'nosuch'; there are "),
        (["call", "status", '{"x": 1}'], 2, "there is no parameter 'x'"),
        (["close", "99999999"], 1, "there is no connection 99999999"),
        (["status", "--server"], 2, "unrecognized arguments: --server"),
        (["tell", "nowhere", "x"], 1, "there is no room 'nowhere'"),
        (["suspend", "127.0.0.1:1"], 1, "there is no listener 127.0.0.1:1"),
        (["connections", "--listener", "127.0.0.1:1"], 1, "there is no listener 127.0.0.1:1"),
        (["reload"], 1, "there is nothing to reload"),
        (["rooms", "--server", "200000000"], 1, "there is no server 200000000"),
    ],
)
def test_a_mistake_of_the_command_line_has_another_status_than_what_cannot_be_done(
    server: Server, says: Says, words: list[str], status: int, sentence: str
) -> None:
    assert server.addresses
    assert says(*words, status=status).startswith(f"manyhands: {sentence}")


def test_a_listener_is_suspended_and_resumed(server: Server, says: Says) -> None:
    listener = f"127.0.0.1:{server.addresses[0].port}"
    assert says("suspend", listener).split()[-2:] == [listener, "suspended"]
    assert f"listener  {listener}: suspended" in says("status")
    assert says("resume").split()[-3:] == [listener, "takes", "clients"]
    nowhere = says("suspend", "127.0.0.1:1", status=1)
    assert nowhere.startswith("manyhands: there is no listener 127.0.0.1:1")


@pytest.mark.usefixtures("_stacks_are_waited_for")
def test_where_a_handler_stands_is_told(server: Server, says: Says) -> None:
    address = server.addresses[0]
    with call((address.host, address.port)) as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"
        heading, *calls = says("stacks").partition("thread ")[0].splitlines()
        assert f" 127.0.0.1:{client.getsockname()[1]} Echo" in heading
        assert any(" in Echo.handle" in each for each in calls)
        [number] = [item["id"] for item in json.loads(says("stacks", "--json"))["items"]]
        assert " in Echo.handle" in says("stacks", number)


class InRed(StreamRequestHandler):
    """Is in a room until its client goes."""

    def handle(self) -> None:
        self.join("red")
        self.send(b"welcome\n")
        self.rfile.read()


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_a_room_is_told_a_line(place: str, engine: str, says: Says) -> None:
    with Server(InRed, "tcp://127.0.0.1:0", engine=engine, control=place) as server:
        assert says("rooms") == "no room has a member\n"
        address = server.addresses[0]
        with call((address.host, address.port)) as client:
            assert read_line(client) == b"welcome\n"
            assert says("rooms") == "ROOM  MEMBERS\nred         1\n"
            assert says("tell", "red", "in ten minutes") == "told 1\n"
            assert read_line(client) == b"in ten minutes\n"
            headings, line, _ = says("connections", "--room", "red").splitlines()
            assert (headings.split()[-1], line.split()[-1]) == ("ROOMS", "red")
            assert says("connections", "--room", "blue") == "0 connections, of 1 open\n"
            assert "rooms      red\n" in says("connection", line.split()[0])


def test_a_server_is_drained(server: Server, place: str, says: Says) -> None:
    address = server.addresses[0]
    with call((address.host, address.port)) as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"
        assert says("drain", "--timeout", "5").startswith("no new clients: ")
        assert everything(client) == b""
    wait_until(lambda: not Path(place).exists())
    assert says("status", status=1) == f"manyhands: there is no control socket at {place}\n"


def test_what_the_commands_serve_is_listed(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr("manyhands.listening.proc_net.PROC", str(tmp_path))
    (folder / "old.py").write_text(OLD_PROGRAM, encoding="utf-8")
    with served(folder), Program(["-m", "manyhands", "run", "old.py"], folder) as program:
        assert program.line() == "serving"
        desk = Desk(tmp_path)
        try:
            # The program says so before it serves.
            wait_until(lambda: len(list((tmp_path / "run" / "manyhands").iterdir())) == 3)
            assert main(["ctl", "ls"]) == 0
            _, *lines = capsys.readouterr().out.splitlines()
        finally:
            desk.process.terminate()
            desk.ends()
    assert {line.split()[1] for line in lines} == {"serve", "run", "chat"}
    assert {line.split()[-1] for line in lines} == {
        f"{tmp_path}/run/manyhands/{line.split()[0]}.sock" for line in lines
    }


def served(folder: Path, *words: str) -> Program:
    """Run `manyhands serve` with words, and wait until it listens."""
    serve = ["-m", "manyhands", "serve", "handlers:Echo", "--bind", "tcp://127.0.0.1:0", *words]
    program = Program(serve, folder)
    assert program.line().startswith("listening on ")
    return program


def test_what_happens_is_watched_from_outside(folder: Path, place: str, says: Says) -> None:
    watch = ["-m", "manyhands", "ctl", "--control", place, "watch"]
    with served(folder, "--control", place) as server, Program(watch) as watching:
        port = int(says("status").partition("127.0.0.1:")[2].split(":")[0])

        def come_and_go() -> bool:
            # Until its events are told: it is another process, which takes its time to begin.
            with call(("127.0.0.1", port)) as client:
                client.sendall(b"hello\n")
                assert client.recv(100) == b"hello\n"
            return watching.has_line()

        wait_until(come_and_go)
        assert "ConnectionClosed: " in watching.line()
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert watching.wait() == 1
        assert watching.lines_left()[-1:] != []
        assert watching.errors().endswith(" has closed the connection\n")


def test_a_server_is_followed_to_its_next_process(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where this machine's other servers have none.
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr("manyhands.listening.proc_net.PROC", str(tmp_path))
    follower = Follower()
    with served(folder, "--control", "auto") as first, follower.connect() as client:
        assert client.hello.pid == first.pid
        with choose(str(first.pid)) as other:
            assert other.call("status")["pid"] == first.pid
        first.kill()
        with pytest.raises(Lost):
            client.call("status")
    with pytest.raises(Unreachable, match="has ended, and is not back yet"):
        follower.connect()
    with served(folder, "--control", "auto") as second, follower.connect() as client:
        assert client.hello.pid == second.pid
        assert [file.name for file in (tmp_path / "run" / "manyhands").iterdir()] == [
            f"{second.pid}.sock"
        ]
