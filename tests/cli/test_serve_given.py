"""`manyhands serve` on sockets that are given to it, by systemd's own starter too; what it tells systemd."""

import os
import re
import signal
import socket
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import (
    ENGINES,
    Authority,
    Program,
    ServiceManager,
    ask,
    call,
    everything,
)
from tests.support.programs import environment

GIVE = """
    # Gives one socket, as descriptor 3, to the `manyhands serve` that this process becomes.
    import os, socket, sys
    pid, count, names, *words = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    told = {"LISTEN_PID": pid or str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names}
    os.environ.update({name: value for name, value in told.items() if value})
    os.execv(sys.executable, [sys.executable, "-m", "manyhands", "serve", *words])
"""

BECOME = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"


@pytest.fixture
def start(folder: Path) -> Iterator[Any]:
    started: list[Program] = []

    def start(*arguments: str) -> Program:
        started.append(Program(["-c", *arguments], folder))
        return started[-1]

    yield start
    for program in started:
        program.__exit__()


def given(start: Any, *words: str, pid: str = "", count: str = "1", names: str = "web") -> Any:
    """Start the command with a listening socket as descriptor 3; return it and the socket's address."""
    program = start(textwrap.dedent(GIVE), pid, count, names, *words)
    return program, ("127.0.0.1", int(program.line()))


def activated(start: Any, *words: str) -> Program:
    """Start systemd-socket-activate, which begins the command at the first call."""
    path = f"PYTHONPATH={environment()['PYTHONPATH']}"
    program: Program = start(BECOME, "systemd-socket-activate", "-E", path, *words)
    assert "Listening on" in program.error_line()
    return program


def ended(program: Program) -> int:
    program.send(signal.SIGTERM)
    return program.wait()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "manyhands", "serve", *words]


@pytest.mark.parametrize(
    ("address", "engine"),
    [
        *(("systemd://web", engine) for engine in ENGINES),
        ("fd://3", "threads"),
        ("systemd://", "threads"),
    ],
)
def test_a_descriptor_that_is_inherited_is_served(start: Any, address: str, engine: str) -> None:
    program, where = given(start, "handlers:Echo", "--bind", address, "--engine", engine)
    assert program.line() == f"listening on tcp://127.0.0.1:{where[1]}"
    assert ask(where) == b"hello\n"
    assert ended(program) == 0
    assert program.errors() == ""


CHILD = """
import subprocess, sys
LOOK = '''
import os
is_open = True
try:
    os.fstat(3)
except OSError:
    is_open = False
print([name for name in os.environ if name.startswith("LISTEN_")], is_open)
'''
class Looks(StreamRequestHandler):
    def handle(self):
        subprocess.run([sys.executable, "-c", LOOK], stdout=self.request, close_fds=False)
"""


def test_a_program_that_a_handler_starts_inherits_neither_the_socket_nor_word_of_it(
    start: Any, folder: Path
) -> None:
    with (folder / "handlers.py").open("a", encoding="utf-8") as module:
        module.write(CHILD)
    program, where = given(start, "handlers:Looks", "--bind", "systemd://")
    program.line()
    with call(where) as peer:
        assert everything(peer) == b"[] False\n"


