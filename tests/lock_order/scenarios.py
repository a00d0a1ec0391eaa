"""What servers do in a process whose locks are recorded: `python -m tests.lock_order.scenarios`.

Three scenarios: `serve`, on an engine, `tell_other_workers`, and `open_a_desk`. All that a program has
beside its server goes on meanwhile: a subscriber that asks for the server's `info`, logs behind queues, and
scrapes of the metrics.
"""

import sys

from tests.lock_order.recorder import record_to, the_program_runs

if __name__ == "__main__":
    # Here, before the library is imported.
    record_to(sys.argv[1])

import contextlib
import os
import pty
import socket
import sqlite3
import ssl
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import manyhands
from manyhands import Mistake, Server, StreamRequestHandler, events, logs, metrics, socketserver
from manyhands.control.client import Client
from manyhands.desk import desk
from manyhands.desk.link_frames import Kind
from manyhands.desk.speaker_elsewhere import say_to_all
from manyhands.engines.fibers import engine as fibers
from manyhands.hub.command import hub_command, hub_listener
from manyhands.hub.frames import LONGEST
from manyhands.hub.member import HubMember
from manyhands.model.connection_states import Reason
from manyhands.runtime.sockets import unix_pair
from manyhands.serving import drain, reaper
from manyhands.serving.core import core_of
from manyhands.testing import (
    ask,
    call,
    everything,
    hear,
    read_line,
    running,
    socket_address,
    wait_until,
)
from manyhands.testing.waiting import PATIENCE
from manyhands.workers.link import Link
from manyhands.workers.shared_page import SharedPage
from tests.desk.links_kit import WorkerByHand, desk_for_workers

HERE = "tcp://127.0.0.1:0"

GET = b"GET /metrics HTTP/1.0\r\n\r\n"

released = threading.Event()
"""Set when handlers that take no notice of their end may go."""


class Talker(StreamRequestHandler):
    """Says each line back; some lines have it do more."""

    def handle(self) -> None:
        the_program_runs()
        for line in self.rfile:
            self.wfile.write(line)
            self.talk_with_others(line)
            if line == b"ask the operator\n":
                with contextlib.suppress(EOFError):
                    manyhands.ask()
            while line == b"ignore your end\n" and not released.is_set():
                manyhands.blocking(released.wait, 0.01)

    def talk_with_others(self, line: bytes) -> None:
        """Do what some lines say with rooms, and with the exchange."""
        if line == b"join\n":
            self.join("red")
        if line == b"tell\n":
            self.server.tell("red", b"told\n")
        if line == b"subscribe\n":
            for message in self.server.exchange.subscribe("words"):
                self.wfile.write(message.data)
                message.reply(b"thanks")
        if line == b"tell much\n":
            while self.server.tell("red", b"much\n" * 10_000):
                the_program_runs()

    def goodbye(self) -> None:
        the_program_runs()
        self.wfile.write(b"goodbye\n")


def overflow(request: Any, client_address: Any, server: Any) -> None:
    """Serve a client for whom there is no place."""
    the_program_runs()
    request.sendall(b"full\n")


def answer_datagram(request: Any, client_address: Any, server: Any) -> None:
    """Send a datagram back."""
    the_program_runs()
    packet, listener = request
    listener.sendto(packet, client_address)


class Hooks(socketserver.TCPServer):
    """A drop-in server whose hooks are the program's."""

    def get_request(self) -> Any:
        the_program_runs()
        return super().get_request()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        the_program_runs()
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        the_program_runs()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        the_program_runs()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        the_program_runs()

    def service_actions(self) -> None:
        the_program_runs()


def serve(engine: str, certfile: str) -> None:
    """Do on an engine what servers do."""
    # Handlers that take no notice of their end are given up soon.
    reaper.GRACE = drain.UNWINDING = 0.1
    fibers.UNWIND_TIME = 0.05
    with contextlib.suppress(Mistake):
        Server(Talker, "systemd://").listen()  # no socket was given
    options: dict[str, Any] = {"engine": engine, "idle_timeout": None, "drain_timeout": 1.0}
    control = f"@manyhands-locks-{os.getpid()}"
    server = Server(
        Talker, HERE, "tls://127.0.0.1:0", certfile=certfile, control=control, **options
    )
    with watched(server):
        server.start()
        operators_ask(control)
        clients_come_and_go(server)
        clients_are_refused(server, several=engine != "sequential")
        clients_are_ended(server)
        with called(server, b"before the end\n") as peer:
            server.drain()
            assert everything(peer) == b"goodbye\n"
        drop_in_servers(engine)
        drop_in_servers(engine, proxy_protocol=True, max_connections_per_ip=5)


