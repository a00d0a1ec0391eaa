"""The verbs about servers and the process, on a `Server` and on classes of the drop-in."""

import fcntl
import gc
import os
import signal
import socket
import sys
import termios
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from manyhands import StreamRequestHandler, metrics, socketserver
from manyhands.control.client import Client, Lost, Refused
from manyhands.control.process_verbs import VERBS
from manyhands.control.protocol import Code
from manyhands.control.sockets import control_sockets
from manyhands.runtime.slices import slices
from manyhands.serving.controls import controls_of
from manyhands.serving.core import core_of
from tests.support import (
    Authority,
    Echo,
    answering,
    bound,
    call,
    everything,
    hear,
    is_closed_by_server,
    is_listening,
    read_line,
    replace,
    server_class,
    wait_until,
)
from tests.support.processes import stop
from tests.support.waiting import PATIENCE

from .conftest import Controlled

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@contextmanager
def a_drop_in(server: Any, place: str) -> Iterator[Client]:
    """Serve with a class of the drop-in, and have it asked about on a control socket."""
    leave = control_sockets.enter(controls_of(server), place, None)
    thread = threading.Thread(target=server.serve_forever, args=(60,))
    thread.start()
    try:
        with Client(place) as client:
            yield client
    finally:
        leave()
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()
    assert not thread.is_alive()


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "control.sock")


def values_of(client: Client) -> dict[str, Any]:
    return {each["name"]: each["value"] for each in client.call("limits.get")["items"]}


def test_the_limits_are_told_with_what_they_are_and_change_at_once(controlled: Controlled) -> None:
    with controlled(idle_timeout=7.5) as server:
        client = server.client()
        found = {each["name"]: each for each in client.call("limits.get")["items"]}
        assert found["idle_timeout"]["value"] == 7.5
        assert found["idle_timeout"]["default"] == 300
        assert found["idle_timeout"]["unit"] == "seconds"
        assert "until a connection is closed" in found["idle_timeout"]["help"]
        assert "engine" not in found
        told = client.call("limits.set", values={"deny": ["127.0.0.0/8"], "idle_timeout": None})
        assert told == {"values": {"deny": ["127.0.0.0/8"], "idle_timeout": None}}
        assert server.server.idle_timeout is None
        told = client.call("limits.set", values={"idle_timeout": "5m", "max_age": "1d"})
        assert told == {"values": {"idle_timeout": 300.0, "max_age": 86_400.0}}
        assert hear(bound(server.server)) == b""


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"max_connections": 0},
            "max_connections must be a whole number of at least 1, or none, not 0",
        ),
        ({"idle_timeout": "soon"}, "idle_timeout must be a number of seconds"),
        ({"idle_timeout": "nan"}, "idle_timeout must be a number of seconds"),
        ({"engine": "fibers"}, "there is no limit 'engine'; there are"),
        ({"max_conections": 5}, "did you mean max_connections"),
        ({"deny": "10.0.0.0/99"}, "deny must be a list of networks"),
    ],
)
def test_of_values_of_which_one_does_not_fit_none_is_taken(
    controlled: Controlled, place: str, values: dict[str, Any], sentence: str
) -> None:
    drop_in = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
    with controlled() as server:
        clients = [server.client()]
        with pytest.raises(Refused, match=sentence) as refused:
            clients[0].call("limits.set", values={"max_age": 90, **values})
        assert refused.value.code == Code.BAD_PARAMS
        assert server.server.max_age is None
    with a_drop_in(drop_in, place) as client, pytest.raises(Refused, match=sentence):
        client.call("limits.set", values={"max_age": 90, **values})
    assert drop_in.max_age is None


def test_a_drop_in_s_limits_are_its_attributes(place: str) -> None:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
    with a_drop_in(server, place) as client:
        assert values_of(client)["max_connections_per_ip"] is None
        client.call("limits.set", values={"max_connections_per_ip": 1})
        assert server.max_connections_per_ip == 1
        with call(server.server_address) as peer:
            peer.sendall(b"hello\n")
            read_line(peer)
            assert hear(server.server_address) == b""


def test_a_property_of_the_program_s_that_cannot_be_set_is_no_limit_and_nothing_is_changed(
    place: str,
) -> None:
    class Fixed(socketserver.ThreadingTCPServer):
        @property
        def max_age(self) -> float:  # type: ignore[override]
            return 5.0

    server = Fixed(("127.0.0.1", 0), Echo)
    with a_drop_in(server, place) as client:
        with pytest.raises(Refused, match="the program's own class refuses that"):
            client.call("limits.set", values={"idle_timeout": 5, "max_age": 90})
        assert server.idle_timeout is None


