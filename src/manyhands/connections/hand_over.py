"""What goes from one process to another with a connection, between two frames of its client's.

The connection itself, which is its descriptor, goes with it. See `docs/workers.md`.
"""

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self

from manyhands.model.connection_states import Reason
from manyhands.runtime.wakeup import PollableLatch

_HEAD = struct.Struct("!IQQ")

_ENGINES = ("threads", "fibers")
"""Those whose handlers can be left: of the others the accept loop waits for a client, or a child does."""


def can_be_left(handler: object, engine: str) -> bool:
    """Tell whether handlers of a class can leave their connections to another process, on an engine."""
    kind = getattr(handler, "func", handler)  # of `functools.partial(Handler, ...)`
    return engine in _ENGINES and getattr(kind, "resumable", False) is True


class HandedOver(BaseException):
    """Ends a handler in the process that has handed its connection over. Not to be caught."""


class Kept(NamedTuple):
    """What is kept of a connection on its way from one process to another.

    Attributes
    ----------
    state : bytes
        What its handler has returned from `pause`.
    unread : bytes
        What was received and belongs to no frame yet.
    unsent : bytes
        What waited for its client to read.
    rooms : mapping of str to str
        The rooms that it is in, and what it is called there.
    timeouts : mapping of str to float or None
        The deadlines that its handler has set.
    opened_at : float
        When it was accepted, by `time.monotonic`, which all processes of a machine share.
    """

    state: bytes
    unread: bytes
    unsent: bytes
    rooms: Mapping[str, str]
    timeouts: Mapping[str, float | None]
    opened_at: float

    def as_bytes(self) -> bytes:
        """Return it as bytes."""
        said = [dict(self.rooms), dict(self.timeouts), self.opened_at]
        about = json.dumps(said).encode()
        head = _HEAD.pack(len(about), len(self.state), len(self.unread))
        return b"".join((head, about, self.state, self.unread, self.unsent))

    @classmethod
    def of_bytes(cls, data: bytes) -> Self:
        """Make it of those.

        Raises
        ------
        ValueError
            When they are no such thing.
        """
        if len(data) < _HEAD.size:
            raise ValueError(f"nothing is kept in {len(data)} bytes")
        lengths = _HEAD.unpack_from(data)
        if sum(lengths) + _HEAD.size > len(data):
            raise ValueError(f"of what is kept {len(data)} bytes are there, and more were written")
        parts, at = [], _HEAD.size
        for length in lengths:
            parts.append(data[at : at + length])
            at += length
        about, state, unread = parts
        rooms, timeouts, opened_at = json.loads(about)
        return cls(state, unread, data[at:], rooms, timeouts, float(opened_at))


class ConnectionToHandOver(Protocol):
    """What is needed of a connection on its way out of this process."""

    number: int
    server: Any
    client_address: Any
    reason: Reason | None


class HandOver(Protocol):
    """What leads from this process to those that resume what it serves. Thread-safe."""

    interrupt: PollableLatch
    """What interrupts all threads that wait for their clients, once they are to hand over."""

    @property
    def is_asked(self) -> bool:
        """Whether connections are to be handed over, each where its handler waits for a frame."""

    def enter(self, number: int, interrupt: Callable[[], object]) -> None:
        """Note that a connection may be handed over, and what is called when it is to be."""

    def stay(self, number: int) -> None:
        """Note that a connection is not handed over, for now at least: a drain goes on as with any other."""

    def leave(self, number: int) -> None:
        """Note that its handler has ended."""

    def is_to_go(self, number: int) -> bool:
        """Tell whether a connection is to be handed over: a drain leaves it alone."""

    def take_kept(self, number: int) -> Kept | None:
        """Return what another process has kept of a connection, once; None of one that is new."""

    def send(self, connection: ConnectionToHandOver, descriptor: int, kept: Kept) -> None:
        """Have a connection go to another process. The descriptor is taken over. Never waits."""
