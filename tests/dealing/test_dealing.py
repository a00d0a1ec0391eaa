"""Handlers in processes of their own tell each other things, by way of their parent."""

import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands import Reason, events, socketserver
from manyhands.dealing import child_side, notices
from manyhands.dealing.child_side import ChildSide
from manyhands.dealing.dealer import Dealer
from manyhands.dealing.frames import Kind, pack
from manyhands.serving.core import core_of
from manyhands.testing import running, serving, wait_until
from tests.dealing.kit import Client, Speaker, clients, entries, hang_up, scribble, stopped
from tests.support import Program
from tests.support.waiting import PATIENCE


@contextmanager
def server_and_clients(
    kind: str, count: int, handler: Any = Speaker, **options: Any
) -> Iterator[tuple[Any, list[Client]]]:
    """A server on processes, be it the drop-in or a `Server`, and so many clients."""
    if kind == "Server":
        with (
            serving(handler, engine="processes", **options) as under_test,
            clients(under_test.address, count) as every,
        ):
            yield under_test.server, every
        return
    made = type("OwnServer", (socketserver.ForkingTCPServer,), options)
    with (
        running(made(("127.0.0.1", 0), handler)) as server,
        clients(server.server_address, count) as every,
    ):
        yield server, every


both = pytest.mark.parametrize("kind", ["drop-in", "Server"])


@both
def test_handlers_tell_each_other_and_the_program_tells_them(kind: str) -> None:
    with server_and_clients(kind, 3) as (server, (anna, bob, eve)):
        assert [anna.ask("join red anna"), bob.ask("join red bob")] == ["True", "True"]
        assert eve.ask("join blue eve") == "True"
        assert anna.ask("tell red hello") == "1"
        assert bob.hear() == "hello"
        assert eve.ask("tell red from outside") == "2"
        assert [anna.hear(), bob.hear()] == ["from outside"] * 2
        assert server.tell("red", b"of the program\n") == 2
        assert [anna.hear(), bob.hear()] == ["of the program"] * 2
        assert eve.ask("members red") == "['anna', 'bob']"
        assert [name for _, name in server.members("red")] == ["anna", "bob"]
        assert eve.ask("members green") == "[]"
        assert eve.ask("tell green nothing") == "0"
        assert core_of(getattr(server, "listeners", [server])[0]).rooms.sizes() == {
            "red": 2,
            "blue": 1,
        }


@both
def test_a_handler_sends_to_the_connection_of_another_process(kind: str) -> None:
    with server_and_clients(kind, 2) as (server, (anna, bob)):
        assert bob.ask("members red") == "[]"  # from now on it hears
        assert anna.ask(f"send {bob.number} psst") == "True"
        assert bob.hear() == "psst"
        assert anna.ask(f"address {bob.number}") == str(bob.socket.getsockname())
        assert anna.ask(f"close {bob.number}").startswith(
            f"RuntimeError: connection {bob.number} cannot be closed here"
        )
        anna.say(f"send {anna.number} to myself")
        assert [anna.hear(), anna.hear()] == ["to myself", "True"]
        assert anna.ask("send 99999 nothing") == "KeyError: 99999"
        anna.say("all everybody")
        assert sorted([anna.hear(), anna.hear()]) == ["2", "everybody"]
        assert bob.hear() == "everybody"
        assert server.connections[bob.number].send(b"of the program\n")
        assert bob.hear() == "of the program"


@both
def test_what_cannot_be_told_is_a_mistake_in_the_handler(kind: str) -> None:
    with server_and_clients(kind, 1, outbox=5000) as (_, (anna,)):
        assert anna.ask("join red") == "True"
        assert anna.ask("tell-much red 6000").startswith(
            "Mistake: a piece of 6001 bytes fits into no outbox"
        )
        assert anna.ask("join " + "x" * 256).startswith("Mistake: the name of a room has 1 to 255")
        # A piece may be as long as all that may wait, whatever stands around it.
        anna.say("tell-much red 4999")
        assert anna.hear() == "x" * 4999
        assert anna.hear() == "1"


