"""The file of a Unix socket: taken over from the dead, never from the living (row 11)."""

import os
import socket
import socketserver as standard
from pathlib import Path
from typing import Any

import pytest

from manyhands import DatagramRequestHandler, Server, socketserver
from tests.support import Echo, ask, run_python, serving

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

SERVERS = [socketserver.UnixStreamServer, socketserver.UnixDatagramServer]


class Shout(DatagramRequestHandler):
    """Answers in capitals."""

    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


def kind_of(server: Any) -> int:
    kind: int = server.socket_type
    return kind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sock"


def leave_behind(path: Path, kind: int = socket.SOCK_STREAM) -> None:
    """Make the socket file of a server that is gone."""
    with socket.socket(socket.AF_UNIX, kind) as dead:
        dead.bind(str(path))


def tidy(server: Any) -> Any:
    """Return a class whose servers remove their files."""
    return type(server.__name__, (server,), {"unlink_on_close": True})


@pytest.mark.parametrize("server", SERVERS)
def test_the_file_goes_with_a_server_that_is_told_so(server: Any, path: Path) -> None:
    with tidy(server)(str(path), Echo):
        assert path.is_socket()
    assert not path.exists()


@pytest.mark.parametrize("scheme", ["unix", "unix-datagram"])
def test_the_file_goes_with_a_server_of_addresses(scheme: str, path: Path) -> None:
    with Server(Echo if scheme == "unix" else Shout, f"{scheme}://{path}"):
        assert path.is_socket()
    assert not path.exists()
    with Server(Echo if scheme == "unix" else Shout, f"{scheme}://{path}", unlink_on_close=False):
        pass
    assert path.is_socket()


UNIX_CLASSES = sorted(name for name in socketserver.__all__ if "Unix" in name)


@pytest.mark.parametrize("name", UNIX_CLASSES)
def test_a_program_that_removes_the_file_after_the_end_finds_it(name: str, path: Path) -> None:
    for _ in range(2):
        with getattr(socketserver, name)(str(path), Echo):
            pass
        path.unlink()


@pytest.mark.parametrize("name", UNIX_CLASSES)
def test_a_program_that_leaves_the_file_starts_again(name: str, path: Path) -> None:
    for _ in range(2):
        with getattr(socketserver, name)(str(path), Echo):
            assert path.is_socket()
    assert path.is_socket()


def test_the_file_of_the_standard_library_stays_and_the_next_start_fails(path: Path) -> None:
    with standard.UnixStreamServer(str(path), Echo):  # type: ignore[arg-type]  # our handler serves
        pass
    assert path.is_socket()
    with pytest.raises(OSError, match="in use"):
        standard.UnixStreamServer(str(path), Echo)  # type: ignore[arg-type]  # see above


@pytest.mark.parametrize("server", SERVERS)
def test_a_stale_path_is_taken_over(server: Any, path: Path) -> None:
    leave_behind(path, kind_of(server))
    with server(str(path), Echo) as taken:
        assert taken.server_address == str(path)


def test_a_path_in_bytes_is_a_path_too(path: Path) -> None:
    leave_behind(path)
    with serving(socketserver.UnixStreamServer(os.fsencode(path), Echo)):
        assert ask(str(path)) == b"hello\n"


@pytest.mark.parametrize("server", SERVERS)
def test_a_live_path_is_refused_with_a_sentence(server: Any, path: Path) -> None:
    with server(str(path), Echo):
        with pytest.raises(OSError, match=f"cannot listen on {path} .a live server answers there."):
            server(str(path), Echo)
        assert path.is_socket()


def test_a_live_path_of_the_other_kind_is_refused(path: Path) -> None:
    with socketserver.UnixStreamServer(str(path), Echo):
        with pytest.raises(OSError, match="a live server answers there"):
            socketserver.UnixDatagramServer(str(path), Echo)
        assert path.is_socket()


