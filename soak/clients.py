"""The clients of the soak: each function is one conversation, well-behaved or not.

A conversation returns when it went as it should, and raises what went wrong.
"""

import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

from manyhands.testing import call, drip, everything, half_close, read_line, reset
from soak.handler import FALL_BEHIND, JOIN, KICK_ME, LEAVE, POUR, STAY, TELL

Address = tuple[str, int]

PATIENCE = 120.0
"""Seconds that a client waits for anything: longer than the server may be without threads."""

SMALL_BUFFER = 4096
"""Bytes that the kernel receives for a client that does not read."""


class Place:
    """Where the server is.

    Attributes
    ----------
    calls : int
        How many connections have been made.
    """

    def __init__(self, plain: Address, tls: Address, context: ssl.SSLContext) -> None:
        self.ends_at = float("inf")
        """When the clients are to leave that would stay for longer."""

        self._plain = plain
        self._tls = tls
        self._context = context
        self._lock = threading.Lock()
        self.calls = 0

    def call(
        self, said: bytes = b"", *, for_tls: bool = False, receive_buffer: int | None = None
    ) -> socket.socket:
        """Connect, to the address that awaits TLS perhaps, and say something."""
        peer = call(self._tls if for_tls else self._plain, receive_buffer=receive_buffer)
        with self._lock:
            self.calls += 1
        peer.settimeout(PATIENCE)
        try:
            peer.sendall(said)
        except BaseException:
            peer.close()
            raise
        return peer

    def call_in_tls(self) -> ssl.SSLSocket:
        """Connect, and shake hands."""
        return self._context.wrap_socket(self.call(for_tls=True), server_hostname="127.0.0.1")


class CutOffError(Exception):
    """The server ended a conversation with a client that behaved, or did not end another one."""


def talk(place: Place, dice: random.Random, *, tls: bool = False) -> None:
    """Say some lines, long and short, with pauses; hear each of them again; take leave in good order."""
    with place.call_in_tls() if tls else place.call() as peer:
        for _ in range(dice.randint(1, 12)):
            line = dice.randbytes(dice.choice((10, 200, 20_000))).hex().encode() + b"\n"
            peer.sendall(line)
            _expect(peer, line)
            time.sleep(dice.expovariate(10))
        if not tls:
            half_close(peer)
            rest = everything(peer)
            if rest:
                raise CutOffError(f"{len(rest)} bytes too many")


def talk_in_tls(place: Place, dice: random.Random) -> None:
    """Talk, in TLS."""
    talk(place, dice, tls=True)


def churn(place: Place, dice: random.Random) -> None:
    """Come, say one line, and go; many times."""
    for _ in range(dice.randint(10, 60)):
        with place.call() as peer:
            peer.sendall(b"hello\n")
            _expect(peer, b"hello\n")


def talk_slowly(place: Place, dice: random.Random) -> None:
    """Say one line, byte by byte, for longer than the server's patience with silence."""
    with place.call() as peer:
        line = dice.randbytes(30).hex().encode() + b"\n"
        for _ in drip(peer, line):
            time.sleep(0.1)
        _expect(peer, line)


def dwell(place: Place, dice: random.Random) -> None:
    """Stay for up to two minutes, and say a line every second; take leave in good order."""
    with place.call_in_tls() if dice.random() < 0.3 else place.call() as peer:
        until = time.monotonic() + dice.uniform(10, 120)
        while time.monotonic() < min(until, place.ends_at):
            line = dice.randbytes(30).hex().encode() + b"\n"
            peer.sendall(line)
            _expect(peer, line)
            time.sleep(min(dice.expovariate(1), max(0.0, place.ends_at - time.monotonic())))


def vanish(place: Place, dice: random.Random) -> None:
    """Reset the connection, with or without having heard the answer."""
    peer = place.call()
    peer.sendall(b"hello\n" * dice.randint(1, 100))
    if dice.random() < 0.5:
        read_line(peer)
    reset(peer)


def fall_silent(place: Place, dice: random.Random) -> None:
    """Say half a line, and wait to be hung up on."""
    with place.call(b"hello"[: dice.randint(1, 5)]) as peer:
        everything(peer)


def turn_deaf(place: Place, dice: random.Random) -> None:  # noqa: ARG001 - a conversation like the others
    """Ask for more than any buffer holds, read none of it, and wait to be hung up on."""
    with place.call(POUR, receive_buffer=SMALL_BUFFER) as peer:
        _wait_for_the_end(peer)


