"""A handler that does what its client says, and clients that say it."""

import contextlib
import itertools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from manyhands import StreamRequestHandler
from manyhands.dealing import child_side, notices
from manyhands.serving.served_connection import connection_of
from manyhands.testing import call
from tests.support.processes import stop
from tests.support.waiting import PATIENCE


class Speaker(StreamRequestHandler):
    """Says its connection's number and its process; then does what each line says, and says how it went."""

    def handle(self) -> None:
        connection = connection_of(self)
        number = 0 if connection is None else connection.number
        self.wfile.write(b"%d %d\n" % (number, os.getpid()))
        for line in self.rfile:
            verb, _, rest = line.decode().rstrip("\n").partition(" ")
            first, _, more = rest.partition(" ")
            try:
                result = getattr(self, f"do_{verb.replace('-', '_')}")(first, more)
            except Exception as error:  # noqa: BLE001 - what the test is about
                result = f"{type(error).__name__}: {error}"
            self.wfile.write(f"{result}\n".encode())

    def do_join(self, room: str, name: str) -> bool:
        return self.join(room, name or None)

    def do_leave(self, room: str, _: str) -> None:
        self.leave(room)

    def do_tell(self, room: str, text: str) -> int:
        return self.server.tell(room, text.encode() + b"\n", but=self)

    def do_tell_much(self, room: str, size: str) -> int:
        return self.server.tell(room, b"x" * int(size) + b"\n")

    def do_members(self, room: str, _: str) -> list[str]:
        return [member.name for member in self.server.members(room)]

    def do_all(self, text: str, _: str) -> int:
        return self.server.connections.send_all(text.encode() + b"\n")

    def do_send(self, number: str, text: str) -> bool:
        return self.server.connections[int(number)].send(text.encode() + b"\n")

    def do_address(self, number: str, _: str) -> object:
        return self.server.connections[int(number)].client_address

    def do_wait_at_most(self, seconds: str, _: str) -> None:
        """Wait for answers of the parent so long, in this process."""
        child_side.ANSWERS_WITHIN = float(seconds)

    def do_close(self, number: str, _: str) -> bool:
        return self.server.connections[int(number)].close()


def be_patient() -> None:
    """Have handlers, and the parent, wait longer for each other than any load of the machine makes them."""
    child_side.ANSWERS_WITHIN = notices.ATTACHES_WITHIN = PATIENCE


def scribble(data: bytes) -> None:
    """In a handler's process, write on the channel to its parent, as a program that counts wrongly does."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as copy:
            if (copy.family, copy.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
                copy.sendall(data)


class Client:
    """One client, of a `Speaker`."""

    def __init__(self, address: Any) -> None:
        self.socket = call(address)
        self.socket.settimeout(PATIENCE)
        self.lines = self.socket.makefile("rb")
        self.number, self.pid = map(int, self.hear().split())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.go_on()
        self.lines.close()
        hang_up(self.socket)

    def hear(self) -> str:
        return self.lines.readline().decode().rstrip("\n")

    def say(self, line: str) -> None:
        self.socket.sendall(line.encode() + b"\n")

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    def stop(self) -> None:
        """Stop its handler's process."""
        stop(self.pid)

    def kill(self) -> None:
        """Kill its handler's process."""
        os.kill(self.pid, signal.SIGKILL)

    def go_on(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)


def entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stopped in the context."""
    try:
        stop(pid)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def hang_up(peer: socket.socket) -> None:
    """End a connection of which the processes of handlers have copies."""
    with contextlib.suppress(OSError):  # the server has ended it
        peer.shutdown(socket.SHUT_RDWR)
    peer.close()


@contextmanager
def clients(address: Any, count: int) -> Iterator[list[Client]]:
    """So many clients, which hang up at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Client(address)) for _ in range(count)]


def join_while_others_are_told(
    members: Sequence[Client], turns: int, tell: Callable[[str, str], object]
) -> None:
    """Have clients join rooms, and leave them, while these are told numbers: what comes was told later."""
    is_over, told, room = threading.Event(), 0, "none"

    def tell_on() -> None:
        nonlocal told
        for number in itertools.count(1):
            # What is told while a member leaves may still come after that: so it says where.
            now = room
            tell(now, f"{now} {number}")
            told = number
            if is_over.wait(0.0002):
                return

    telling = threading.Thread(target=tell_on)
    telling.start()
    try:
        for client in members:
            for turn in range(turns):
                room = f"room-{client.number}-{turn}"
                before = told
                client.say(f"join {room}")
                while not (line := client.hear()).startswith(room):
                    pass
                assert int(line.split()[1]) > before
                client.say(f"leave {room}")
                while client.hear() != "None":
                    pass
    finally:
        is_over.set()
        telling.join(PATIENCE)