@both
def test_pieces_of_each_sender_come_in_their_order_and_once(kind: str) -> None:
    class Counting(Speaker):
        def do_count(self, first: str, more: str) -> str:
            for number in range(200):
                self.server.tell("red", f"{first} {number}\n".encode())
            return "done"

    with server_and_clients(kind, 4, Counting, outbox=10_000_000) as (server, (anna, *others)):
        assert anna.ask("join red") == "True"
        for other in others:
            other.say(f"count {other.number}")
        for number in range(200):
            server.tell("red", b"0 %d\n" % number)
        heard = [anna.hear().split() for _ in range(800)]
        for other in others:
            assert other.hear() == "done"
        for sender in {"0", *(str(other.number) for other in others)}:
            assert [n for who, n in heard if who == sender] == [str(n) for n in range(200)]


def test_forty_handlers_that_begin_at_once_all_hear_each_other() -> None:
    with server_and_clients("drop-in", 40) as (server, every):
        for client in every:
            client.say("join red")
        assert {client.hear() for client in every} == {"True"}
        assert len(server.members("red")) == 40
        for client in every:
            client.say(f"tell red {client.number}")
        for client in every:
            heard = sorted(client.hear() for _ in range(40))
            # 39 of the others, and how many were told.
            assert heard == sorted(["39", *(str(o.number) for o in every if o is not client)])


def test_what_uses_no_rooms_has_no_thread_and_no_channel() -> None:
    class Tasks(Speaker):
        def do_things(self, first: str, more: str) -> tuple[int, int]:
            return entries("/proc/self/task"), entries("/proc/self/fd")

    with server_and_clients("drop-in", 2, Tasks) as (_, (anna, bob)):
        threads = entries("/proc/self/task")
        tasks, files = eval(anna.ask("things"))
        assert tasks == 1
        assert anna.ask("members red") == "[]"
        assert eval(anna.ask("things")) == (2, files + 1)
        assert eval(bob.ask("things"))[0] == 1
        # The one that deals, and not one for each handler.
        assert entries("/proc/self/task") == threads + 1
        assert bob.ask("members red") == "[]"
        assert entries("/proc/self/task") == threads + 1


def test_handlers_that_have_used_no_rooms_are_notified_where_they_can_be() -> None:
    with server_and_clients("Server", 3) as (server, every):
        assert server.connections.send_all(b"hear ye\n") == 3
        assert [client.hear() for client in every] == ["hear ye"] * 3
        with clients(server.listeners[0].server_address, 1) as (late,):
            wait_until(lambda: late.number in server.connections)
            wait_until(lambda: server.connections[late.number].send(b"late\n"))
            assert late.hear() == "late"


def test_handlers_of_a_plain_drop_in_that_have_used_no_rooms_are_not_told_nor_counted() -> None:
    with server_and_clients("drop-in", 2) as (server, (anna, bob)):
        assert server.connections.send_all(b"hear ye\n") == 0
        assert anna.ask("members red") == "[]"
        assert server.connections.send_all(b"hear ye\n") == 1
        assert anna.hear() == "hear ye"
        assert bob.ask("members red") == "[]"
        assert server.connections.send_all(b"again\n") == 2
        # Those that come after the first use hear from their beginning.
        with clients(server.server_address, 1) as (late,):
            wait_until(lambda: server.connections[late.number].send(b"late\n"))
            assert late.hear() == "late"


@both
def test_a_stopped_handler_changes_nothing_for_the_others_and_is_closed(kind: str) -> None:
    heard: list[events.Event] = []
    unsubscribe = events.hub.subscribe(heard.append, events.ClientFellBehind)
    try:
        with server_and_clients(kind, 3, outbox=100_000) as (server, (anna, bob, eve)):
            for client in (anna, bob):
                assert client.ask("join red") == "True"
            anna.stop()
            told = 0
            while eve.ask("tell-much red 9999") == "2":
                assert bob.hear() == "x" * 9999
                told += 1
            assert bob.hear() == "x" * 9999
            assert told >= 10
            wait_until(lambda: server.connections.closed.get(Reason.DID_NOT_READ) == 1)
            assert len(server.members("red")) == 1
            assert eve.ask("tell red still here") == "1"
            assert bob.hear() == "still here"
            wait_until(lambda: heard)
            assert len(heard) == 1
    finally:
        unsubscribe()