def test_a_live_server_with_a_full_backlog_is_alive(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as caller:
        busy.bind(str(path))
        busy.listen(0)
        caller.connect(str(path))
        with pytest.raises(OSError, match="a live server answers there"):
            socketserver.UnixStreamServer(str(path), Echo)
        assert path.is_socket()


def test_a_server_between_bind_and_listen_is_alive(path: Path) -> None:
    class Slow(socketserver.UnixStreamServer):
        pass

    with Slow(str(path), Echo, bind_and_activate=False) as starting:
        starting.server_bind()  # and, say, drops its privileges before it listens
        with pytest.raises(OSError, match="a live server"):
            socketserver.UnixStreamServer(str(path), Echo)
        starting.server_activate()
        with serving(starting):
            assert ask(str(path)) == b"hello\n"


@pytest.mark.parametrize("server", SERVERS)
def test_a_file_that_is_no_socket_is_never_touched(server: Any, path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(OSError, match="a file that is no socket is there"):
        server(str(path), Echo)
    assert path.read_text() == "precious"


def test_a_link_to_a_stale_socket_is_not_followed_nor_removed(path: Path) -> None:
    leave_behind(path)
    link = path.with_name("link.sock")
    link.symlink_to(path)
    with pytest.raises(OSError, match="in use"):
        socketserver.UnixStreamServer(str(link), Echo)
    assert link.is_symlink()
    assert path.is_socket()


def test_a_folder_in_the_way_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match="a folder is there"):
        socketserver.UnixStreamServer(str(path), Echo)


def test_a_missing_folder_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        socketserver.UnixStreamServer(str(path / "deep" / "b.sock"), Echo)


def test_a_folder_that_takes_no_sockets_is_not_said_to_be_missing() -> None:
    with pytest.raises(FileNotFoundError, match="its folder takes no sockets"):
        socketserver.UnixStreamServer("/proc/b.sock", Echo)


def test_another_server_s_file_is_not_removed(path: Path) -> None:
    first = tidy(socketserver.UnixStreamServer)(str(path), Echo)
    path.unlink()
    with serving(socketserver.UnixStreamServer(str(path), Echo)):
        first.server_close()
        assert ask(str(path)) == b"hello\n"


def test_a_server_that_failed_to_bind_removes_nothing(path: Path) -> None:
    with serving(socketserver.UnixStreamServer(str(path), Echo)):
        with pytest.raises(OSError, match="in use"):
            tidy(socketserver.UnixStreamServer)(str(path), Echo)
        assert ask(str(path)) == b"hello\n"


def test_a_forked_child_does_not_remove_the_parent_s_file(path: Path) -> None:
    with tidy(socketserver.UnixStreamServer)(str(path), Echo) as server:
        pid = os.fork()
        if pid == 0:
            server.server_close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert path.is_socket()


def test_the_file_is_removed_after_a_change_of_folder() -> None:
    output = run_python(
        """
        import os, sys, tempfile
        from manyhands import socketserver
        socketserver.UnixStreamServer.unlink_on_close = True
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            with socketserver.UnixStreamServer("relative.sock", None):
                os.chdir("/")
            print(os.listdir(folder))
        """
    )
    assert output == "[]\n"


@pytest.mark.parametrize("is_tidy", [False, True])
def test_a_program_may_remove_the_file_itself(path: Path, is_tidy: bool) -> None:
    base = socketserver.UnixStreamServer
    with (tidy(base) if is_tidy else base)(str(path), Echo) as server:
        path.unlink()
    server.server_close()


def test_an_abstract_name_needs_no_file(path: Path) -> None:
    name = f"\0{path}"
    with serving(socketserver.UnixStreamServer(name, Echo)):
        assert ask(name) == b"hello\n"
        with pytest.raises(OSError, match=f"in use: cannot listen on @{path}"):
            socketserver.UnixStreamServer(name, Echo)