def gossip(place: Place, dice: random.Random) -> None:
    """Enter the room, and tell it some lines; hear all that it is told once, whole and in order."""
    name, count = dice.randbytes(8).hex(), dice.randint(1, 12)
    with place.call_in_tls() if dice.random() < 0.3 else place.call() as peer:
        peer.sendall(JOIN)
        with peer.makefile("rb") as lines:
            latest: dict[str, int] = {}
            while (line := lines.readline()) != JOIN:
                if line == LEAVE:
                    return  # there is no thread, or no descriptor, for one more member
                _note_gossip(line, latest)
            for number in range(count):
                peer.sendall(TELL + _gossiped(name, number))
                time.sleep(dice.expovariate(10))
                while latest.get(name) != number:
                    _note_gossip(lines.readline(), latest)
            peer.sendall(LEAVE)
            while (line := lines.readline()) != LEAVE:
                _note_gossip(line, latest)


def _gossiped(name: str, number: int) -> bytes:
    """Return a line whose length is told by its beginning, so that a torn one shows."""
    return f"{name} {number} {'x' * (int(name[:3], 16) + 100 * number)}\n".encode()


def _note_gossip(line: bytes, latest: dict[str, int]) -> None:
    """Look at a line of the room; `latest` has the number of the latest one of each who has told any."""
    if not line:
        raise CutOffError("hung up on in the room")
    name, _, rest = line.decode().partition(" ")
    number = int(rest.partition(" ")[0])
    if line != _gossiped(name, number):
        raise CutOffError(f"a torn line of {len(line)} bytes in the room")
    if latest.setdefault(name, number - 1) != number - 1:
        raise CutOffError(
            f"line {number} in the room came after line {latest[name]} of the same client"
        )
    latest[name] = number


def fall_behind(place: Place, dice: random.Random) -> None:  # noqa: ARG001 - as above
    """Enter the room, read none of what it is told, and wait to be hung up on."""
    with place.call(FALL_BEHIND, receive_buffer=SMALL_BUFFER) as peer:
        _wait_for_the_end(peer)


def want_to_be_kicked(place: Place, dice: random.Random) -> None:
    """Talk until the server has had enough."""
    with place.call(KICK_ME) as peer:
        while _goes_on(peer):
            time.sleep(dice.uniform(0.01, 0.1))


def never_shake_hands(place: Place, dice: random.Random) -> None:  # noqa: ARG001 - as above
    """Call for TLS, say nothing, and wait to be hung up on."""
    with place.call(for_tls=True) as peer:
        everything(peer)


def babble(place: Place, dice: random.Random) -> None:
    """Call for TLS, and speak something else."""
    with place.call(b"GET / HTTP/1.0\r\n" + dice.randbytes(20), for_tls=True) as peer:
        everything(peer)


Conversation = Callable[[Place, random.Random], None]

CONVERSATIONS: dict[Conversation, str | None] = {
    talk: None,
    talk_in_tls: None,
    churn: None,
    talk_slowly: None,
    dwell: None,
    vanish: None,
    fall_silent: "idle",
    turn_deaf: "write_stalled",
    gossip: None,
    fall_behind: "did_not_read",
    want_to_be_kicked: "kicked",
    never_shake_hands: "handshake_too_slow",
    babble: "handshake_failed",
}
"""The conversations, and for which reason the server must end each, where it is the server that does."""


def stay(place: Place) -> list[socket.socket]:
    """Return clients that do not leave by themselves; the first one's handler does not return either."""
    staying, deaf = place.call(STAY), place.call(POUR, receive_buffer=SMALL_BUFFER)
    _expect(staying, STAY)
    select.select([deaf], [], [], PATIENCE)
    return [staying, deaf, place.call(b"hel"), place.call(for_tls=True)]


def _expect(peer: socket.socket, line: bytes) -> None:
    got = bytearray()
    while not got.endswith(b"\n"):
        data = peer.recv(65536)
        if not data:
            raise CutOffError(f"hung up on after {len(got)} of {len(line)} bytes")
        got += data
    if got != line:
        raise CutOffError("another line came back than was sent")


def _goes_on(peer: socket.socket) -> bool:
    try:
        peer.sendall(b"hello\n")
        return bool(peer.recv(4096))
    except ConnectionError:
        return False


def _wait_for_the_end(peer: socket.socket) -> None:
    """Wait until the server has given up, without reading what it sent."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        # A reset shows in the socket's own error, whatever there is to read.
        if peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return
        time.sleep(0.1)
    raise CutOffError("the server did not give up on a client that never reads")
