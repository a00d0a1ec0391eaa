"""The mode, the owner and the group of a Unix socket's file, as its address says."""

import errno
import grp
import os
import pwd
import re
import socket
import stat
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import DatagramRequestHandler, Mistake, Server
from manyhands.listening.endpoints import endpoints
from manyhands.listening.unix_access import Access, giving
from manyhands.model.addresses import parse
from tests.support import Echo, ask, bound, python

USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name

SCHEMES = pytest.mark.parametrize("scheme", ["unix", "unix-datagram"])


class Shout(DatagramRequestHandler):
    """Answers in capitals."""

    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


def handler_of(scheme: str) -> Any:
    return Echo if scheme == "unix" else Shout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sock"


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids="umask {:03o}".format)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@SCHEMES
@pytest.mark.parametrize("mode", ["660", "600", "0777", "666", "000"])
@pytest.mark.usefixtures("_umask")
def test_the_mode_is_the_file_s_whatever_the_umask(scheme: str, mode: str, path: Path) -> None:
    with Server(handler_of(scheme), f"{scheme}://{path}?mode={mode}"):
        assert mode_of(path) == int(mode, 8)
    assert not path.exists()


@pytest.mark.usefixtures("_umask")
def test_an_address_that_says_nothing_leaves_the_file_to_the_umask(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as plain:
        plain.bind(f"{path}.plain")
    with Server(Echo, f"unix://{path}"):
        assert mode_of(path) == mode_of(Path(f"{path}.plain"))


@SCHEMES
@pytest.mark.parametrize("written", ["name", "number"])
def test_owner_and_group_are_named_or_numbered(scheme: str, written: str, path: Path) -> None:
    owner, group = (USER, GROUP) if written == "name" else (os.geteuid(), os.getegid())
    address = f"{scheme}://{path}?mode=640&owner={owner}&group={group}"
    with Server(handler_of(scheme), address) as server:
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())
        assert mode_of(path) == 0o640
        if scheme == "unix":
            assert ask(bound(server)) == b"hello\n"


def run_as(path: Path, who: int, query: str) -> list[str]:
    """Listen in a process of user `who`; return what it tells of the file, and whether it is left behind."""
    program = """
        import os, sys
        from manyhands import Server, StreamRequestHandler
        path, who, query = sys.argv[1:]
        if os.geteuid() != int(who):
            os.setgroups([])
            os.setgid(int(who))
            os.setuid(int(who))
        server = Server(StreamRequestHandler, f"unix://{path}?{query}")
        try:
            server.listen()
        except PermissionError as error:
            print(error)
        else:
            found = os.stat(path)
            print(found.st_uid, found.st_gid, oct(found.st_mode & 0o777))
            server.close()
        print(os.path.exists(path))
    """
    ran = python("-c", textwrap.dedent(program), str(path), str(who), query, folder=Path("/"))
    return ran.stdout.splitlines() or [ran.stderr]


NOBODY = 65534


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A path in a folder that any user may write to, and come to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder) / "a.sock"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_may_give_the_file_to_any_user_and_group(open_to_all: Path) -> None:
    both = "mode=660&owner=65534&group=12345"
    assert run_as(open_to_all, 0, both) == ["65534 12345 0o660", "False"]
    assert run_as(open_to_all, 0, "group=12345") == [f"0 12345 {oct(0o777 & ~umask())}", "False"]


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


@pytest.mark.parametrize("query", ["owner=0", "group=0", "mode=660&owner=0&group=0"])
def test_any_other_user_is_told_that_only_root_may(open_to_all: Path, query: str) -> None:
    who = NOBODY if os.geteuid() == 0 else os.geteuid()
    said, is_left = run_as(open_to_all, who, query)
    assert said.startswith(
        f"[Errno {errno.EPERM}] {os.strerror(errno.EPERM)}: cannot listen on {open_to_all} (its file cannot "
        "be given to "
    )
    assert "takes root (CAP_CHOWN)" in said
    assert is_left == "False"


@pytest.mark.parametrize("what", ["owner", "group"])
def test_a_name_of_none_is_a_sentence_before_anything_is_bound(what: str, path: Path) -> None:
    word = {"owner": "user", "group": "group"}[what]
    address = f"unix://{path}?{what}=no-such-name"
    with pytest.raises(
        Mistake,
        match=re.escape(
            f"cannot listen on {address}: there is no {word} 'no-such-name' on this machine"
        ),
    ):
        Server(Echo, address).listen()
    assert not path.exists()
    with pytest.raises(Mistake, match=f"there is no {word} '4294967295'"):
        endpoints(parse(f"unix://{path}?{what}=4294967295"))


@pytest.mark.usefixtures("_umask")
def test_until_the_file_is_given_away_only_its_maker_may_connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        with giving(Access(0o664, -1, os.getegid()), listener, str(path)):
            listener.bind(str(path))
            assert not mode_of(path) & 0o077
        assert mode_of(path) == 0o664


def test_a_stale_file_is_taken_over_with_the_mode_of_the_address(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    path.chmod(0o777)
    with Server(Echo, f"unix://{path}?mode=600"):
        assert mode_of(path) == 0o600


def test_a_link_that_takes_the_place_of_the_file_is_not_followed(path: Path) -> None:
    precious = path.with_name("precious")
    precious.touch(0o644)
    with socket.socket(socket.AF_UNIX) as listener:

        def bind_where_a_link_comes() -> None:
            with giving(Access(0o666, -1, -1), listener, str(path)):
                listener.bind(str(path))
                path.unlink()
                path.symlink_to(precious)

        with pytest.raises(OSError, match="its mode, owner or group cannot be set"):
            bind_where_a_link_comes()
    assert mode_of(precious) == 0o644