@pytest.mark.parametrize("when_behind", ["drop_oldest", "drop_new"])
def test_a_stopped_handler_misses_pieces_which_are_counted(when_behind: str) -> None:
    options = {"outbox": 50_000, "when_behind": when_behind}
    with server_and_clients("drop-in", 1, **options) as (server, (anna,)):
        assert anna.ask("join red") == "True"
        anna.stop()
        connection = server.connections[anna.number]
        sent = 0
        while connection.missed < 3:
            server.tell("red", b"%08d\n" % sent + b"x" * 4990 + b"\n")
            sent += 1
        anna.go_on()
        server_missed = connection.missed
        wait_until(lambda: connection.waiting == 0)
        anna.say("members red")
        heard = []
        while not (line := anna.hear()).startswith("["):
            heard.append(line)
        numbers = [int(line) for line in heard[::2]]
        assert numbers == sorted(set(numbers))
        assert (numbers[-1] == sent - 1) is (when_behind == "drop_oldest")
        # What its process had to drop, since its client read nothing meanwhile, is told to the parent.
        wait_until(lambda: connection.missed == sent - len(numbers))
        assert connection.missed >= server_missed
        assert server.connections.missed == connection.missed


def test_what_a_handler_s_process_drops_of_its_own_pieces_is_counted_at_its_end() -> None:
    done, done_writer = os.pipe()

    class Generous(Speaker):
        def do_much(self, first: str, more: str) -> str:
            for _ in range(1000):
                self.send(b"x" * 5000)
            os.write(done_writer, b".")
            return "end"

    options: dict[str, Any] = {"outbox": 50_000, "when_behind": "drop_new"}
    with server_and_clients("drop-in", 1, Generous, **options) as (server, (anna,)):
        anna.say("much")
        assert os.read(done, 1) == b"."
        anna.socket.shutdown(socket.SHUT_WR)
        total = len(anna.lines.read())
        wait_until(lambda: not server.connections)
        assert server.connections.missed == 1000 - (total - len("end\n")) // 5000 > 0
    os.close(done)
    os.close(done_writer)


def test_a_handler_that_is_killed_in_the_middle_of_a_frame_leaves_its_rooms() -> None:
    class Breaking(Speaker):
        def do_die(self, first: str, more: str) -> None:
            scribble(b"\1\0\0\0\1\0")
            os.kill(os.getpid(), signal.SIGKILL)

    with server_and_clients("drop-in", 3, Breaking) as (server, (anna, bob, eve)):
        for client in (anna, bob, eve):
            assert client.ask("join red") == "True"
        anna.say("die")
        wait_until(lambda: len(server.members("red")) == 2)
        assert bob.ask("tell red hello") == "1"
        assert eve.hear() == "hello"


@pytest.mark.parametrize("said", [b"\xff" * 1000, pack(Kind.SEND, 1, bytes(300_000))[:100]])
def test_a_process_that_says_what_cannot_be_read_is_ended_with_its_reason(
    said: bytes, capfd: Any
) -> None:
    class Lying(Speaker):
        def do_lie(self, first: str, more: str) -> None:
            scribble(said)
            time.sleep(PATIENCE)

    with server_and_clients("drop-in", 3, Lying) as (server, (mallory, bob, eve)):
        for client in (mallory, bob, eve):
            assert client.ask("join red") == "True"
        mallory.say("lie")
        # It would be told nothing more, and not know: so its connection ends.
        assert mallory.hear() == ""
        wait_until(lambda: server.connections.closed == {Reason.HANDLER_FAILED: 1})
        assert f"the channel to connection {mallory.number}" in capfd.readouterr().err
        assert bob.ask("tell red hello") == "1"
        assert eve.hear() == "hello"


def test_a_member_has_left_when_its_connection_has_ended() -> None:
    with server_and_clients("drop-in", 2) as (server, (anna, bob)):
        assert [anna.ask("join red"), bob.ask("join red")] == ["True", "True"]
        connection = server.connections[anna.number]
        hang_up(anna.socket)
        wait_until(lambda: anna.number not in server.connections)
        assert len(server.members("red")) == 1
        assert not connection.send(b"too late")
        assert bob.ask(f"send {anna.number} late").startswith("KeyError")