def test_a_suspended_listener_leaves_its_clients_in_the_backlog(controlled: Controlled) -> None:
    two = ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
    with controlled(*two, handler=answering(b"hello")) as server:
        client = server.client()
        address = "{}:{}".format(*bound(server.server))
        [told] = client.call("listeners.suspend", listener=address)["listeners"]
        assert (told["address"], told["is_suspended"]) == (address, True)
        with call(bound(server.server)) as peer:
            assert hear(bound(server.server, 1)) == b"hello"
            listeners = client.call("status")["servers"][0]["listeners"]
            assert [each["is_suspended"] for each in listeners] == [True, False]
            assert len(client.call("listeners.resume")["listeners"]) == 2
            assert everything(peer) == b"hello"
        with pytest.raises(Refused, match="there is no listener nowhere; there is 127") as refused:
            client.call("listeners.suspend", listener="nowhere")
        assert refused.value.code == Code.NO_SUCH_THING


def test_a_drop_in_is_suspended_too(place: str) -> None:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), answering(b"hello"))
    with a_drop_in(server, place) as client:
        client.call("listeners.suspend")
        with call(server.server_address) as peer:
            wait_until(lambda: client.call("status")["servers"][0]["listeners"][0]["waiting"] == 1)
            client.call("listeners.resume")
            assert everything(peer) == b"hello"


def test_a_server_that_was_started_drains_when_it_is_told_to(
    controlled: Controlled, engine: str
) -> None:
    with controlled(engine=engine) as server, call(bound(server.server)) as peer:
        peer.sendall(b"hello\n")
        read_line(peer)
        client = server.client()
        assert client.call("drain", timeout=5) == {"is_draining": True}
        # An idle connection is half-closed, and the socket goes with the server.
        assert is_closed_by_server(peer)
        with pytest.raises(Lost):
            client.receive(PATIENCE)
        wait_until(lambda: not server.server.addresses)


def test_a_drop_in_drains_when_it_is_told_to(place: str, engine: str) -> None:
    server = server_class(engine)(("127.0.0.1", 0), Echo)
    with a_drop_in(server, place) as client, call(server.server_address) as peer:
        peer.sendall(b"hello\n")
        read_line(peer)
        assert client.call("drain", timeout=0.5) == {"is_draining": True}
        wait_until(lambda: client.call("status")["servers"][0]["is_draining"])
        assert is_closed_by_server(peer)


@contextmanager
def a_busy_handler() -> Iterator[Any]:
    """Yield a class of handlers that write a byte, and go on whatever their clients do."""

    class Busy(StreamRequestHandler):
        is_over = threading.Event()

        def handle(self) -> None:
            self.wfile.write(b"x")
            self.is_over.wait(10 * PATIENCE)  # longer than a test waits for what ends it

    try:
        yield Busy
    finally:
        Busy.is_over.set()


@pytest.mark.parametrize("is_second", [False, True])
def test_a_drain_with_less_time_cuts_a_handler_off_that_goes_on(
    controlled: Controlled, is_second: bool
) -> None:
    with (
        a_busy_handler() as busy,
        controlled(handler=busy, drain_timeout=3600.0) as server,
        call(bound(server.server)) as peer,
    ):
        assert peer.recv(1) == b"x"
        client = server.client()
        if is_second:
            client.call("drain", timeout=600)
            wait_until(lambda: client.call("status")["servers"][0]["is_draining"])
        client.call("drain", timeout=0.1)
        assert is_cut_off(peer, busy)


def is_cut_off(peer: socket.socket, busy: Any) -> bool:
    """Wait until a server does not even read from a client any more; then have its handler return."""

    def cannot_send() -> bool:
        try:
            peer.sendall(b"y")
        except OSError:
            return True
        return False

    try:
        wait_until(cannot_send)
    finally:
        busy.is_over.set()
    return True


def test_a_drain_with_less_time_cuts_a_handler_of_a_drop_in_off(place: str) -> None:
    with a_busy_handler() as busy:
        server: Any = server_class("threads")(("127.0.0.1", 0), busy)
        server.daemon_threads = True
        with a_drop_in(server, place) as client, call(server.server_address) as peer:
            assert peer.recv(1) == b"x"
            client.call("drain", timeout=600)
            wait_until(lambda: client.call("status")["servers"][0]["is_draining"])
            client.call("drain", timeout=0.1)
            assert is_cut_off(peer, busy)


