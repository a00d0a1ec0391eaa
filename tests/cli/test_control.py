"""The control sockets of the commands that serve: on by themselves, and without a word of it."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands.control.client import Client, Lost, Unreachable
from tests.desk.kit import Desk
from tests.support import Program, ask, call, everything, is_listening, read_line, wait_until
from tests.support.waiting import PATIENCE

HERE = "tcp://127.0.0.1:0"


def place_of(program: Program) -> str:
    """Return the place that a process chooses by itself where there is no runtime folder."""
    return f"@manyhands.{os.geteuid()}.{program.pid}"


@pytest.fixture(autouse=True)
def no_runtime_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


@pytest.fixture
def started() -> Iterator[Any]:
    programs: list[Program] = []

    def start(*words: str, folder: Path) -> Program:
        programs.append(Program(["-m", "manyhands", *words], folder))
        return programs[-1]

    yield start
    for program in programs:
        program.__exit__()


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_serve_has_one_by_itself_and_says_nothing_of_it(
    started: Any, folder: Path, engine: str
) -> None:
    program = started("serve", "handlers:Echo", "--bind", HERE, "--engine", engine, folder=folder)
    program.line()
    with Client(place_of(program)) as client:
        assert (client.hello.name, client.hello.pid) == ("serve handlers:Echo", program.pid)
        assert client.call("drain")["is_draining"]
        with pytest.raises(Lost):
            client.receive(PATIENCE)
    assert program.wait() == 0
    assert program.lines_left() == []
    assert program.errors() == ""


def test_with_none_there_is_none(started: Any, folder: Path) -> None:
    program = started("serve", "handlers:Echo", "--bind", HERE, "--control", "none", folder=folder)
    program.line()
    with pytest.raises(Unreachable):
        Client(place_of(program))


def test_one_for_reading_is_beside_it_where_it_is_told(started: Any, folder: Path) -> None:
    flags = ["--control", "all.sock", "--control-read", "read.sock"]
    program = started("serve", "handlers:Echo", "--bind", HERE, *flags, folder=folder)
    program.line()
    with Client(str(folder / "all.sock")) as all_, Client(str(folder / "read.sock")) as read:
        assert (all_.hello.may, read.hello.may) == (("read", "write"), ("read",))
    program.send(signal.SIGTERM)
    assert program.wait() == 0
    assert not list(folder.glob("*.sock"))


def words_of(command: str, folder: Path, *flags: str) -> list[str]:
    """Return the words that start a command, and a program of Python that says so when it runs."""
    (folder / "program.py").write_text("print('it runs')\n", encoding="utf-8")
    rest = {
        "serve": ["handlers:Echo", "--bind", HERE],
        "run": ["program.py"],
        "chat": ["--bind", HERE, "--transcript", ":memory:"],
    }
    return [command, *flags, *rest[command]]


@pytest.mark.parametrize("place", ["no/folder.sock", "x" * 200, "taken.sock", "@", ""])
@pytest.mark.parametrize("command", ["serve", "run", "chat"])
def test_a_place_that_cannot_be_had_is_a_mistake(
    started: Any, folder: Path, command: str, place: str
) -> None:
    name = f"@{folder}"
    with socket.socket(socket.AF_UNIX) as holder, socket.socket(socket.AF_UNIX) as other:
        holder.bind(str(folder / "taken.sock"))
        holder.listen()
        other.bind(f"\0{folder}")
        place = name if place == "@" else place
        program = started(*words_of(command, folder, "--control", place), folder=folder)
        assert program.wait() == 2
    [line] = program.errors().splitlines()
    assert line.startswith("manyhands: ")
    assert "it runs" not in program.lines_left()


@pytest.mark.parametrize("command", ["serve", "run", "chat"])
@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--control", "a.sock", "--control-read", "./a.sock"], "are both to be at "),
        (["--control-read", "auto"], "--control-read must be the path of a socket or @NAME"),
    ],
)
def test_two_sockets_are_at_two_places(
    started: Any, folder: Path, command: str, flags: list[str], sentence: str
) -> None:
    program = started(*words_of(command, folder, *flags), folder=folder)
    assert program.wait() == 2
    [line] = program.errors().splitlines()
    assert sentence in line
    assert "it runs" not in program.lines_left()


def test_a_program_that_ends_leaves_no_file_behind(
    started: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    own = folder / "manyhands"
    unmodified(folder)
    (folder / "brief.py").write_text(
        "import program, threading\n"
        "server = program.Server(('127.0.0.1', 0), program.Echo)\n"
        "server.daemon_threads = False  # the end waits for the answer\n"
        "print(*server.server_address, flush=True)\n"
        "threading.Thread(target=server.handle_request).start()\n",
        encoding="utf-8",
    )
    program = started("run", "brief.py", folder=folder)
    address = address_of(program)
    wait_until(lambda: list(own.glob("*.sock")))
    assert ask(address, b"hello\n") == b"hello\n"
    assert program.wait() == 0
    assert program.errors() == ""
    assert list(own.glob("*.sock")) == []


PROGRAM = """
import os, socketserver, sys, threading, multiprocessing

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Echo) as server:
        print(*server.server_address, flush=True)
        {serve}
    print("over", flush=True)