def test_a_handler_that_becomes_another_program_is_told_no_more_and_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notices, "ATTACHES_WITHIN", 0.2)

    class Becoming(Speaker):
        def do_become(self, first: str, more: str) -> None:
            program = "import time; print('here', flush=True); time.sleep(60)"
            os.dup2(self.request.fileno(), 1)
            os.execv(sys.executable, [sys.executable, "-c", program])

    with server_and_clients("Server", 2, Becoming, outbox=5000) as (server, (anna, bob)):
        assert bob.ask("join red") == "True"
        # It has used no rooms, and never says that it hears; the other one's channel ends.
        for client in (anna, bob):
            assert client.ask("become") == "here"
        wait_until(lambda: server.members("red") == [])
        server.connections.send_all(b"hear ye\n")
        connection = server.connections[anna.number]
        wait_until(lambda: not connection.send(b"x" * 1000))
        assert len(server.connections) == 2
        assert not connection.reason


def test_a_process_that_a_handler_makes_has_no_part_in_it() -> None:
    class Making(Speaker):
        def do_make(self, first: str, more: str) -> str:
            pid = os.fork()
            if not pid:
                status = self.server.tell("red", b"of the copy\n") + len(self.server.members("red"))
                os._exit(status)
            _, status = os.waitpid(pid, 0)
            return str(os.waitstatus_to_exitcode(status))

    with server_and_clients("drop-in", 2, Making) as (_, (anna, bob)):
        assert [anna.ask("join red"), bob.ask("join red")] == ["True", "True"]
        assert anna.ask("make") == "0"
        assert anna.ask("tell red of the handler") == "1"
        assert bob.hear() == "of the handler"


@pytest.fixture
def working() -> Iterator[tuple[type[Speaker], Callable[[], object]]]:
    """Handlers that are at work once they are told so: no drain ends them. And what lets one go on."""
    may_end, end = os.pipe()

    class Working(Speaker):
        def do_work(self, first: str, more: str) -> str:
            self.wfile.write(b"at work\n")
            os.read(may_end, 1)
            return "done"

    yield Working, lambda: os.write(end, b".")
    os.close(may_end)
    os.close(end)


def test_handlers_are_told_until_the_last_one_has_ended_in_a_drain(working: Any) -> None:
    kind, let_one_go_on = working

    class Parting(kind):  # type: ignore[misc]  # a class that is made for the test
        def goodbye(self) -> None:
            self.server.tell("red", b"goodbye of %d\n" % os.getpid(), but=self)

    with server_and_clients("Server", 2, Parting, drain_timeout=PATIENCE) as (server, (anna, bob)):
        for client in (anna, bob):
            assert client.ask("join red") == "True"
            assert client.ask("work") == "at work"
        drained = threading.Thread(target=server.drain)
        drained.start()
        assert anna.hear() == f"goodbye of {bob.pid}"
        assert bob.hear() == f"goodbye of {anna.pid}"
        let_one_go_on()
        let_one_go_on()
        assert [anna.hear(), bob.hear()] == ["done", "done"]
        drained.join(PATIENCE)


def test_rooms_that_are_first_used_in_a_drain_are_heard_of(working: Any) -> None:
    kind, let_one_go_on = working

    class Late(kind):  # type: ignore[misc]  # a class that is made for the test
        def goodbye(self) -> None:
            self.join("red")
            self.send(b"%d\n" % len(self.server.members("red")))

    with server_and_clients("Server", 1, Late, drain_timeout=PATIENCE) as (server, (anna,)):
        assert anna.ask("work") == "at work"
        drained = threading.Thread(target=server.drain)
        drained.start()
        assert anna.hear() == "1"
        let_one_go_on()
        assert anna.hear() == "done"
        drained.join(PATIENCE)


def test_a_server_that_takes_one_request_after_the_other_deals_too() -> None:
    made = socketserver.ForkingTCPServer(("127.0.0.1", 0), Speaker)
    made.timeout = 0.05
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            made.handle_request()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with clients(made.server_address, 2) as (anna, bob):
            assert [anna.ask("join red"), bob.ask("join red")] == ["True", "True"]
            assert anna.ask("tell red hello") == "1"
            assert bob.hear() == "hello"
    finally:
        is_over.set()
        thread.join(PATIENCE)
        made.server_close()


def test_a_closed_server_leaves_no_thread_and_no_descriptor() -> None:
    def things() -> tuple[int, int]:
        return entries("/proc/self/task"), entries("/proc/self/fd")

    before = things()
    for _ in range(2):
        with server_and_clients("drop-in", 1) as (_, (anna,)):
            assert anna.ask("join red") == "True"
    # Threads of other tests may end meanwhile.
    wait_until(lambda: all(now <= then for now, then in zip(things(), before, strict=True)))


