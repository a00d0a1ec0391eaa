"""A stale path among many: starters at once, connections that outlive their server, names that look alike."""

import fcntl
import os
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manyhands import socketserver
from manyhands.listening import unix_paths
from manyhands.listening.proc_net import starting
from tests.support import Echo, ask, python, serving
from tests.support.programs import environment
from tests.support.waiting import PATIENCE

STARTERS = 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sock"


def leave_behind(path: Path) -> None:
    """Make the socket file of a server that is gone."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


STARTER = """
    import sys, threading
    from manyhands import socketserver

    class Name(socketserver.StreamRequestHandler):
        def handle(self):
            # The other servers probe the path with a connection too, and send nothing.
            if self.rfile.readline():
                self.wfile.write(sys.argv[2].encode())

    print("ready", flush=True)
    sys.stdin.readline()
    try:
        server = socketserver.UnixStreamServer(sys.argv[1], Name)
    except OSError as error:
        print(error, flush=True)
    else:
        print("won", flush=True)
        with server:
            threading.Thread(target=server.serve_forever).start()
            sys.stdin.readline()
            server.shutdown()
"""


class Starters:
    """Processes that start a server on one path as soon as they are told."""

    def __init__(self, path: Path, count: int) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(STARTER), str(path), str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
            for number in range(count)
        ]
        self._read_each()

    def start(self) -> list[str]:
        """Start them all at once; return what became of each."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return self._read_each()

    def _read_each(self) -> list[str]:
        lines = []
        for process in self.processes:
            assert process.stdout is not None
            lines.append(process.stdout.readline().rstrip("\n"))
        return lines

    def end(self) -> None:
        for process in self.processes:
            process.communicate("\n", timeout=PATIENCE)


@contextmanager
def starters(path: Path, count: int = STARTERS) -> Iterator[Starters]:
    crowd = Starters(path, count)
    try:
        yield crowd
    finally:
        for process in crowd.processes:
            process.kill()
            process.wait(PATIENCE)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


@pytest.mark.parametrize("_round", range(3))
def test_of_many_that_start_on_a_stale_path_one_has_it_and_answers(path: Path, _round: int) -> None:
    leave_behind(path)
    with starters(path) as crowd:
        told = crowd.start()
        assert told.count("won") == 1, told
        refused = [line for line in told if line != "won"]
        assert all("a live server" in line for line in refused), refused
        assert ask(str(path)) == str(told.index("won")).encode()
        crowd.end()
    assert path.is_socket()


@contextmanager
def unlistening(path: Path) -> Iterator[None]:
    """Be a server that has bound `path` and does not listen yet."""
    with socket.socket(socket.AF_UNIX) as starting_server:
        starting_server.bind(str(path))
        yield


def test_the_quicker_server_keeps_the_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_behind(path)
    remove = os.unlink

    def be_slow(removed: Path) -> None:
        remove(removed)
        quicker.server_bind()

    quicker = socketserver.UnixStreamServer(str(path), Echo, bind_and_activate=False)
    monkeypatch.setattr(os, "unlink", be_slow)
    with quicker:
        with pytest.raises(OSError, match="a live server is there, about to listen"):
            socketserver.UnixStreamServer(str(path), Echo)
        monkeypatch.undo()
        quicker.server_activate()
        with serving(quicker):
            assert ask(str(path)) == b"hello\n"


def test_no_server_takes_a_path_over_between_another_s_look_and_removal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_paths, "LOCK_TIMEOUT", 0.05)
    leave_behind(path)
    remove = os.unlink
    told: list[str] = []

    def start_in_between(removed: Path) -> None:
        monkeypatch.setattr(os, "unlink", remove)
        try:
            other.server_bind()
            other.server_activate()
        except OSError as error:
            told.append(str(error))
        remove(removed)

    other = socketserver.UnixStreamServer(str(path), Echo, bind_and_activate=False)
    monkeypatch.setattr(os, "unlink", start_in_between)
    with other, serving(socketserver.UnixStreamServer(str(path), Echo)):
        assert ask(str(path)) == b"hello\n"
        assert "another program keeps it locked" in told[0]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_a_folder_that_another_program_keeps_locked_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_paths, "LOCK_TIMEOUT", 0.05)
    leave_behind(path)
    with (
        locked(path.parent),
        pytest.raises(
            OSError,
            match=r"left its socket there, and its folder cannot be locked .*: "
            "another program keeps it locked; remove it by hand",
        ),
    ):
        socketserver.UnixStreamServer(str(path), Echo)
    assert path.is_socket()
    with serving(socketserver.UnixStreamServer(str(path), Echo)):
        assert ask(str(path)) == b"hello\n"