def test_the_time_of_a_drain_is_that_of_the_process_s_end_too(
    controlled: Controlled, place: str
) -> None:
    with (
        a_busy_handler() as busy,
        controlled(handler=busy, control=None, drain_timeout=3600.0) as server,
        call(bound(server.server)) as peer,
    ):
        assert peer.recv(1) == b"x"
        controls = server.server.controls
        controls.end_process = server.server.stop  # as that of the desk, whose server ends then
        leave = control_sockets.enter(controls, place, None)
        assert server.client(place).call("drain", timeout=0.1)["is_draining"]
        threading.Thread(target=server.server.close).start()
        assert is_cut_off(peer, busy)
        leave()


def test_what_cannot_be_reloaded_is_told(
    controlled: Controlled, authority: Authority, tmp_path: Path
) -> None:
    with (
        controlled() as server,
        pytest.raises(Refused, match="no certificates of files") as refused,
    ):
        server.client().call("reload")
    assert refused.value.code == Code.NOT_NOW
    certfile, keyfile = authority.write(tmp_path, "localhost")
    options = {"certfile": certfile, "keyfile": keyfile}
    with controlled("tls://127.0.0.1:0", **options) as server:
        client = server.client()
        before = server.server.tls_context
        assert client.call("reload") == {"reloaded": True, "what": "certificates"}
        assert server.server.tls_context is not before
        assert list(client.call("status")["servers"][0]["certificates"]) == [str(certfile)]
        replace(Path(certfile), b"no certificate")
        with pytest.raises(Refused, match=r"the old certificates are kept: certfile .* holds no"):
            client.call("reload")


class Waiting(StreamRequestHandler):
    """Stands in a function of its own."""

    def handle(self) -> None:
        self.wait_for_the_client()

    def wait_for_the_client(self) -> None:
        self.wfile.write(b"here\n")
        self.rfile.readline()


@pytest.mark.usefixtures("_stacks_are_waited_for")
def test_the_stacks_tell_where_each_handler_stands(controlled: Controlled, engine: str) -> None:
    with controlled(handler=Waiting, engine=engine, drain_timeout=0.1) as server:
        client = server.client()
        with call(bound(server.server)) as peer:
            read_line(peer)
            told = client.call("stacks")
            [item] = told["items"]
            assert told["total"] == 1
            assert item["peer"] == "{}:{}".format(*peer.getsockname())
            assert (item["pid"] is not None) is (engine == "processes")
            assert item["stack"][0].startswith(f"{__file__}:")
            assert item["stack"][0].endswith(" in Waiting.handle")
            assert item["stack"][1].endswith(" in Waiting.wait_for_the_client")
            # It goes on meanwhile, from one line to the next.
            assert client.call("connections.get", id=item["id"])["stack"][0] == item["stack"][0]
            alone = client.call("stacks", id=item["id"])
            assert (alone["items"][0]["id"], alone["threads"]) == (item["id"], [])
            main = threading.main_thread()
            [tested] = [each for each in told["threads"] if each["ident"] == main.ident]
            assert tested["name"] == "MainThread"
            assert any(__file__ in line for line in tested["stack"])
        with pytest.raises(Refused, match="there is no connection 0"):
            client.call("stacks", id="0")