"""


def unmodified(folder: Path, serve: str = "server.serve_forever()") -> str:
    path = folder / "program.py"
    path.write_text(PROGRAM.replace("{serve}", serve), encoding="utf-8")
    return path.name


def address_of(program: Program) -> tuple[str, int]:
    host, port = program.line().split()
    return host, int(port)


def test_a_program_that_is_a_module_goes_by_the_name_of_the_module(
    started: Any, folder: Path
) -> None:
    unmodified(folder)
    (folder / "shop").mkdir()
    (folder / "program.py").rename(folder / "shop" / "__main__.py")
    program = started("run", "-m", "shop", "word", folder=folder)
    with call(address_of(program)) as peer:
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"  # it serves, so it has one
        with Client(place_of(program)) as client:
            assert client.hello.name == "run -m shop word"


@pytest.mark.parametrize("engine", ["sequential", "threads", "processes", "fibers"])
def test_an_unmodified_program_has_one_and_goes_on_when_it_has_drained(
    started: Any, folder: Path, engine: str
) -> None:
    program = started("run", "--engine", engine, unmodified(folder), "word", folder=folder)
    address = address_of(program)
    with call(address) as peer:
        peer.sendall(b"hello\n")
        read_line(peer)
        with Client(place_of(program)) as client:
            assert client.hello.name == "run program.py word"
            [server] = client.call("status")["servers"]
            assert (server["kind"], server["handler"]) == ("Server", "Echo")
            [row] = client.call("connections.list")["items"]
            stack = client.call("connections.get", id=row["id"])["stack"]
            if engine != "processes":
                assert any(line.endswith(" in Echo.handle") for line in stack)
            client.call("limits.set", values={"max_connections": 1})
            assert client.call("drain", timeout=1)["is_draining"]
            wait_until(lambda: not is_listening(address[1]))
        everything(peer)
    assert program.line() == "over"
    assert program.wait() == 0
    assert program.errors() == ""


def test_a_program_that_serves_one_request_after_the_other_has_one_too(
    started: Any, folder: Path
) -> None:
    serve = "while True: server.handle_request()"
    program = started("run", unmodified(folder, serve), folder=folder)
    address = address_of(program)
    assert ask(address, b"hello\n") == b"hello\n"
    with Client(place_of(program)) as client:
        assert client.call("status")["books"]["accepted"] == 1


def test_forked_copies_and_children_of_multiprocessing_have_none(
    started: Any, folder: Path
) -> None:
    serve = """
        def child():
            with Server(("127.0.0.1", 0), Echo) as own:
                print(os.getpid(), *own.server_address, flush=True)
                own.serve_forever()
        if os.fork() == 0:
            child()
        multiprocessing.get_context("fork").Process(target=child, daemon=True).start()
        server.serve_forever()
    """.strip()
    program = started("run", unmodified(folder, serve), folder=folder)
    assert ask(address_of(program), b"hello\n") == b"hello\n"
    with Client(place_of(program)) as client:
        assert client.call("status")["books"]["accepted"] == 1
    for _ in range(2):
        pid, host, port = program.line().split()
        assert ask((host, int(port)), b"hello\n") == b"hello\n"
        with pytest.raises(Unreachable):
            Client(f"@manyhands.{os.geteuid()}.{pid}")


def test_children_that_multiprocessing_spawns_have_none(started: Any, folder: Path) -> None:
    (folder / "spawned.py").write_text(
        "import program, multiprocessing, os\n"
        "def child():\n"
        "    with program.Server(('127.0.0.1', 0), program.Echo) as own:\n"
        "        print(os.getpid(), *own.server_address, flush=True)\n"
        "        own.serve_forever()\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child, daemon=True)\n"
        "    process.start()\n"
        "    process.join()\n",
        encoding="utf-8",
    )
    unmodified(folder)
    program = started("run", "spawned.py", folder=folder)
    pid, host, port = program.line().split()
    assert ask((host, int(port)), b"hello\n") == b"hello\n"
    with pytest.raises(Unreachable):
        Client(f"@manyhands.{os.geteuid()}.{pid}")


def test_two_servers_of_a_program_are_told_apart(started: Any, folder: Path) -> None:
    serve = """
        other = Server(("127.0.0.1", 0), Echo)
        print(*other.server_address, flush=True)
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server.serve_forever()
    """.strip()
    program = started("run", unmodified(folder, serve), folder=folder)
    for address in (address_of(program), address_of(program)):
        assert ask(address, b"hello\n") == b"hello\n"
    with Client(place_of(program)) as client:
        servers = client.call("status")["servers"]
        assert [(each["server"], each["accepted"]) for each in servers] == [(1, 1), (2, 1)]


def test_a_server_that_a_program_has_dropped_is_told_of_no_more(started: Any, folder: Path) -> None:
    serve = """
        def serve_one():
            other = Server(("127.0.0.1", 0), Echo)
            print(*other.server_address, flush=True)
            other.handle_request()
        serve_one()
        server.serve_forever()
    """.strip()
    program = started("run", unmodified(folder, serve), folder=folder)
    here, other = address_of(program), address_of(program)
    assert ask(other, b"hello\n") == b"hello\n"
    assert ask(here, b"hello\n") == b"hello\n"
    with Client(place_of(program)) as client:
        wait_until(lambda: len(client.call("status")["servers"]) == 1)
    assert not is_listening(other[1])


def test_a_desk_closes_when_it_is_told_to_drain(folder: Path) -> None:
    desk = Desk(folder)
    caller = desk.takes_a_call()
    with Client(f"@manyhands.{os.geteuid()}.{desk.process.pid}") as client:
        assert client.hello.name == "chat"
        assert client.call("status")["books"]["open"] == 1
        assert client.call("drain")["is_draining"]
    assert caller.hears() == "desk: the desk is closing"
    assert desk.ends() == 0
    assert desk.output[-1] == "the desk is closed"


PATCHED = """
import gevent.monkey
gevent.monkey.patch_all()
from manyhands import socketserver
from program import Echo
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
with Server(("127.0.0.1", 0), Echo) as server:
    print(*server.server_address, flush=True)
    server.serve_forever()
print("over", flush=True)
"""


def test_a_program_that_gevent_has_patched_has_one_and_drains(started: Any, folder: Path) -> None:
    unmodified(folder)
    (folder / "patched.py").write_text(PATCHED, encoding="utf-8")
    program = started("run", "patched.py", folder=folder)
    address = address_of(program)
    with call(address) as peer:
        peer.sendall(b"hello\n")
        read_line(peer)
        with Client(place_of(program)) as client:
            [row] = client.call("connections.list")["items"]
            assert client.call("connections.get", id=row["id"])["handler"] == "Echo"
            assert client.call("stacks")["total"] == 1
            client.call("drain", timeout=0.5)
        everything(peer)
    assert program.line() == "over"
    assert program.wait() == 0
    assert program.errors() == ""
