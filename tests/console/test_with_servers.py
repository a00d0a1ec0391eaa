"""The screen with servers of ours, on every engine."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler
from tests.console.conftest import Serve
from tests.console.kit import Screen, look
from tests.console.test_screen import numbers
from tests.support import Echo, call, is_closed_by_server

ENGINES = ("threads", "fibers", "processes")


class Member(StreamRequestHandler):
    """Joins the room that its client names, and says so."""

    def handle(self) -> None:
        self.join(self.rfile.readline().decode().strip())
        self.wfile.write(b"joined\n")
        self.rfile.read()


@contextmanager
def controlled(folder: Path, handler: Any = Echo, **options: Any) -> Iterator[tuple[Any, str]]:
    """Serve with a control socket; yield the server's address and the socket's place."""
    place = str(folder / "control.sock")
    options = {"control": place, "drain_timeout": 1.0, **options}
    with Server(handler, "tcp://127.0.0.1:0", **options) as server:
        yield (server.addresses[0].host, server.addresses[0].port), place


@pytest.fixture
def calls() -> Iterator[Any]:
    """Return a function that calls a server, and is answered by its handler."""
    with ExitStack() as stack:

        def answered(address: Any, say: bytes = b"hello\n") -> socket.socket:
            client: socket.socket = stack.enter_context(call(address))
            client.sendall(say)
            assert client.recv(100)
            return client

        yield answered


@pytest.mark.parametrize("engine", ENGINES)
def test_a_connection_is_looked_at_and_closed(engine: str, tmp_path: Path, calls: Any) -> None:
    with controlled(tmp_path, engine=engine) as (address, place):
        clients = [calls(address) for _ in range(3)]

        async def scenario(screen: Screen) -> None:
            await screen.until(lambda: len(numbers(screen)) == 3)
            # The server adds its bytes up for this client.
            await screen.sees("in/s", "out/s")
            # Numbers are the process', which has had other servers.
            first, second, third = numbers(screen)
            peer = "{}:{}".format(*clients[1].getsockname())
            assert peer in screen.table()[1]
            screen.presses("down", "enter")
            await screen.sees(f"peer           {peer}", "idle_timeout 5 m 00 s")
            if engine != "processes":
                await screen.sees("Echo.handle")
            screen.presses("x")
            await screen.sees(f"Close connection {second}?")
            screen.presses("y")
            await screen.sees(f"connection {second} is closed", "open 2   accepted 3   closed 1")
            await screen.until(lambda: numbers(screen) == [first, third])

        look(place, scenario)
        assert is_closed_by_server(clients[1])
        clients[0].sendall(b"still here\n")
        assert clients[0].recv(100) == b"still here\n"


def test_a_listener_is_suspended_and_a_limit_adjusted(tmp_path: Path, calls: Any) -> None:
    with controlled(tmp_path, max_connections=100) as (address, place):

        async def scenario(screen: Screen) -> None:
            await screen.sees("0 connections")
            screen.presses("s")
            await screen.sees("suspend 127.0.0.1")
            screen.presses("enter")
            await screen.sees("suspended: 127.0.0.1", f"{address[1]} suspended")
            with socket.create_connection(address):
                await screen.sees("waiting 1 of")
                screen.presses("s")
                await screen.sees("resume 127.0.0.1")
                screen.presses("enter")
                await screen.sees("accepts clients: 127.0.0.1", "1 connection ")
            screen.presses("l")
            await screen.sees("max_connections ", "100 connections")
            names = [row.split()[1] for row in screen.rows() if row.startswith("  │ ")]
            for _ in range(names.index("max_connections") - 1):
                screen.presses("down")
            screen.presses("enter")
            await screen.sees("max_connections  (usually")
            await screen.types("7")
            await screen.sees("max_connections is 7 now")
            screen.presses("l")
            await screen.sees("max_connections ", "7 connections")

        look(place, scenario, size=(120, 40))


def test_the_members_of_a_room_are_shown_and_told(tmp_path: Path, calls: Any) -> None:
    with controlled(tmp_path, Member) as (address, place):
        red, blue = calls(address, b"red\n"), calls(address, "[/]王\n".encode())

        async def scenario(screen: Screen) -> None:
            await screen.sees("rooms 2", "[/]王")
            screen.presses("slash")
            await screen.types("room:red")
            await screen.until(lambda: len(numbers(screen)) == 1)
            screen.presses("t")
            await screen.sees("1  red", "1  [/]王")
            text = screen.text()
            screen.presses(*(["down"] if text.index("1  red") < text.index("1  [/]王") else []))
            screen.presses("enter")
            await screen.sees("to all in the room [/]王")
            await screen.types("你好")
            await screen.sees("told 1 in the room [/]王")

        look(place, scenario, size=(140, 40))
        assert blue.recv(100) == "你好\n".encode()
        red.setblocking(False)
        with pytest.raises(BlockingIOError):
            red.recv(1)


def test_several_servers_of_a_process_are_shown_together_and_one_by_one(
    tmp_path: Path, calls: Any
) -> None:
    with (
        controlled(tmp_path) as (address, place),
        controlled(tmp_path, Member) as (other, _),
    ):
        calls(address)
        calls(other, b"red\n")

        async def scenario(screen: Screen) -> None:
            await screen.sees("all 2 servers", "open 2 ")
            await screen.until(lambda: len(numbers(screen)) == 2)
            screen.presses("v")
            await screen.sees(": Server, Echo", "open 1 ", "1 connection,")
            screen.presses("v")
            await screen.sees(": Server, Member", "rooms 1")
            screen.presses("v")
            await screen.sees("all 2 servers")

        look(place, scenario, size=(150, 40))


def test_a_server_that_is_stopped_is_told_of_and_followed_when_it_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.console.look.ANSWER_TIMEOUT", 1.0)
    serving = serve()
    serving.call()

    async def scenario(screen: Screen) -> None:
        await screen.sees("1 connection ")
        serving.program.send(signal.SIGSTOP)
        try:
            await screen.sees("has not answered")
        finally:
            serving.program.send(signal.SIGCONT)
        serving.call()
        await screen.sees("2 connections")
        assert screen.app.model.session == 1

    look(serving.control, scenario)


def test_a_socket_for_reading_is_looked_at(tmp_path: Path, calls: Any) -> None:
    read = str(tmp_path / "read.sock")
    with controlled(tmp_path, control_read=read) as (address, _):
        calls(address)

        async def scenario(screen: Screen) -> None:
            await screen.sees("reading only", "1 connection ")
            screen.presses("x", "enter")
            await screen.sees("idle_timeout 5 m 00 s")
            assert "close it" not in screen.text()

        look(read, scenario)


def test_a_thousand_connections_are_looked_at_by_page(tmp_path: Path) -> None:
    many: dict[str, Any] = {"engine": "fibers", "max_connections": 2000}
    with controlled(tmp_path, **many) as (address, place), ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection(address))

        async def scenario(screen: Screen) -> None:
            await screen.sees("of 1,000 connections, page 1")
            [first, *_] = numbers(screen)
            screen.presses("r")
            last = str(int(first) + 999)
            await screen.until(lambda: numbers(screen)[:1] == [last])
            screen.presses("pagedown")
            await screen.sees("page 2")
            await screen.until(lambda: int(first) < int(numbers(screen)[0]) < int(last) - 5)

        look(place, scenario)