@contextmanager
def watched(server: Server) -> Iterator[None]:
    """Have a server watched by all means that there are, until the end of the context."""

    def tell(event: events.Event) -> None:
        the_program_runs()
        server.info()

    has_ended = threading.Event()

    def scrape(address: Any) -> None:
        while not has_ended.wait(0.02):
            server.info()
            assert b"manyhands_connections" in ask((address.host, address.port), GET)

    unsubscribe = [
        events.hub.subscribe(tell, events.Event),
        events.hub.subscribe(logs.Queued(lambda event: the_program_runs()), events.Event),
        logs.to_logging(access=True),
    ]
    with metrics.serve(server, "127.0.0.1:0") as exporter:
        scraper = threading.Thread(target=scrape, args=exporter.addresses)
        scraper.start()
        try:
            yield
        finally:
            has_ended.set()
            scraper.join()
    for end in unsubscribe:
        end()


@contextmanager
def calling(address: Any) -> Iterator[socket.socket]:
    """Call a server; hang up at the end."""
    with call(address) as peer:
        try:
            yield peer
        finally:
            # A close alone would not do: a handler in a process of its own has a copy of the peer, too.
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)


@contextmanager
def called(server: Server, line: bytes) -> Iterator[socket.socket]:
    """Call a server, say a line, and wait for the answer."""
    with calling(socket_address(server.addresses[0])) as peer:
        peer.sendall(line)
        assert read_line(peer) == line
        yield peer


def operators_ask(control: str) -> None:
    with Client(control) as client:
        client.watch("stats", "events")
        assert client.call("status")["servers"]
        assert client.call("metrics")["text"]
        assert client.call("connections.list")["open"] == 0


def clients_come_and_go(server: Server) -> None:
    plain, tls = map(socket_address, server.addresses)
    for line in (b"hello\n", b"ask the operator\n"):
        assert ask(plain, line) == line
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(2):
        assert server.wait_for_connections(0, PATIENCE)
        unshaken = call(tls)
        # OpenSSL has locks of its own: nothing may use it here while a child is forked.
        wait_until(server.engine.running)
        with context.wrap_socket(unshaken) as peer:
            peer.sendall(b"hello\n")
            assert read_line(peer) == b"hello\n"
            peer.shutdown(socket.SHUT_RDWR)
        assert server.reload()
    ask(tls, b"this is no handshake\n")
    if server.engine.name in {"threads", "fibers"}:
        with called(server, b"subscribe\n") as peer:
            wait_until(lambda: has_answer(server))
            server.exchange.publish("words", b"word\n")
            assert {read_line(peer), read_line(peer)} == {b"asked\n", b"word\n"}
            server.exchange.close_subscriptions()
    for address in (plain, tls):
        before = server.connections.accepted
        with call(address) if address == plain else context.wrap_socket(call(address)) as member:
            member.sendall(b"join\ntell\ntell much\n")
            # It reads nothing, so its connection is closed.
            wait_until(lambda: server.connections.accepted > before and not server.connections)  # noqa: B023
    server.suspend()
    with calling(plain) as peer:
        peer.sendall(b"waits\n")
        server.resume()
        assert read_line(peer) == b"waits\n"


def has_answer(server: Server) -> bool:
    """Ask the handler that subscribes; return False while it has not."""
    try:
        return server.exchange.request("words", b"asked\n") == b"thanks"
    except manyhands.NoAnswer:
        return False


def clients_are_refused(server: Server, *, several: bool) -> None:
    address = socket_address(server.addresses[0])
    server.deny = "127.0.0.0/8"
    assert hear(address) == b""
    server.deny = None
    if not several:
        return
    with called(server, b"the first\n") as first:
        server.max_connections_per_ip = 1
        assert hear(address) == b""
        server.max_connections_per_ip = None
        server.when_full, server.max_connections = overflow, 1
        assert hear(address) == b"full\n"
        server.when_full, server.refusal = "refuse", "none left\n"
        assert hear(address) == b"none left\n"
        server.when_full = "wait"
        with calling(address) as second:
            second.sendall(b"waits\n")
            first.shutdown(socket.SHUT_RDWR)
            assert read_line(second) == b"waits\n"
    server.max_connections = None


def clients_are_ended(server: Server) -> None:
    assert server.wait_for_connections(0, PATIENCE)
    with called(server, b"kick me\n") as peer:
        (connection,) = server.connections.values()
        assert connection.close()
        assert everything(peer) == b""
    for line in (b"fall silent\n", b"ignore your end\n"):
        with called(server, line):
            server.idle_timeout = 0.05
            assert server.wait_for_connections(0, PATIENCE)
        server.idle_timeout = None
    released.set()


def drop_in_servers(engine: str, **options: Any) -> None:
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" if options else b""
    chosen = type("Chosen", (Hooks,), {"engine": engine, **options})
    with running(chosen(("127.0.0.1", 0), Talker)) as server:
        loop = threading.Thread(target=server.serve_forever)  # a second one
        loop.start()
        # One that begins after the shutdown of the other would serve on.
        wait_until(lambda: len(core_of(server).loops.threads) == 2)
        for _ in range(3):
            assert ask(server.server_address, header + b"hello\n") == b"hello\n"
    loop.join()
    with chosen(("127.0.0.1", 0), Talker) as server:
        with calling(server.server_address) as peer:
            peer.sendall(header + b"hello\n")
            peer.shutdown(socket.SHUT_WR)
            server.handle_request()
            assert everything(peer) == b"hello\n"
        server.drain()
    datagrams = type(
        "Datagrams", (socketserver.UDPServer,), {"engine": engine, "max_packet_size": 4}
    )
    with (
        datagrams(("127.0.0.1", 0), answer_datagram) as server,
        socket.socket(type=socket.SOCK_DGRAM) as peer,
    ):
        peer.sendto(b"too long", server.server_address)
        server.handle_request()
        assert peer.recv(100) == b"too "