PROGRAM = """
    import sys, warnings
    warnings.simplefilter("ignore")
    {patch}
    from manyhands import Server, socketserver
    from tests.dealing.kit import Speaker, be_patient
    be_patient()
    class Own(socketserver.ForkingTCPServer):
        request_queue_size = 100
    with Own(("127.0.0.1", 0), Speaker) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
"""


def lines_of(patch: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in PROGRAM.format(patch=patch).splitlines())


def test_handlers_whose_parent_has_gone_tell_nobody_and_go_on() -> None:
    with Program(["-c", lines_of("")]) as parent:
        address = "127.0.0.1", int(parent.line())
        with clients(address, 2) as (anna, bob):
            assert [anna.ask("join red"), bob.ask("join blue")] == ["True", "True"]
            parent.send(signal.SIGKILL)
            parent.wait()
            for client in (anna, bob):
                wait_until(lambda client=client: client.ask("tell red nothing") == "0")
                # It does not wait for an answer: the client would not, for so long.
                assert client.ask("wait-at-most 1000") == "None"
                assert client.ask("members red") == "[]"
                assert client.ask("join red") == "False"


def test_a_handler_that_cannot_hear_is_told_so_and_hears_once_it_can() -> None:
    class Short(Speaker):
        def do_spend(self, _: str, __: str) -> str:
            # None is free below this one, and the room's outbox has to be made before.
            self.send(b"")
            self.taken = [os.dup(0) for _ in range(20)]
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(self.taken) + 1, most))
            return "spent"

        def do_recover(self, _: str, __: str) -> str:
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            return "recovered"

    with server_and_clients("Server", 2, Short) as (_server, (anna, bob)):
        assert anna.ask("spend") == "spent"
        assert anna.ask("join red") == "False"
        assert bob.ask("tell red nobody") == "0"
        assert anna.ask("recover") == "recovered"
        assert anna.ask("join red") == "True"
        assert bob.ask("tell red anna") == "1"
        assert anna.hear() == "anna"


