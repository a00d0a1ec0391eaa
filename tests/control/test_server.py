"""The server of a control socket: what each client is told, and that none of them is in another's way."""

import json
import os
import select
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from manyhands import Mistake, Server
from manyhands.control import sockets
from manyhands.control.client import Client, Refused, Unreachable
from manyhands.control.process import ControlledProcess
from manyhands.control.protocol import Code
from manyhands.control.server import MOST_CLIENTS, MOST_PAUSE, SHARE, ControlServer
from manyhands.runtime.locks import Latch
from manyhands.testing import everything, read_line
from tests.support import Echo, bound, call, forked, wait_until
from tests.support.waiting import PATIENCE

from .conftest import Controlled

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

STATUS = b'{"jsonrpc":"2.0","id":1,"method":"status"}\n'


def test_a_client_is_told_first_what_it_speaks_with(controlled: Controlled) -> None:
    with controlled() as server:
        hello = server.client().hello
        assert (hello.pid, hello.role, hello.may) == (os.getpid(), "server", ("read", "write"))


NAMED = """
    from manyhands import Server
    from manyhands.control.client import Client
    from tests.support import Echo

    with Server(Echo, "tcp://127.0.0.1:0", control="named.sock"), Client("named.sock") as client:
        print(client.hello.name)
"""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["shop.py", "a", "b", "c"], "shop.py a b"),
        (["-m", "shop", "a"], "python -m shop a"),
        (["-m", "mall", "a"], "python -m mall a"),
        (["mall", "a"], "mall a"),
        (["-c", textwrap.dedent(NAMED), "a"], "-c a"),
    ],
)
def test_a_process_is_named_as_it_was_started(tmp_path: Path, words: list[str], name: str) -> None:
    (tmp_path / "mall").mkdir()
    for file in ("shop.py", "mall/__main__.py"):
        (tmp_path / file).write_text(textwrap.dedent(NAMED), encoding="utf-8")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout == f"{name}\n"


def test_the_status_balances_on_every_engine(controlled: Controlled, engine: str) -> None:
    with controlled(engine=engine) as server, call(bound(server.server)) as peer:
        peer.sendall(b"hello\n")
        read_line(peer)
        status = server.client().call("status")
        [told] = status["servers"]
        assert (told["kind"], told["handler"], told["is_draining"]) == ("Server", "Echo", False)
        assert told["listeners"][0]["address"] == "{}:{}".format(*bound(server.server))
        assert engine in [each["name"] for each in told["engines"]]
        assert told["accepted"] == sum(told["open"].values()) + sum(told["closed"].values()) == 1
        assert status["books"] == {"accepted": 1, "open": 1, "closed": 0, "refused": 0}
        use = status["process"]
        assert use["rss"] > 1_000_000
        assert 0 < use["descriptors"] <= use["descriptor_limit"]
        assert use["threads"] > 1
        assert status["uptime"] > 0


def test_the_file_is_for_its_owner_alone_and_goes_with_the_server(controlled: Controlled) -> None:
    with controlled() as server:
        assert Path(server.place).stat().st_mode & 0o777 == 0o600
    assert not Path(server.place).exists()


def test_a_socket_for_reading_changes_nothing(controlled: Controlled, tmp_path: Path) -> None:
    place = str(tmp_path / "read.sock")
    with controlled(control=None, control_read=place) as server, call(bound(server.server)):
        client = server.client(place)
        assert client.hello.may == ("read",)
        wait_until(lambda: client.call("connections.list")["items"])
        [row] = client.call("connections.list")["items"]
        with pytest.raises(Refused, match=r"connections\.close changes something") as refused:
            client.call("connections.close", id=row["id"])
        assert refused.value.code == Code.READING_ONLY


