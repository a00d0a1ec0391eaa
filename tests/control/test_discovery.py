"""Which server is meant, and where it is after a new start."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from manyhands.control import discovery, places
from manyhands.control.client import Client, Unreachable
from manyhands.control.discovery import Follower, choose, servers
from manyhands.logs.lines import iso_time
from manyhands.model.usage_errors import Mistake
from tests.control.kit import Script, Verb, Wire, answering, served
from tests.support import forked, open_descriptors, wait_for_descriptors
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

NOBODY = 65_534

only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


class Servers:
    """Control sockets of servers in the user's folder, made and ended by the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[int, ExitStack] = {}

    def start(self, pid: int, status: Verb | None = None, **hello: object) -> str:
        place = f"{self._folder}/{pid}.sock"
        stack = self._running[pid] = ExitStack()
        verbs = {"pid": lambda _: pid, "status": status or status_of()}
        stack.enter_context(served(place, answering(verbs, pid=pid, **hello)))
        return place

    def end(self, pid: int) -> None:
        """End one as SIGKILL does: its file stays."""
        self._running.pop(pid).close()

    def end_all(self) -> None:
        for pid in list(self._running):
            self.end(pid)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for control sockets, in which alone they are looked for."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    # This machine's table would have the servers of other tests.
    monkeypatch.setattr("manyhands.listening.proc_net.PROC", str(tmp_path))
    list(places.defaults())
    return tmp_path / "manyhands"


@pytest.fixture
def running(folder: Path) -> Iterator[Servers]:
    started = Servers(folder)
    yield started
    started.end_all()


def tell_of(folder: Path, *names: str) -> None:
    """Have the kernel's table in `folder` tell of abstract names that listen."""
    lines = ["head", *(f"0: 00000002 00000000 00010000 0001 01 101 {name}" for name in names)]
    (folder / "net").mkdir()
    (folder / "net" / "unix").write_text("\n".join([*lines, ""]))