@pytest.mark.parametrize("raised", [KeyboardInterrupt, TimeoutError, RuntimeError, MemoryError])
def test_a_signal_s_handler_that_raises_while_a_handler_attaches_is_heard_and_leaves_nothing(
    raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_up = ChildSide._pass_up

    def alarm(*_: object) -> None:
        raise raised

    class Alarmed(Speaker):
        def do_alarm(self, room: str, _: str) -> str:
            signal.signal(signal.SIGALRM, alarm)
            monkeypatch.setattr(ChildSide, "_pass_up", pass_up_after_alarm)
            files = entries("/proc/self/fd")
            try:
                self.join(room)
            except raised:
                return f"raised, {entries('/proc/self/fd') - files}"
            return "swallowed"

    def pass_up_after_alarm(side: ChildSide, above: Any) -> bool:
        monkeypatch.undo()
        child_side.ANSWERS_WITHIN = PATIENCE
        signal.raise_signal(signal.SIGALRM)
        return pass_up(side, above)

    with server_and_clients("drop-in", 2, Alarmed) as (_server, (anna, bob)):
        assert anna.ask("alarm red") == "raised, 0"
        assert anna.ask("join red anna") == "True"
        assert bob.ask("tell red hello") == "1"
        assert anna.hear() == "hello"


def test_a_stopped_parent_is_waited_for_no_longer_than_a_while() -> None:
    with Program(["-c", lines_of("")]) as parent:
        address = "127.0.0.1", int(parent.line())
        with clients(address, 2) as (anna, bob):
            assert bob.ask("join red") == "True"
            assert anna.ask("wait-at-most 0.2") == "None"
            with stopped(parent.pid):
                assert anna.ask("tell red patience") == "0"
            assert anna.ask(f"wait-at-most {PATIENCE}") == "None"
            # It is told all the same, once the parent goes on.
            assert bob.hear() == "patience"
            assert anna.ask("tell red again") == "1"


def test_a_program_that_gevent_has_patched_deals_too() -> None:
    pytest.importorskip("gevent")
    with Program(["-c", lines_of("from gevent import monkey; monkey.patch_all()")]) as parent:
        address = "127.0.0.1", int(parent.line())
        with clients(address, 3) as (anna, bob, eve):
            assert [anna.ask("join red"), bob.ask("join red")] == ["True", "True"]
            assert eve.ask("tell red hello") == "2"
            assert [anna.hear(), bob.hear()] == ["hello", "hello"]
            assert eve.ask(f"send {bob.number} psst") == "True"
            assert bob.hear() == "psst"


def test_the_handler_of_a_datagram_tells_a_room() -> None:
    class Telling(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, _ = self.request
            answer = b"%d" % self.server.tell("red", data) if data != b"join" else self.tried()
            self.request[1].sendto(answer, self.client_address)

        def tried(self) -> bytes:
            try:
                self.join("red")
            except RuntimeError as error:
                return str(error).encode()
            return b"joined"

    with (
        running(socketserver.ForkingUDPServer(("127.0.0.1", 0), Telling)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(PATIENCE)
        for said, answer in ((b"hello", b"0"), (b"join", b"this Telling serves a datagram")):
            peer.sendto(said, server.server_address)
            assert peer.recv(1000).startswith(answer)


def test_a_line_that_is_told_within_a_second_of_the_call_waits_for_the_handler() -> None:
    with server_and_clients("Server", 1) as (server, (anna,)):
        anna.stop()
        connection = server.connections[anna.number]
        assert connection.send(b"first\n")
        assert connection.send(b"second\n")
        anna.go_on()
        assert [anna.hear(), anna.hear()] == ["first", "second"]


def test_a_handler_that_is_notified_and_stopped_for_long_misses_what_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notices, "ATTACHES_WITHIN", 0.2)
    with server_and_clients("Server", 1) as (server, (anna,)):
        anna.stop()
        connection = server.connections[anna.number]
        assert connection.send(b"missed\n")
        wait_until(lambda: not connection.send(b"too late\n"))
        missed = connection.missed
        assert missed >= 1
        monkeypatch.setattr(notices, "ATTACHES_WITHIN", PATIENCE)
        anna.go_on()
        wait_until(lambda: connection.send(b"in time\n"))
        assert anna.hear() == "in time"
        assert connection.missed == missed


def test_what_is_sent_just_when_a_handler_attaches_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    new_peer, is_attaching, goes_on = Dealer._new_peer, threading.Event(), threading.Event()

    def new_peer_slowly(dealer: Any, *arguments: Any) -> Any:
        made = new_peer(dealer, *arguments)
        if not is_attaching.is_set():
            is_attaching.set()
            # The program's send is under way meanwhile.
            goes_on.wait(PATIENCE)
        return made

    monkeypatch.setattr(Dealer, "_new_peer", new_peer_slowly)
    with server_and_clients("Server", 1) as (server, (anna,)):
        connection, sent = server.connections[anna.number], threading.Event()
        anna.say("join red")
        assert is_attaching.wait(PATIENCE)

        def send() -> None:
            connection.send(b"piece\n")
            sent.set()

        sending = threading.Thread(target=send)
        sending.start()
        sent.wait(0.1)  # it waits, or has gone wrong
        goes_on.set()
        sending.join(PATIENCE)
        assert {anna.hear(), anna.hear()} == {"True", "piece"}


def test_a_piece_may_be_empty_and_is_taken_as_it_is() -> None:
    with server_and_clients("drop-in", 1) as (server, (anna,)):
        assert anna.ask("join red") == "True"
        assert server.tell("red", b"") == 1
        assert server.tell("red", bytearray(b"changeable\n")) == 1
        assert anna.hear() == "changeable"


def test_a_client_that_has_fallen_behind_is_told_no_more_be_its_handler_at_work() -> None:
    class Endless(Speaker):
        def do_flood(self, first: str, more: str) -> str:
            while self.server.tell("red", b"x" * 10_000 + b"\n"):
                pass
            return "end"

    with server_and_clients("Server", 2, Endless, outbox=50_000) as (server, (anna, bob)):
        assert anna.ask("join red") == "True"
        anna.say("flood")
        wait_until(lambda: anna.number not in server.connections)
        assert server.connections.closed == {Reason.DID_NOT_READ: 1}
        assert bob.ask("members red") == "[]"