def test_a_locked_folder_matters_only_to_a_server_that_takes_over(path: Path) -> None:
    with locked(path.parent), serving(socketserver.UnixStreamServer(str(path), Echo)):
        with pytest.raises(OSError, match="a live server answers there"):
            socketserver.UnixStreamServer(str(path), Echo)
        assert ask(str(path)) == b"hello\n"


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can enter; those of pytest are its user's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for inner in folder.iterdir():
            inner.chmod(0o755)


def start_without_privileges(path: Path) -> str:
    """Start a server in a child that has no more rights than any user; return its error."""
    program = """
        import os, sys
        from manyhands import socketserver
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            socketserver.UnixStreamServer(sys.argv[1], None)
        except OSError as error:
            print(error)
    """
    finished = python("-c", textwrap.dedent(program), str(path))
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        (0o333, "its folder cannot be locked for taking it over: Permission denied"),
        (0o555, "it cannot be removed: Permission denied"),
    ],
)
def test_a_stale_path_that_may_not_be_taken_over_says_why(
    public: Path, mode: int, why: str
) -> None:
    folder = public / "folder"
    folder.mkdir()
    path = folder / "a.sock"
    leave_behind(path)
    path.chmod(0o777)
    folder.chmod(mode)
    error = start_without_privileges(path)
    assert "a server that is gone left its socket there" in error
    assert why in error
    folder.chmod(0o755)
    assert path.is_socket()


def test_a_socket_that_may_not_be_called_is_not_said_to_answer(public: Path) -> None:
    path = public / "a.sock"
    with socketserver.UnixStreamServer(str(path), Echo):
        path.chmod(0)
        error = start_without_privileges(path)
        assert "a socket is there whose server may be alive: Permission denied" in error


def test_a_link_is_said_to_be_one(path: Path) -> None:
    leave_behind(path)
    link = path.with_name("link.sock")
    link.symlink_to(path)
    with pytest.raises(OSError, match=re.escape("(a symbolic link is there)")):
        socketserver.UnixStreamServer(str(link), Echo)


def test_a_pipe_is_a_file_that_is_no_socket(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="a file that is no socket is there"):
        socketserver.UnixStreamServer(str(path), Echo)


def test_connections_that_outlive_their_server_do_not_keep_its_path(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as caller:
        dead.bind(str(path))
        dead.listen()
        caller.connect(str(path))
        accepted, _ = dead.accept()
        dead.close()
        with accepted, serving(socketserver.UnixStreamServer(str(path), Echo)):
            assert ask(str(path)) == b"hello\n"


def test_a_server_whose_file_was_removed_does_not_keep_the_path(path: Path) -> None:
    with socketserver.UnixStreamServer(str(path), Echo):
        path.unlink()
        leave_behind(path)
        with serving(socketserver.UnixStreamServer(str(path), Echo)):
            assert ask(str(path)) == b"hello\n"


def test_the_same_relative_name_in_another_folder_is_another_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    leave_behind(here / "a.sock")
    program = """
        import socket, sys
        with socket.socket(socket.AF_UNIX) as starting:
            starting.bind("a.sock")
            print("bound", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=there,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "bound\n"
        monkeypatch.chdir(there)
        with pytest.raises(OSError, match="a live server is there, about to listen"):
            socketserver.UnixStreamServer("a.sock", Echo)
        monkeypatch.chdir(here)
        with serving(socketserver.UnixStreamServer("a.sock", Echo)):
            assert ask("a.sock") == b"hello\n"
        other.communicate("")


def test_a_server_about_to_listen_is_alive_by_whatever_name_its_folder_goes(tmp_path: Path) -> None:
    folder, alias = tmp_path / "folder", tmp_path / "alias"
    folder.mkdir()
    alias.symlink_to(folder)
    with (
        unlistening(folder / "a.sock"),
        pytest.raises(OSError, match="a live server is there, about to listen"),
    ):
        socketserver.UnixStreamServer(str(alias / "a.sock"), Echo)


TABLE = b"""\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 1001 /run/listens.sock
0000000000000000: 00000003 00000000 00000000 0001 03 1002 /run/listens.sock
0000000000000000: 00000002 00000000 00000000 0001 01 1003 /run/starts, with a space.sock
0000000000000000: 00000002 00000000 00000000 0005 01 1004 relative.sock
0000000000000000: 00000002 00000000 00000000 0002 01 1005 /run/datagrams.sock
0000000000000000: 00000002 00000000 00000000 0001 01 1006
0000000000000000: 00000002 00000000 00000000 0001 01 1007 @abstract
"""


def test_the_kernel_s_table_is_read_for_servers_about_to_listen() -> None:
    assert list(starting(TABLE)) == [
        ("1003", b"/run/starts, with a space.sock"),
        ("1004", b"relative.sock"),
        ("1007", b"@abstract"),
    ]