def tell_other_workers() -> None:
    """Have two servers be workers that reach each other, first without a hub."""
    with hub_listener() as listener, contextlib.ExitStack() as stack:
        servers, members = [], []
        for number in (1, 2):
            server = stack.enter_context(
                Server(Talker, HERE, idle_timeout=None, outbox=2 * LONGEST)
            )
            stack.enter_context(watched(server))
            members.append(HubMember(core_of(server.listeners[0]), listener.getsockname(), number))
            members[-1].start()
            stack.callback(members[-1].close)
            servers.append(server)
        peers = [stack.enter_context(called(server, b"join\n")) for server in servers]
        argv, env, pass_fds = hub_command(listener)
        hub = stack.enter_context(subprocess.Popen(argv, env=env, pass_fds=pass_fds))
        stack.callback(hub.kill)
        wait_until(lambda: len(servers[0].members("red")) == len(peers))
        assert servers[0].tell("red", b"told\n") == len(peers)
        assert {read_line(peer) for peer in peers} == {b"told\n"}
        # It is longer than the hub takes, and so what the others miss.
        servers[0].connections.send_all(bytes(LONGEST + 1))
        wait_until(lambda: members[1].missed)
    tell_of_ends()


def tell_of_ends() -> None:
    """Have a worker note an end in its ring, and tell its supervisor, which waits for that."""
    page, (here, there) = SharedPage(), unix_pair(socket.SOCK_STREAM)
    with here:
        slot = page.slot(0)
        slot.clear()
        Link(there.detach(), slot.ended).tell_end(1, Reason.PEER_CLOSED)
        assert here.recv(100)
        assert slot.ended.take()


def open_a_desk(folder: str) -> None:
    """Open a desk at a terminal, and have the operator talk with callers."""
    os.environ |= {"TERM": "xterm", "XDG_DATA_HOME": folder}
    keyboard, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (40, 200))
    os.dup2(terminal, 0)
    os.dup2(terminal, 1)
    shown = bytearray()

    def look() -> None:
        while True:
            shown.extend(os.read(keyboard, 4096))

    threading.Thread(target=look, daemon=True).start()
    for engine in ("threads", "fibers"):
        file = f"{folder}/{engine}.sqlite"

        @contextmanager
        def beside(server: Server, file: str = file) -> Iterator[None]:
            shown.clear()
            arguments = (socket_address(server.addresses[0]), keyboard, shown, file)
            thread = threading.Thread(target=talk, args=arguments)
            thread.start()
            with watched(server):
                yield
            thread.join()

        desk.run(desk.Settings([HERE], transcript=file, engine=engine), beside)
    move_a_call()


def move_a_call() -> None:
    """Have a call at a desk leave one worker, and go on in another one."""
    with desk_for_workers() as of_workers:
        first, second = WorkerByHand(of_workers), WorkerByHand(of_workers)
        for worker, kind in [(first, Kind.TAKE), (first, Kind.PARK), (second, Kind.GO_ON)]:
            worker.says(kind, 5, "somewhere" if kind == Kind.TAKE else None)
            while worker.hears().kind != Kind.DONE:
                pass  # it is what was said before
            (call,) = of_workers.switchboard.calls
            say_to_all([call.connection], "hello")


def talk(address: Any, keyboard: int, shown: bytearray, transcript: str) -> None:
    """Call a desk, and be its operator."""
    with (
        calling(address) as caller,
        contextlib.closing(sqlite3.connect(transcript, isolation_level=None)) as database,
    ):
        caller.sendall(b"hello\n")
        wait_until(lambda: b"hello" in shown)
        # For a while the transcript cannot be written.
        database.execute("ALTER TABLE messages RENAME TO away")
        caller.sendall(b"is this kept?\n")
        wait_until(lambda: b"cannot be written" in shown)
        database.execute("ALTER TABLE away RENAME TO messages")
        caller.sendall(b"and this?\n")
        wait_until(lambda: b"is written again" in shown)
        with calling(address) as another:
            wait_until(lambda: b"has called in" in shown[shown.index(b"again") :])
            os.write(keyboard, b"/kick 2\r")
            everything(another)
        os.write(keyboard, b"goodbye\r")
        assert read_line(caller) == b"goodbye\n"
        os.write(keyboard, b"/quit\r")
        everything(caller)


SCENARIOS: dict[str, Callable[..., None]] = {
    "serve": serve,
    "tell_other_workers": tell_other_workers,
    "open_a_desk": open_a_desk,
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[2]](*sys.argv[3:])