@pytest.mark.parametrize(
    ("words", "told", "sentence"),
    [
        ("fd://99", {}, "cannot listen on fd://99: descriptor 99 is not open (Bad file descriptor)"),
        ("fd://web", {}, "'fd://web' is not an address: a descriptor is a number, as in fd://3"),
        ("fd://0", {}, "cannot listen on fd://0: descriptor 0 is no socket"),
        ("systemd://log", {}, "cannot listen on systemd://log: no socket of the name 'log' was given"),
        ("systemd://", {"pid": "1"}, "cannot listen on systemd://: the sockets of LISTEN_FDS were given"),
        ("systemd://", {"count": "2"}, "cannot listen on systemd://: LISTEN_FDNAMES has 1 names for 2"),
        ("systemd://", {"count": "2", "names": "a:b"}, "cannot listen on systemd://: descriptor 4 (b) is"),
        ("systemd://", {"count": ""}, "cannot listen on systemd://: this process was given no sockets"),
        ("tls+fd://3", {}, "tls+fd://3 needs a certificate: give certfile"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_one_sentence_and_status_2(
    start: Any, words: str, told: dict[str, str], sentence: str
) -> None:
    program, _ = given(start, "handlers:Echo", "--bind", words, **told)
    assert program.wait() == 2
    errors = program.errors()
    assert errors.startswith(f"manyhands: {sentence}")
    assert errors.count("\n") == 1


def test_a_handler_of_the_wrong_kind_is_one_sentence_and_status_2(start: Any) -> None:
    program, _ = given(start, "handlers:Shout", "--bind", "fd://3")
    assert program.wait() == 2
    assert program.errors() == (
        "manyhands: Shout is a DatagramRequestHandler, which cannot serve fd://3\n"
    )


def test_systemd_s_starter_gives_a_socket_whose_first_caller_is_served(
    start: Any, folder: Path
) -> None:
    path = str(folder / "echo.sock")
    words = command("handlers:Echo", "--bind", "systemd://web")
    program = activated(start, "-l", path, "--fdname=web", *words)
    assert ask(path) == b"hello\n"
    assert program.line() == f"listening on unix://{path}"
    assert ended(program) == 0
    assert Path(path).is_socket()  # systemd's own, to remove or to give again


def test_systemd_s_starter_gives_several_sockets_of_which_some_are_named(
    start: Any, folder: Path
) -> None:
    paths = [str(folder / name) for name in ("a.sock", "b.sock", "c.sock")]
    listen = [word for path in paths for word in ("-l", path)]
    words = command("handlers:Echo", "--bind", "systemd://web")
    program = activated(start, *listen, "--fdname=web:log:web", *words)
    assert ask(paths[0]) == b"hello\n"
    assert [program.line(), program.line()] == [
        f"listening on unix://{path}" for path in (paths[0], paths[2])
    ]
    assert ask(paths[2]) == b"hello\n"
    assert ended(program) == 0
    assert program.lines_left() == []


def test_systemd_s_starter_gives_a_datagram_socket(start: Any, folder: Path) -> None:
    path = str(folder / "log.sock")
    words = command("handlers:Shout", "--bind", "systemd://")
    program = activated(start, "-d", "-l", path, *words)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.bind(str(folder / "peer.sock"))
        peer.sendto(b"hello", path)
        assert peer.recv(10) == b"HELLO"
    assert program.line() == f"listening on unix-datagram://{path}"
    assert ended(program) == 0


def test_systemd_s_starter_gives_a_tcp_socket_for_tls(
    start: Any, folder: Path, authority: Authority
) -> None:
    certfile, keyfile = authority.write(folder, "localhost")
    files = ("--certfile", certfile, "--keyfile", keyfile)
    # An address of 127.0.0.0/8 for this process alone, for the starter tells no port that it got.
    where = (f"127.{os.getpid() >> 16 & 0x7F}.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}", 8008)
    words = command("handlers:Echo", "--bind", "tls+systemd://", *files)
    program = activated(start, "-l", f"{where[0]}:{where[1]}", *words)
    with call(where) as plain:
        context = authority.client_context()
        with context.wrap_socket(plain, server_hostname="localhost") as peer:
            peer.sendall(b"hello\n")
            assert peer.recv(10) == b"hello\n"
    assert program.line() == f"listening on tls://{where[0]}:{where[1]}"
    assert ended(program) == 0


def test_a_connection_in_the_place_of_a_listener_is_told(start: Any, folder: Path) -> None:
    path = str(folder / "x.sock")
    words = command("handlers:Echo", "--bind", "systemd://")
    program = activated(start, "--accept", "-l", path, *words)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(path)
        said = ""
        while "manyhands: " not in said:
            said = program.error_line()
    assert re.fullmatch(
        r"manyhands: cannot listen on systemd://: descriptor 3 \(\w+\) is a connection, not a listening "
        r"socket \(systemd's Accept= must be no\)",
        said,
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_command_tells_systemd_what_it_does(
    start: Any, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with ServiceManager(f"{tmp_path}/notify") as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.where)
        program, where = given(
            start, "handlers:Busy", "--bind", "fd://3", "--engine", engine, "--drain-timeout", "60"
        )
        ready = manager.hear()
        assert ready["READY"] == "1"
        assert ready["STATUS"] == f"serving on tcp://127.0.0.1:{where[1]}"
        # It has said so on its output before.
        assert program.line() == f"listening on tcp://127.0.0.1:{where[1]}"
        assert manager.hear() == {"WATCHDOG": "1"}
        program.send(signal.SIGHUP)
        assert "RELOADING" in manager.hear_until("RELOADING")[-1]
        assert manager.hear_until("READY")[-1]["STATUS"] == "reloaded"
        with call(where) as peer:
            assert int(peer.recv(20))
            program.send(signal.SIGTERM)
            assert manager.hear_until("STOPPING")[-1]["EXTEND_TIMEOUT_USEC"] == "10000000"
            assert manager.hear_until("EXTEND_TIMEOUT_USEC")[-1]["STATUS"] == "draining: 1 left"
            peer.sendall(b"in time\n")
            assert everything(peer) == b"finished in time\n"
        assert program.wait() == 0
