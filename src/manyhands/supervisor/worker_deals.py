"""What was dealt to a worker: its deal channels, and the connections that it has or is to have."""

import array
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from manyhands.admission.admission import HeldPlace, Place
from manyhands.model.socket_addresses import address_of_plain, plain_address
from manyhands.runtime.unpatched import original
from manyhands.supervisor.template_process import close_all
from manyhands.workers.records import MOST_HANDED, RESUMED, pack_dealt, read_handed
from manyhands.workers.shared_page import Slot

MOST_IN_FLIGHT = 64
"""Connections that were dealt to a worker and not begun by it, at the most: their descriptors count against
the supervisor's limit while they are on their way (unix(7))."""

GONE = -1
"""The position of a listener that a worker still has, and the server no more: an upgrade has left it out."""

NO_PLACE: Any = object()
"""What a connection is counted by that a worker has no more, or never had."""

_SOL_SOCKET, _SCM_RIGHTS = socket.SOL_SOCKET, socket.SCM_RIGHTS

_DESCRIPTOR = array.array("i", [0]).itemsize


class Dealt(NamedTuple):
    """A connection that is on its way to a worker, of which the supervisor keeps a copy.

    Attributes
    ----------
    place : int
        Its place.
    descriptor : int
        The copy; -1 where it has gone.
    address : object
        Its client's address.
    marks : int
        As of `records`.
    listener : int
        The position of its listener among those of the server; `GONE` where that has it no more.
    kept : int
        Of one that is resumed: the descriptor of what is kept of it; -1 of all others.
    """

    place: int
    descriptor: int
    address: Any
    marks: int
    listener: int
    kept: int = -1

    @property
    def descriptors(self) -> list[int]:
        """What is to travel with it."""
        return [self.descriptor] if self.kept < 0 else [self.descriptor, self.kept]

    def close(self) -> None:
        """Give its descriptors back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        if self.kept >= 0:
            os.close(self.kept)


class WorkerDeals:
    """The connections of one worker, and the channels over which they come to it and back.

    For the thread of the supervisor's loop; the plain figures may be read in any thread.

    Parameters
    ----------
    slot
        Its slot of the page.
    channels
        Of each of its listeners the deal channel; None of datagrams, and of one that was closed.
    hand_overs
        The channel on which it hands connections back.
    """

    def __init__(
        self, slot: Slot, channels: Sequence[socket.socket | None], hand_overs: socket.socket
    ) -> None:
        self._slot = slot
        self.channels, self.positions = list(channels), list(range(len(channels)))
        """Of each of its listeners the deal channel, and the position among those of the server, or `GONE`:
        an upgrade may have others, in another order."""

        self.hand_overs = hand_overs
        self.open = 0
        """How many connections it has, those on their way too."""

        self.count = 0
        """How many were dealt to it so far."""

        self.places: dict[int, HeldPlace | None] = {}
        """Its connections by their places, with what admission control counts them by."""

        self.in_flight = 0
        """How many were dealt to it, and are not known to have begun."""

        self._kept: list[deque[Dealt]] = [deque() for _ in channels]
        self._settled, self._returned = [0] * len(channels), 0
        """How many of each listener's are known to have begun, and how many of all it has given back, as far
        as it was heard of."""

    @property
    def begun(self) -> int:
        """How many connections it has begun."""
        return sum(self._slot.begun_of_all(len(self.channels)))

    def deal(self, dealt: Dealt, held: HeldPlace | None) -> bool:
        """Deal a connection to it; return False when it takes none now. The descriptor is its own then."""
        own = self._own_position(dealt.listener)
        channel = None if own is None else self.channels[own]
        if own is None or channel is None:
            return False
        travelling = (
            dealt.descriptor.to_bytes(_DESCRIPTOR, "little")
            if dealt.kept < 0
            else array.array("i", dealt.descriptors)
        )
        if self.in_flight:
            # Before it has ended what it has begun: who closes a connection last pays for its end.
            self.settle()
        try:
            channel.sendmsg(
                (pack_dealt(dealt.place, dealt.address, dealt.marks),),
                ((_SOL_SOCKET, _SCM_RIGHTS, travelling),),
            )
        except OSError:
            # Full, dying, or too many descriptors on their way (ETOOMANYREFS in unix(7)).
            return False
        self._kept[own].append(dealt)
        self.in_flight += 1
        self.open += 1
        self.count += 1
        self.places[dealt.place] = held
        return True

    def takes(self, listener: int) -> bool:
        """Tell whether connections of the listener at a position can be dealt to it."""
        own = self._own_position(listener)
        return own is not None and self.channels[own] is not None

    def _own_position(self, listener: int) -> int | None:
        try:
            return self.positions.index(listener)
        except ValueError:
            return None

    def position_of(self, own: int) -> int:
        """Return the server's position of one of its listeners; `GONE` where that has it no more."""
        return self.positions[own] if own < len(self.positions) else GONE

    def settle(self, *, is_final: bool = False) -> int:
        """Let go of what it has begun; return how many are on their way still.

        When it has ended, and was heard to its last word, that `is_final`: what it has given back without
        having told of it cannot be known, and counts as begun.
        """
        begun_of = self._slot.begun_of_all(len(self._kept))
        # In this order: what was given back counts as begun too, and is to be taken out before.
        if self._slot.returned != self._returned and not is_final:
            return self.in_flight
        settled = self._settled
        for listener, begun in enumerate(begun_of):
            if begun == settled[listener]:
                continue
            kept = self._kept[listener]
            # Bounded, for it is the worker that has written the figure.
            fresh = min(begun - settled[listener], len(kept))
            for _ in range(fresh):
                dealt = kept.popleft()
                if dealt.descriptor >= 0:
                    dealt.close()
            self.in_flight -= max(0, fresh)
            settled[listener] += max(0, fresh)
        return self.in_flight

    def take_back(self, place: int) -> tuple[Dealt, HeldPlace | None] | None:
        """Take out a connection that it has given back; None where the copy has gone."""
        self._returned += 1
        for kept in self._kept:
            for position, dealt in enumerate(kept):
                if dealt.place == place and dealt.descriptor >= 0:
                    # It counts as begun, in its order.
                    kept[position] = dealt._replace(descriptor=-1)
                    self.open -= 1
                    return dealt, self.places.pop(place, None)
        return None

    def take_unbegun(self, listener: int | None = None) -> list[tuple[Dealt, HeldPlace | None]]:
        """Take out all that it has not begun, and will not, of one listener or all; it is settled."""
        left = []
        for kept in self._kept if listener is None else self._kept_of(listener):
            left += [dealt for dealt in kept if dealt.descriptor >= 0]
            self.in_flight -= len(kept)
            kept.clear()
        # One whose end it has told has no place any more, begun or not.
        again = [
            (dealt, self.places.pop(dealt.place)) for dealt in left if dealt.place in self.places
        ]
        self.open -= len(again)
        known = {dealt.place for dealt, _ in again}
        for dealt in left:
            if dealt.place not in known:
                dealt.close()
        return again

    def _kept_of(self, listener: int) -> Sequence[deque[Dealt]]:
        own = self._own_position(listener)
        return () if own is None else (self._kept[own],)

    def take_out(self, place: int) -> HeldPlace | None:
        """Take out a connection; return what it is counted by, or `NO_PLACE` where it is not there."""
        held: HeldPlace | None = self.places.pop(place, NO_PLACE)
        if held is not NO_PLACE:
            self.open -= 1
        return held

    def take_all(self) -> dict[int, HeldPlace | None]:
        """Take out all connections that are left."""
        left, self.places, self.open = self.places, {}, 0
        return left

    def close_listener(self, listener: int) -> None:
        """Deal it nothing more of a listener: what it was dealt it takes still."""
        own = self._own_position(listener)
        if own is not None:
            self.close_channel(own)

    def close_channel(self, own: int) -> bool:
        """Close the deal channel of one of its own listeners; return False where that has none."""
        channel, self.channels[own] = self.channels[own], None
        if channel is not None:
            channel.close()
        return channel is not None

    def receive_handed(self) -> Dealt | None:
        """Return a connection that it hands back, to be dealt to another one; None where none has come.

        Its descriptor is -1 where another thread has taken the last one meanwhile.

        Raises
        ------
        OSError
            When no descriptors are left to this process: what has come waits.
        ValueError
            When what has come is none.
        """
        try:
            if not self.hand_overs.recv(1, socket.MSG_PEEK):
                return None
        except OSError:
            return None  # nothing, or it has ended
        # A descriptor that finds no room on its arrival is lost (MSG_CTRUNC in recvmsg(2)).
        _find_two_descriptors(self.hand_overs.fileno())
        message, descriptors, flags, _ = socket.recv_fds(
            self.hand_overs, MOST_HANDED, 2, socket.MSG_CMSG_CLOEXEC
        )
        try:
            handed = read_handed(message, len(self.channels))
            if flags & socket.MSG_CTRUNC and len(descriptors) < 2:
                close_all(descriptors)
                return Dealt(handed.place, -1, handed.address, RESUMED, handed.listener)
            descriptor, kept = descriptors
        except ValueError:
            close_all(descriptors)
            raise
        listener = self.position_of(handed.listener)
        return Dealt(handed.place, descriptor, handed.address, RESUMED, listener, kept)

    # An upgrade

    def as_plain(self) -> dict[str, Any]:
        """Return what another program that takes over needs of them, with the descriptors."""
        return {
            "channels": [-1 if each is None else each.fileno() for each in self.channels],
            "positions": self.positions,
            "count": self.count,
            "settled": self._settled,
            "returned": self._returned,
            "places": [[place, _address_of(held)] for place, held in self.places.items()],
        }

    def go_on(self, said: Mapping[str, Any], held: Callable[[Any], HeldPlace | None]) -> None:
        """Go on from that, in the program that takes over; `held` counts a connection of an address anew."""
        self.positions, self.count = list(said["positions"]), said["count"]
        self._settled, self._returned = list(said["settled"]), said["returned"]
        self.places = {
            place: None if address is None else held(address_of_plain(address))
            for place, address in said["places"]
        }
        self.open = len(self.places)

    @property
    def descriptors(self) -> list[int]:
        """The descriptors of the channels."""
        return [self.hand_overs.fileno(), *(each.fileno() for each in self.channels if each)]

    def close(self) -> None:
        """Close the channels."""
        for each in (self.hand_overs, *self.channels):
            if each is not None:
                each.close()


def _address_of(held: HeldPlace | None) -> object:
    """Return the client's address by which a connection is counted, as JSON has it; None: by none."""
    return plain_address(held.client_address) if isinstance(held, Place) else None


def _find_two_descriptors(like: int) -> None:
    """Raise an `OSError` where this process can have no two descriptors more; `like` is one that it has."""
    close = original(os, "close")
    first = os.dup(like)
    try:
        close(os.dup(like))
    finally:
        close(first)