class Missing(Waiting):
    """Does not notice the first question, as when the signal comes in the instant before a wait."""

    def handle(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
        self.wfile.write(b"here\n")
        signal.sigwait({signal.SIGIO})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
        self.rfile.readline()


@pytest.mark.usefixtures("_stacks_are_waited_for")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_process_that_did_not_notice_the_question_is_asked_again(controlled: Controlled) -> None:
    with (
        controlled(handler=Missing, engine="processes") as server,
        call(bound(server.server)) as peer,
    ):
        read_line(peer)
        [item] = server.client().call("stacks")["items"]
        assert item["stack"][0].endswith(" in Missing.handle")


def where_they_stand(client: Client) -> list[str | None]:
    """Return the outermost function of each handler; None of one that has not told."""
    stacks = [each["stack"] for each in client.call("stacks")["items"]]
    return [stack and stack[0].rpartition(" in ")[2] for stack in stacks]


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_process_that_does_not_answer_has_no_stack_and_holds_up_nothing(
    controlled: Controlled,
) -> None:
    with controlled(handler=Waiting, engine="processes", drain_timeout=0.1) as server:
        client = server.client()
        with call(bound(server.server)) as stopped, call(bound(server.server)) as other:
            assert (read_line(stopped), read_line(other)) == (b"here\n", b"here\n")
            pid = client.call("stacks")["items"][0]["pid"]
            stop(pid)
            # Again and again: on a busy machine one that runs may be late too.
            wait_until(lambda: where_they_stand(client) == [None, "Waiting.handle"])
            os.kill(pid, signal.SIGCONT)
            wait_until(lambda: where_they_stand(client) == ["Waiting.handle"] * 2)


def test_a_thread_of_the_package_s_own_is_told_by_its_name(controlled: Controlled) -> None:
    def others() -> list[str]:
        return [each["name"] for each in server.client().call("stacks")["threads"]]

    with controlled() as server:
        with metrics.serve(server.server, "127.0.0.1:0"):
            wait_until(lambda: others().count("manyhands-http") == 1)
        wait_until(lambda: "manyhands-http" not in others())


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_no_more_stacks_are_told_than_are_asked_for(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    one_by_one = "manyhands.control.process_verbs.slices"
    monkeypatch.setattr(one_by_one, lambda items, at_once=1: slices(items, 1))
    with controlled(handler=Waiting, engine=engine) as server:
        peers = [call(bound(server.server)) for _ in range(4)]
        for peer in peers:
            read_line(peer)
        told = server.client().call("stacks", limit=2)
        assert (len(told["items"]), told["total"]) == (2, 4)
        assert [int(each["id"]) for each in told["items"]] == sorted(server.server.connections)[:2]
        assert all(each["stack"] for each in told["items"])
        # Nor are their frames looked up: of ten thousand that would hold up all handlers.
        [those] = [each for each in server.server.controls.core.engines if len(each.tasks) == 4]
        some = list(those.tasks)[1:3]
        assert set(those.frames(some)) == set(some)
        for peer in peers:
            peer.close()


def test_the_metrics_are_those_that_prometheus_reads(controlled: Controlled, engine: str) -> None:
    with controlled(engine=engine) as server:
        client = server.client()
        client.call("metrics")  # from now on, events and bytes are counted
        with call(bound(server.server)) as peer:
            peer.sendall(b"hello\n")
            read_line(peer)
            told = client.call("metrics")
        assert told["content_type"].startswith("text/plain")
        samples = {
            sample.name: sample.value
            for family in text_string_to_metric_families(told["text"])
            for sample in family.samples
        }
        assert samples["manyhands_connections_accepted_total"] == 1
        assert samples["manyhands_received_bytes_total"] == 6
        assert samples["process_open_fds"] > 0


def test_without_prometheus_client_the_extra_is_named(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("manyhands.metrics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("manyhands.metrics", None, raising=False)
    monkeypatch.delattr("manyhands.metrics")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with controlled() as server, pytest.raises(Refused, match="pip install prometheus-client") as e:
        server.client().call("metrics")
    assert e.value.code == Code.NOT_NOW


def test_of_several_servers_the_one_that_is_meant_has_to_be_said(
    controlled: Controlled, place: str
) -> None:
    with controlled() as first:
        client = first.client()
        drop_in = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
        with a_drop_in(drop_in, place):
            numbers = [each["server"] for each in client.call("status")["servers"]]
            kinds = [each["kind"] for each in client.call("status")["servers"]]
            assert kinds == ["Server", "ThreadingTCPServer"]
            with pytest.raises(Refused, match=f"there is {numbers[0]} .Echo., {numbers[1]} .Echo."):
                client.call("limits.set", values={"max_age": 90})
            client.call("limits.set", values={"max_age": 90}, server=numbers[1])
            assert (first.server.max_age, drop_in.max_age) == (None, 90)
            with pytest.raises(Refused, match="server must be a whole number from 1") as refused:
                client.call("limits.get", server=0)
            assert refused.value.code == Code.BAD_PARAMS
            with pytest.raises(Refused, match="there is no server 2000000000") as refused:
                client.call("limits.get", server=2_000_000_000)
            assert refused.value.code == Code.NO_SUCH_THING


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS if verb.writes])
def test_a_socket_for_reading_refuses_each_verb_that_changes_something(
    controlled: Controlled, place: str, verb: str
) -> None:
    with controlled(control=None, control_read=place) as server:
        with pytest.raises(Refused, match="for reading only") as refused:
            server.client(place).call(verb)
        assert refused.value.code == Code.READING_ONLY
        assert "reading only" not in str(server.client(place).call("limits.get"))


@pytest.mark.parametrize(
    ("verb", "param"),
    [(verb.name, param.name) for verb in VERBS if verb.writes for param in verb.params],
)
def test_null_is_no_parameter_of_a_verb_that_changes_something(
    controlled: Controlled, verb: str, param: str
) -> None:
    with controlled() as server:
        with pytest.raises(Refused, match=f"{param} must be .*, not null") as refused:
            server.client().request(verb, {param: None})
        assert refused.value.code == Code.BAD_PARAMS
        assert not server.client().call("status")["servers"][0]["listeners"][0]["is_suspended"]


def test_a_hub_that_hangs_is_told_of_with_the_handler_that_holds_it_up(
    controlled: Controlled,
) -> None:
    release = threading.Event()

    class Held(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"blocking\n")
            release.wait(PATIENCE)

    with controlled(engine="fibers", handler=Held) as server, call(bound(server.server)) as peer:
        client = server.client()
        read_line(peer)

        def delay() -> float:
            [told] = client.call("status")["servers"]
            return max(each["hub_delay"] or 0.0 for each in told["engines"])

        try:
            began = time.monotonic()
            wait_until(lambda: delay() > 0.2)
            assert time.monotonic() - began < PATIENCE
            [item] = client.call("stacks")["items"]
            assert any(line.endswith(".Held.handle") for line in item["stack"])
            assert client.call("connections.list")["total"] == 1
        finally:
            release.set()
        wait_until(lambda: delay() < 0.1)


def unread(peer: socket.socket) -> int:
    """Return how many bytes wait for a client to read them (FIONREAD in ioctl_list(2))."""
    return int.from_bytes(fcntl.ioctl(peer, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_half_closed_client_gets_all_that_it_has_asked_for(controlled: Controlled) -> None:
    with controlled() as server, call(server.place) as peer:
        asked = b'{"jsonrpc":"2.0","id":1,"method":"verbs"}\n' * 300
        peer.sendall(asked)
        peer.shutdown(socket.SHUT_WR)
        # While it does not read, the answers fill the connection.
        wait_until(lambda: unread(peer) > 100_000)
        assert everything(peer).count(b"\n") == 301


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_server_that_the_program_has_dropped_is_not_kept(place: str) -> None:
    server = socketserver.TCPServer(("127.0.0.1", 0), Echo)
    core, port = weakref.ref(core_of(server)), server.server_address[1]
    control_sockets.enter(controls_of(server), place, None)
    with Client(place) as client:
        assert len(client.call("status")["servers"]) == 1
        # Its end is that of its socket, as ever.
        del server
        gc.collect()
        assert not is_listening(port)
        assert client.call("status")["servers"] == []
    other = socketserver.TCPServer(("127.0.0.1", 0), Echo)
    with a_drop_in(other, f"{place}.2"):
        gc.collect()
        assert core() is None
        assert (Path(place).exists(), Path(f"{place}.2").exists()) == (False, True)


class WaitingInRoom(Waiting):
    """Is in a room."""

    def setup(self) -> None:
        super().setup()
        self.join("red")


def test_long_answers_give_way_while_they_are_found_and_made(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("manyhands.runtime.slices.WORK", 0.0)
    monkeypatch.setattr("manyhands.runtime.slices._sleep", pauses.append)
    # Deadlines are looked for in slices as well, from another thread.
    none = {"idle_timeout": None, "write_timeout": None}
    with (
        controlled(handler=WaitingInRoom, **none) as server,
        call(bound(server.server)) as peer,
    ):
        read_line(peer)
        client = server.client()

        def pauses_of(verb: str) -> int:
            pauses.clear()
            client.call(verb)
            return len(pauses)

        # To find them and to write them; `stacks` to look at the frames as well.
        assert pauses_of("connections.list") == pauses_of("rooms.list") == 2
        assert pauses_of("stacks") == 3
        client.call("watch", what=["stats"], every=60)
        # The bytes of all connections are added up.
        wait_until(lambda: pauses_of("status") == 1)