def test_servers_of_one_process_share_a_socket_and_have_their_numbers(
    controlled: Controlled,
) -> None:
    with controlled() as first:
        client = first.client()
        with Server(Echo, "tcp://127.0.0.1:0", control=first.place) as second:
            numbers = [each["server"] for each in client.call("status")["servers"]]
            assert numbers == sorted(set(numbers))
            assert len(numbers) == 2
            with call(bound(second)) as peer:
                peer.sendall(b"hello\n")
                read_line(peer)
                [row] = client.call("connections.list", where={"server": numbers[1]})["items"]
                assert row["server"] == numbers[1]
        assert len(client.call("status")["servers"]) == 1


def test_two_ways_to_write_a_place_are_one_socket(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    with controlled() as first:
        folder, name = os.path.split(first.place)
        monkeypatch.chdir(folder)
        for place in (name, f"./{name}", f"unix://{first.place}"):
            with Server(Echo, "tcp://127.0.0.1:0", control=place):
                assert len(first.client().call("status")["servers"]) == 2


def test_a_socket_is_for_the_servers_that_have_named_it(
    controlled: Controlled, tmp_path: Path
) -> None:
    place = str(tmp_path / "read.sock")
    with controlled() as first, Server(Echo, "tcp://127.0.0.1:0", control_read=place):
        client, reading = first.client(), first.client(place)
        [one], [other] = (each.call("status")["servers"] for each in (client, reading))
        assert one["server"] != other["server"]
        for verb in ("limits.get", "rooms.list", "metrics"):
            with pytest.raises(Refused, match="there is no server"):
                client.call(verb, server=other["server"])
        # They are one process all the same.
        assert client.hello[:3] == reading.hello[:3]


def test_one_place_for_both_sockets_is_a_mistake(tmp_path: Path) -> None:
    place = str(tmp_path / "both.sock")
    server = Server(Echo, "tcp://127.0.0.1:0", control=place, control_read=f"unix://{place}")
    with pytest.raises(Mistake, match=f"control and control_read are both to be at {place}"):
        server.listen()
    with pytest.raises(
        Mistake, match="control_read must be the path of a socket or @NAME, or none, not"
    ):
        Server(Echo, "tcp://127.0.0.1:0", control_read="auto")


def test_a_server_that_leaves_while_its_socket_is_being_opened_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    is_bound, goes_on = threading.Event(), threading.Event()

    class Slow(ControlServer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            is_bound.set()
            goes_on.wait(PATIENCE)

    monkeypatch.setattr(sockets, "ControlServer", Slow)
    place, controls = tmp_path / "control.sock", Server(Echo, "tcp://127.0.0.1:0").controls
    entering = threading.Thread(
        target=sockets.control_sockets.enter, args=(controls, str(place), None)
    )
    entering.start()
    assert is_bound.wait(PATIENCE)
    assert place.exists()
    sockets.control_sockets.leave(controls)
    goes_on.set()
    entering.join(PATIENCE)
    assert not place.exists()


def test_a_server_that_comes_while_the_socket_of_another_is_being_closed_has_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    is_closing, goes_on = threading.Event(), threading.Event()

    class Slow(ControlServer):
        def close(self) -> None:
            if not is_closing.is_set():
                is_closing.set()
                goes_on.wait(PATIENCE)
            super().close()

    class Waiting(Latch):
        def wait(self, timeout: float | None = None) -> bool:
            goes_on.set()
            return super().wait(PATIENCE)

    monkeypatch.setattr(sockets, "ControlServer", Slow)
    monkeypatch.setattr(sockets, "Latch", Waiting)
    place = str(tmp_path / "control.sock")
    first, second = (Server(Echo, "tcp://127.0.0.1:0").controls for _ in range(2))
    leave = sockets.control_sockets.enter(first, place, None)
    leaving = threading.Thread(target=leave)
    leaving.start()
    assert is_closing.wait(PATIENCE)
    leave = sockets.control_sockets.enter(second, place, None)
    try:
        leaving.join(PATIENCE)
        with Client(place) as client:
            assert client.call("status")["servers"]
    finally:
        leave()


def test_a_system_without_a_thread_left_is_an_error_of_the_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(*_: object, name: str) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("manyhands.poll_server.server.start_native_thread", start)
    place = tmp_path / "control.sock"
    with pytest.raises(OSError, match=f"on {place}: the system has no thread left"):
        Server(Echo, "tcp://127.0.0.1:0", control=place).listen()
    assert not place.exists()


def test_a_place_that_is_taken_is_no_place_for_another_process_s_server(
    controlled: Controlled,
) -> None:
    def serve() -> bool:
        with pytest.raises(OSError, match="a live server answers"):
            Server(Echo, "tcp://127.0.0.1:0", control=server.place).listen()
        return True

    with controlled() as server, forked(serve) as wait:
        assert wait() == 0


@pytest.mark.parametrize("place", ["x" * 200, "no/such/folder.sock"])
def test_a_server_whose_socket_cannot_be_had_does_not_listen_at_all(place: str) -> None:
    server = Server(Echo, "tcp://127.0.0.1:0", control=place)
    with pytest.raises((Mistake, OSError)):
        server.start()
    assert server.addresses == []


def test_a_place_of_its_own_is_found_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    place = tmp_path / "manyhands" / f"{os.getpid()}.sock"
    with Server(Echo, "tcp://127.0.0.1:0", control="auto"), Client(str(place)) as client:
        assert client.hello.pid == os.getpid()
    assert not place.exists()


@pytest.mark.parametrize(
    ("places", "why"),
    [([], "this system has no place for it"), (["/nowhere/at/all.sock"], "No such file")],
)
def test_where_no_place_can_be_had_by_itself_an_event_tells_and_the_server_serves(
    monkeypatch: pytest.MonkeyPatch, seen: list[object], places: list[str], why: str
) -> None:
    monkeypatch.setattr(sockets.places, "defaults", lambda: iter(places))
    with Server(Echo, "tcp://127.0.0.1:0", control="auto") as server, call(bound(server)) as peer:
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
    assert f"no control socket: {why}" in " ".join(map(str, seen))


def holds_listener(place: str) -> bool:
    """Tell whether this process has a descriptor of what listens at a path (proc_pid_net(5))."""
    table = Path("/proc/self/net/unix").read_text().splitlines()
    inodes = [words[6] for words in map(str.split, table) if words[5:] and words[7:] == [place]]
    held = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return any(Path(f"socket:[{inode}]") in held for inode in inodes)


def test_a_forked_copy_of_the_process_has_no_control_socket(controlled: Controlled) -> None:
    with controlled() as server:
        client = server.client()
        assert holds_listener(server.place)
        with forked(
            lambda: Path(server.place).exists() and not holds_listener(server.place)
        ) as wait:
            assert wait() == 0
        assert client.call("status")["books"]["open"] == 0
        assert server.client().hello.pid == os.getpid()


def fill(peer: socket.socket) -> None:
    """Ask for more than is answered to a client that does not read."""
    peer.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            peer.send(STATUS)


def test_a_client_that_does_not_read_holds_up_no_other(controlled: Controlled) -> None:
    with controlled() as server, call(server.place) as deaf:
        fill(deaf)
        client = server.client()
        began = time.monotonic()
        for _ in range(5):
            assert client.call("status")["books"]
        assert time.monotonic() - began < 2


def test_what_a_client_asks_for_at_once_is_answered_in_its_order(controlled: Controlled) -> None:
    with controlled() as server, call(server.place) as peer:
        for number in range(300):
            peer.sendall(
                json.dumps({"jsonrpc": "2.0", "id": number, "method": "verbs"}).encode() + b"\n"
            )
        with peer.makefile("rb") as lines:
            lines.readline()
            assert [json.loads(lines.readline())["id"] for _ in range(300)] == list(range(300))


def asking(place: str, clients: int, at_once: int, seconds: float) -> Callable[[], bool]:
    """Return what asks, in a process of its own, as fast as it is answered."""
    asked = b'{"jsonrpc":"2.0","id":1,"method":"limits.get"}\n' * at_once

    def ask() -> bool:
        poll, behind = select.poll(), {}
        with ExitStack() as stack:
            for _ in range(clients):
                peer = stack.enter_context(call(place))
                read_line(peer)
                poll.register(peer, select.POLLIN)
                behind[peer.fileno()] = peer, 0
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                for descriptor, (peer, left) in behind.items():
                    if left <= 0:
                        peer.sendall(asked)
                        behind[descriptor] = peer, left + at_once
                for descriptor, _ in poll.poll(1000 * seconds):
                    peer, left = behind[descriptor]
                    behind[descriptor] = peer, left - peer.recv(1 << 18).count(b"\n")
        return True

    return ask


@pytest.mark.parametrize(("clients", "at_once"), [(20, 1), (1, 2), (1, 100)])
def test_clients_that_ask_without_end_leave_the_handlers_their_time(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch, clients: int, at_once: int
) -> None:
    clocks: list[int] = []
    hello = ControlledProcess.hello

    def note_the_thread(*arguments: Any, **options: Any) -> Any:
        clocks.append(time.pthread_getcpuclockid(threading.get_ident()))
        return hello(*arguments, **options)

    monkeypatch.setattr(ControlledProcess, "hello", note_the_thread)
    with controlled() as server:
        server.client()
        clock = clocks[0]
        began, used = time.monotonic(), time.clock_gettime(clock)
        with forked(asking(server.place, clients, at_once, 0.4)) as wait:
            assert wait() == 0
        used = time.clock_gettime(clock) - used
        # On a busy machine it has less; and it is ahead at first by what it may have in a moment.
        assert 0 < used < 1.4 * SHARE * (time.monotonic() - began)


def test_clients_that_leave_without_their_answers_hold_up_no_other(controlled: Controlled) -> None:
    with controlled() as server:
        for _ in range(10):
            with call(server.place) as peer, peer.makefile("rb") as lines:
                peer.sendall(STATUS * 100)
                for _ in range(30):
                    lines.readline()
        assert server.client().call("verbs")["items"]


def test_a_newcomer_has_its_turn_while_others_ask_for_what_lasts(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Semaphore(0)
    status = ControlledProcess.status

    def wait_and_tell(*arguments: Any, **options: Any) -> Any:
        answers.acquire(timeout=PATIENCE)
        time.sleep(2 * MOST_PAUSE)
        return status(*arguments, **options)

    monkeypatch.setattr(ControlledProcess, "status", wait_and_tell)
    with controlled() as server, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(call(server.place)).sendall(STATUS * 10)
        newcomer = stack.enter_context(call(server.place))
        newcomer.sendall(STATUS.replace(b"status", b"verbs"))
        # Of twenty, which the others have asked for. In each turn the thread accepts one client, so the first
        # one has some answers before the other two are here.
        answers.release(10)
        assert b"hello" in read_line(newcomer)
        assert b"items" in read_line(newcomer)
        answers.release(100)


def test_a_request_without_an_id_is_done_and_not_answered(controlled: Controlled) -> None:
    with controlled() as server, call(server.place) as peer:
        read_line(peer)
        for rest in (b"", b',"params":{"x":1}', b',"params":[1]'):
            peer.sendall(b'{"jsonrpc":"2.0","method":"verbs"%b}\n' % rest + STATUS)
            assert json.loads(read_line(peer))["id"] == 1


@pytest.mark.parametrize(
    ("sent", "member"), [(STATUS.strip(), "result"), (STATUS[:20], "error"), (b'"', "error")]
)
def test_the_last_line_of_a_half_closed_client_is_answered_without_its_end(
    controlled: Controlled, sent: bytes, member: str
) -> None:
    with controlled() as server, call(server.place) as peer:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        _, answer = map(json.loads, everything(peer).splitlines())
        assert member in answer


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\n", Code.NO_JSON),
        (bytes(range(1, 10)) + b"\xff\n", Code.NO_JSON),
        (b'{"jsonrpc":"2.0","id":1,"method":"nothing"}\n', Code.NO_SUCH_VERB),
        (b'{"jsonrpc":"2.0","id":1,"method":"status","params":{"x":1}}\n', Code.BAD_PARAMS),
    ],
)
def test_a_bad_line_gets_its_error_and_the_next_its_answer(
    controlled: Controlled, sent: bytes, code: Code
) -> None:
    with controlled() as server, call(server.place) as peer:
        read_line(peer)
        peer.sendall(sent + STATUS)
        assert json.loads(read_line(peer))["error"]["code"] == code
        assert "result" in json.loads(read_line(peer))


@pytest.mark.parametrize(
    ("verb", "end"),
    [("connections.list", "10 are the most: a smaller limit helps"), ("status", "10 are the most")],
)
def test_an_answer_that_is_too_long_is_refused_with_what_helps(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch, verb: str, end: str
) -> None:
    monkeypatch.setattr("manyhands.control.served_client.LONGEST_ANSWER", 10)
    with controlled() as server:
        with pytest.raises(Refused) as refused:
            server.client().call(verb)
        assert str(refused.value).endswith(end)
        assert refused.value.code == Code.NOT_NOW


def test_a_line_that_is_too_long_gets_its_error_and_ends_the_connection(
    controlled: Controlled,
) -> None:
    with controlled() as server, call(server.place) as peer:
        read_line(peer)
        peer.sendall(STATUS + b"x" * 70_000)
        assert "result" in json.loads(read_line(peer))
        assert json.loads(everything(peer))["error"]["code"] == Code.TOO_LONG


def test_half_a_line_and_silence_ends_the_connection_and_silence_alone_does_not(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.control.served_client.LINE_TIMEOUT", 0.1)
    with controlled() as server, call(server.place) as silent, call(server.place) as half:
        read_line(silent)
        read_line(half)
        half.sendall(STATUS + b'{"json')
        assert "result" in json.loads(read_line(half))
        assert everything(half) == b""
        silent.sendall(STATUS)
        assert "result" in json.loads(read_line(silent))


def test_a_client_that_pipelines_and_reads_late_is_not_cut_off(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.control.served_client.LINE_TIMEOUT", 0.05)
    monkeypatch.setattr("manyhands.control.served_client.MOST_UNSENT", 20_000)
    # Far more than one receive holds: while the server does not read, it has a part of a line.
    count = 2000
    with controlled() as server, call(server.place) as late:
        late.sendall(b'{"jsonrpc":"2.0","id":1,"method":"verbs"}\n' * count)
        with call(server.place) as half:
            # A line that begins later, whose time is over.
            half.sendall(b'{"json')
            everything(half)
        with late.makefile("rb") as lines:
            assert all(lines.readline() for _ in range(count + 1))
            late.sendall(b'{"json')
            assert lines.read() == b""


def test_one_client_too_many_is_told_so_and_the_others_stay(controlled: Controlled) -> None:
    with controlled() as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server.place)) for _ in range(MOST_CLIENTS)]
        for _ in range(20):
            with pytest.raises(Unreachable, match="64 clients are here"):
                Client(server.place)
        assert clients[0].call("status")["books"]
        clients[1].close()
        wait_until(lambda: _is_taken(server.place))


def _is_taken(place: str) -> bool:
    try:
        Client(place).close()
    except Unreachable:
        return False
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_turned_away_in_a_sentence(controlled: Controlled) -> None:
    name = f"@manyhands-test-{time.monotonic_ns()}"

    def ask() -> bool:
        os.setuid(65_534)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"\0{name[1:]}")
            return b"not for 65534" in everything(peer)

    with controlled(control=name) as server:
        # The process that was root when it forked is none any more when it connects.
        with forked(ask) as wait:
            assert wait() == 0
        assert server.client(name).hello.pid == os.getpid()
