"""The channels between a supervisor and one worker: both ends of each, until the worker has its own."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from manyhands.listening.endpoints import Endpoint
from manyhands.runtime.sockets import unix_pair
from manyhands.workers.share import DealtEndpoint

MOST_SPARES = 40
"""Sockets of a neighbour that a worker gets: all its descriptors travel in one message (unix(7))."""


class Listening(NamedTuple):
    """A listener as the generations have it.

    Attributes
    ----------
    endpoint : Endpoint
        What workers are told of it, but for the descriptor.
    is_given : bool
        Whether its socket was given.
    lanes : tuple of int
        Of datagrams the descriptors of the sockets, of which each worker has one; empty of streams.
    is_closed : bool
        Whether it was closed since: workers have it end at once.
    """

    endpoint: Endpoint
    is_given: bool
    lanes: tuple[int, ...] = ()
    is_closed: bool = False


class Here(NamedTuple):
    """The supervisor's ends.

    Attributes
    ----------
    link, control : socket
        See `workers.share.Share`.
    deals : tuple of socket or None
        The deal channels by the position of the listener; None of datagrams, and of one that was closed.
    stacks : int
        The reading end of the pipe on which a worker tells where it hangs.
    hand_overs : socket
        The channel on which it hands connections back.
    """

    link: socket.socket
    control: socket.socket
    deals: tuple[socket.socket | None, ...]
    stacks: int
    hand_overs: socket.socket

    def close(self) -> None:
        """Close them."""
        for each in (self.link, self.control, self.hand_overs, *self.deals):
            if each is not None:
                each.close()
        os.close(self.stacks)


class There(NamedTuple):
    """What the worker is to have: descriptors, and its listeners with theirs; see `workers.share.Share`."""

    link: int
    control: int
    stacks: int
    hand_overs: int
    listeners: tuple[DealtEndpoint, ...]
    spares: tuple[tuple[int, int], ...]


@contextmanager
def channels_of(listening: Sequence[Listening], number: int) -> Iterator[tuple[Here, There]]:
    """Make the channels of the worker of a number; its ends are closed with the context.

    The supervisor's are closed where an exception ends that.

    Raises
    ------
    OSError
        When no descriptor is left.
    """
    with ExitStack() as theirs, ExitStack() as ours:
        deals: list[socket.socket | None] = []
        listeners = []
        spares: list[tuple[int, int]] = []
        for position, each in enumerate(listening):
            if each.lanes:
                here, descriptor = None, each.lanes[(number - 1) % len(each.lanes)]
                if len(each.lanes) > 1 and not each.is_closed and len(spares) < MOST_SPARES:
                    spares.append((position, each.lanes[number % len(each.lanes)]))
            else:
                here, there = _pair(socket.SOCK_SEQPACKET, ours, theirs)
                descriptor = there.fileno()
                if each.is_closed:
                    here.close()
            deals.append(None if each.is_closed else here)
            listeners.append(
                DealtEndpoint(each.endpoint._replace(descriptor=descriptor), each.is_given)
            )
        link, link_there = _pair(socket.SOCK_STREAM, ours, theirs)
        control, control_there = _pair(socket.SOCK_STREAM, ours, theirs)
        hand_overs, hand_overs_there = _pair(socket.SOCK_SEQPACKET, ours, theirs)
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        ours.callback(os.close, reading)
        theirs.callback(os.close, writing)
        yield (
            Here(link, control, tuple(deals), reading, hand_overs),
            There(
                link_there.fileno(),
                control_there.fileno(),
                writing,
                hand_overs_there.fileno(),
                tuple(listeners),
                tuple(spares),
            ),
        )
        ours.pop_all()


def _pair(
    kind: socket.SocketKind, ours: ExitStack, theirs: ExitStack
) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel, of which ours never blocks."""
    here, there = unix_pair(kind)
    ours.callback(here.close)
    theirs.callback(there.close)
    here.setblocking(False)
    return here, there