@contextmanager
def served_by_another_user(place: str, script: Script) -> Iterator[None]:
    """Serve as `served` does, from a process of another user."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        os.setuid(NOBODY)
        with served(place, script):
            theirs.sendall(b"!")
            theirs.recv(1)

    with ours, theirs, forked(serve):
        assert ours.recv(1) == b"!"
        yield


def later(seconds: float) -> str:
    """Return when a server was started, so many seconds from now."""
    return iso_time(time.time() + seconds)


def pid_of(client: Client) -> int:
    with client:
        pid: int = client.call("pid")
        return pid


def test_the_only_server_is_the_one_that_is_meant(running: Servers) -> None:
    place = running.start(71)
    with choose() as client:
        assert client.place == place
        assert client.call("pid") == 71


def test_a_server_is_chosen_by_its_process(running: Servers) -> None:
    running.start(71)
    running.start(72)
    assert pid_of(choose("72")) == 72


def test_a_server_is_chosen_by_its_place(running: Servers, tmp_path: Path) -> None:
    running.start(71)
    with served(f"{tmp_path}/other", answering({"pid": lambda _: 5})):
        assert pid_of(choose(f"{tmp_path}/other")) == 5
        assert pid_of(choose(f"unix://{tmp_path}/other")) == 5


def test_of_several_none_is_chosen_and_each_is_named(running: Servers, folder: Path) -> None:
    running.start(72, name="chat")
    running.start(71)
    with pytest.raises(Mistake) as mistake:
        choose()
    assert str(mistake.value) == (
        "there are 2 servers, and --control says which one is meant, by its place or its process: "
        f"{folder}/71.sock (process 71, serve shop:Echo); {folder}/72.sock (process 72, chat)"
    )


def test_without_a_server_it_is_said_what_makes_one(folder: Path) -> None:
    assert folder.is_dir()
    with pytest.raises(Unreachable, match="no server of yours has a control socket in"):
        choose()


def test_a_process_without_a_server_is_named(running: Servers) -> None:
    running.start(71)
    for pid in ("7", "9999999999"):
        with pytest.raises(Unreachable, match=f"^process {pid} has no control socket"):
            choose(pid)


def test_what_is_no_place_is_a_mistake() -> None:
    for text in ("", "@", "12345678901" * 10, "²"):
        with pytest.raises((Mistake, Unreachable)):
            choose(text)


def test_what_a_server_that_is_gone_has_left_is_removed(running: Servers, folder: Path) -> None:
    running.start(71)
    running.start(72)
    running.end(71)
    assert (folder / "71.sock").exists()
    assert pid_of(choose()) == 72
    assert [file.name for file in folder.iterdir()] == ["72.sock"]


def test_a_server_that_does_not_answer_is_in_the_list_and_holds_up_no_call(folder: Path) -> None:
    stopped = socket.socket(socket.AF_UNIX)

    def end_the_stopped_one(wire: Wire) -> None:
        wire.hello(pid=72)
        stopped.close()
        list(wire.requests())

    with stopped, served(f"{folder}/72.sock", end_the_stopped_one):
        stopped.bind(f"{folder}/71.sock")
        stopped.listen()
        # It ends once the other one was called, which waits for none of its words.
        first, second = servers(timeout=PATIENCE)
    assert first.client is None
    assert first.name == f"{folder}/71.sock (process 71, which does not answer)"
    assert first.why_not == f"the server at {folder}/71.sock has closed the connection"
    assert second.client is not None
    assert second.client.hello.pid == 72
    second.client.close()


def test_where_none_answers_the_reason_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "LOOK_TIMEOUT", 0.05)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(f"{folder}/71.sock")
        stopped.listen()
        with pytest.raises(Unreachable, match=f"^the server at {folder}/71.sock says nothing"):
            choose()


def test_an_abstract_name_that_is_not_its_user_s_is_passed_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, foreign = f"@manyhands.{os.geteuid()}.71", f"@manyhands.{os.geteuid() + 1}.72"
    tell_of(tmp_path, own, foreign)
    # Only root is shown those of others.
    monkeypatch.setattr(places.Place, "is_own", True)
    assert folder.is_dir()
    with served(own, answering({"pid": lambda _: 71})), served(foreign, answering({})):
        [found] = servers()
    assert found.place.text == own
    assert found.client is not None
    found.client.close()


def test_names_that_let_their_callers_wait_hold_up_no_look(
    running: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = running.start(72)
    assert place
    names = [f"@manyhands.{os.geteuid()}.{number}" for number in range(1, 30)]
    tell_of(tmp_path, *names)
    with ExitStack() as stack:
        for name in names:
            full, waiting = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
            full.bind(f"\0{name[1:]}")
            full.listen(0)
            waiting.connect(f"\0{name[1:]}")
        deadline = time.monotonic() + PATIENCE
        found = servers(timeout=PATIENCE)
        assert time.monotonic() < deadline
        [client] = [each.client for each in found if each.client is not None]
        assert pid_of(client) == 72
        assert "takes no more clients: is it stopped?" in found[0].why_not


@pytest.mark.parametrize("is_read_first", [True, False])
def test_two_sockets_of_one_process_are_one_server(
    running: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_read_first: bool
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    of_service, own = ["read"], ["read", "write"]
    if not is_read_first:
        of_service, own = own, of_service
    running.start(71, may=own)
    script = answering({"pid": lambda _: 71}, pid=71, may=of_service)
    with served(f"{tmp_path}/manyhands-71.sock", script):
        for text in (None, "71"):
            with choose(text) as client:
                assert client.hello.may == ("read", "write")
        [found] = servers()
        assert found.client is not None
        found.client.close()


@only_as_root
def test_another_user_who_says_hello_as_a_server_of_root_is_not_taken_for_it(
    running: Servers, tmp_path: Path
) -> None:
    own = running.start(71)
    foreign = f"@manyhands.{NOBODY}.71"
    tell_of(tmp_path, foreign)
    impostor = answering({"pid": lambda _: 0}, pid=71, may=["read", "write", "more"])
    with served_by_another_user(foreign, impostor):
        found = servers()
        assert [each.place.text for each in found] == [own, foreign]
        for each in found:
            assert each.client is not None
            each.client.close()
        for text in (None, "71"):
            assert pid_of(choose(text)) == 71


@only_as_root
def test_another_user_s_server_is_not_taken_because_that_of_root_does_not_answer(
    folder: Path, tmp_path: Path
) -> None:
    foreign = f"@manyhands.{NOBODY}.71"
    tell_of(tmp_path, foreign)
    with (
        served(f"{folder}/71.sock", lambda wire: wire.tell("nothing", {})),
        served_by_another_user(foreign, answering({})),
    ):
        for text in (None, "71"):
            with pytest.raises(Mistake) as mistake:
                choose(text)
            assert str(mistake.value).endswith(
                f"{folder}/71.sock (process 71, which does not answer); "
                f"{foreign} (process 71, serve shop:Echo)"
            )


def test_a_server_is_found_again_in_the_process_that_it_has_next(running: Servers) -> None:
    follower = Follower()
    running.start(71)
    assert pid_of(follower.connect()) == 71
    running.end(71)
    with pytest.raises(Unreachable) as ended:
        follower.connect()
    assert str(ended.value) == (
        "the server (process 71, serve shop:Echo) has ended, and is not back yet"
    )
    running.start(72, started=later(1))
    assert pid_of(follower.connect()) == 72


def test_a_server_that_is_still_there_is_taken_again(running: Servers) -> None:
    follower = Follower("71")
    running.start(71)
    running.start(72)
    assert pid_of(follower.connect()) == 71
    assert pid_of(follower.connect()) == 71


def status_of(*addresses: str) -> Verb:
    listeners = [{"address": address} for address in addresses]
    return lambda _: {"servers": [{"listeners": listeners}]}


def test_another_server_is_not_taken_for_the_one_that_has_ended(running: Servers) -> None:
    follower = Follower()
    running.start(71, status=status_of("127.0.0.1:8008"))
    assert pid_of(follower.connect()) == 71
    running.start(72)  # started at the same moment
    running.start(73, name="chat", started=later(1))
    # A sister, which was there before the end.
    running.start(74, started=later(-60), status=status_of("127.0.0.1:8009"))
    running.end(71)
    with pytest.raises(Unreachable, match="is not back yet"):
        follower.connect()
    # Of those that were started since the last one is meant: an old one may be draining.
    running.start(75, started=later(2))
    running.start(76, started=later(3))
    assert pid_of(follower.connect()) == 76


@only_as_root
@pytest.mark.parametrize("changes", [{"started": later(3600)}, {"pid": 71}])
def test_another_user_s_server_is_not_taken_for_the_one_that_has_ended(
    running: Servers, tmp_path: Path, changes: dict[str, object]
) -> None:
    follower = Follower()
    running.start(71)
    assert pid_of(follower.connect()) == 71
    foreign = f"@manyhands.{NOBODY}.72"
    tell_of(tmp_path, foreign)
    with served_by_another_user(foreign, answering({"status": status_of()}, **changes)):
        running.end(71)
        with pytest.raises(Unreachable, match="is not back yet"):
            follower.connect()
        # It goes on with root's, though that was started before.
        running.start(73, started=later(1))
        assert pid_of(follower.connect()) == 73


def test_one_that_was_started_for_the_same_address_before_the_end_is_taken(
    running: Servers,
) -> None:
    follower = Follower()
    running.start(71, status=status_of("127.0.0.1:8008", "127.0.0.1:8009"))
    assert pid_of(follower.connect()) == 71
    running.start(72, started=later(-60), status=status_of("127.0.0.1:8009"))
    running.end(71)
    assert pid_of(follower.connect()) == 72


def test_a_place_that_was_given_is_kept_to(running: Servers, tmp_path: Path) -> None:
    place = f"{tmp_path}/given"
    running.start(71)
    follower = Follower(place)
    with pytest.raises(Unreachable, match="there is no control socket at"):
        follower.connect()
    with served(place, answering({"pid": lambda _: 5}, name="a")):
        assert pid_of(follower.connect()) == 5
    Path(place).unlink()
    with served(place, answering({"pid": lambda _: 6}, name="b")):
        assert pid_of(follower.connect()) == 6


def test_the_pauses_between_tries_grow_to_a_bound(folder: Path) -> None:
    follower = Follower(f"{folder}/none")
    pauses = []
    for _ in range(300):
        pauses.append(follower.pause)
        with pytest.raises(Unreachable):
            follower.connect()
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert set(pauses[4:]) == {2.0}


def test_clients_that_are_not_chosen_are_closed(running: Servers) -> None:
    running.start(71)
    running.start(72)
    before = open_descriptors()
    with pytest.raises(Mistake):
        choose()
    # The servers here are of this process, and have an end of each connection too.
    wait_for_descriptors(before)
