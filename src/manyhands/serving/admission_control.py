"""Admission control: which connections a server lets in, and what becomes of the others.

What is open
    Counted against `max_connections`: what the registry has; what has been accepted and is not in the
    registry yet (`arriving`); and what a hook of the program's has taken elsewhere, for as long as it is
    there. Not counted: what the overflow handler serves.

What it costs
    With `max_connections` alone, a look at a few lengths. The rules for addresses and rates, and the place
    that a connection then has until its end, come into it where there are such limits.
"""

import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from operator import is_
from typing import Any

# All of it is loaded with the server's class, little as most servers need it: a limit may be set, and must
# hold, when nothing can be loaded any more, for the descriptors have run out or the program has another root.
from manyhands.admission.admission import Admission, HeldPlace, Limits, Place
from manyhands.connections.registry import Registry
from manyhands.connections.socket_classes import AwaitingHeader
from manyhands.model import lazy_events as events
from manyhands.model.connection_states import Reason
from manyhands.model.event_hub import event_hub
from manyhands.model.socket_addresses import client_ip
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.sockets import is_closed
from manyhands.serving.admission_terms import (
    LIMIT_OPTIONS,
    AdmissionTerms,
    Handler,
    admission_terms_of,
    closed_settings,
    comparable,
    settings_of,
    trusted_networks,
)
from manyhands.serving.request_hooks import Listener

MOST_OVERFLOW = 100
"""Connections that an overflow handler serves at once, at the most: it says a word and goes."""

NOT_KNOWN = "an unknown address"
"""The address of a client that has gone, of which nothing but that is known."""


class OverflowPlace:
    """The place of a connection that the overflow handler serves, beyond `max_connections`."""

    __slots__ = ("_taken", "number")

    def __init__(self, taken: "set[OverflowPlace]") -> None:
        self._taken = taken
        self.number: int | None = None
        """Its connection's number, where a supervisor has given it that."""

        taken.add(self)

    def leave(self) -> None:
        """Give the place back; from the second time on this does nothing."""
        self._taken.discard(self)


class DatagramPlace:
    """The place of a datagram that is served, where `max_datagrams` bounds them."""

    __slots__ = ("_control",)

    def __init__(self, control: "AdmissionControl") -> None:
        self._control = control

    def leave(self) -> None:
        """Give the place back; from the second time on this does nothing."""
        self._control.leave_datagram(self)


class AdmissionControl:
    """Lets the connections of one server in, or of all listeners that share a core. Thread-safe.

    In a forked copy of the process it begins anew, as the registry does.

    Parameters
    ----------
    registry
        The registry of those connections.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.is_guarded = True
        """Whether anything may keep a connection out; until the first look that is not known."""

        self.bounds_datagrams = False
        """Whether each datagram that is served has a `place_for_datagram`."""

        self._terms = AdmissionTerms()
        self._settings: dict[str, Any] | None = None
        self._attributes: list[object] | None = None
        self._said: list[object] = [object()] * len(LIMIT_OPTIONS)  # none of a program's
        self._admission: Admission | None = None
        self._begin_anew()
        renew_in_copies(self, AdmissionControl._begin_anew)

    def _begin_anew(self) -> None:
        self.arriving: dict[int, tuple[Any, HeldPlace | None]] = {}
        """The connections accepted that have not reached an engine yet, with their places, by `id`."""

        self.in_hand = threading.local()
        """`arrival`: the `id` of what the calling thread has accepted, noted where several accept."""

        self._handed_off = HandedOff(self._note_gone)
        self._overflow: set[OverflowPlace] = set()
        self._datagrams: set[DatagramPlace] = set()
        self._wakes: set[Callable[[], None]] = set()
        self.has_chores = False
        """Whether `count_gone` may have something to do."""

    def follow(self, source: object) -> None:
        """Go by what the attributes of a server say now.

        Raises
        ------
        Exception
            What a property of the program's raised. What held before goes on to hold; where nothing did, no
            client is let in until it can be read.
        """
        try:
            self._follow(source)
        except BaseException:
            if self._settings is None:
                self._take(closed_settings())
            raise

    def _follow(self, source: object) -> None:
        said = [getattr(source, name, None) for name in LIMIT_OPTIONS]
        if all(map(is_, said, self._said)):
            return  # as at nearly every look
        # A list may be changed in place.
        self._said = [object() if isinstance(value, list) else value for value in said]
        attributes = [None if value is None else comparable(value) for value in said]
        if attributes != self._attributes:
            settings = settings_of(source, self._settings)
            self._take(settings)
            self._attributes, self._settings = attributes, settings

    def own_part_of(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return of the limits what is applied here: all, unless several processes share them."""
        return settings

    def _take(self, settings: dict[str, Any]) -> None:
        """Go by what the limits are from now on."""
        terms = admission_terms_of(self.own_part_of(settings))
        self._prepare_admission(terms)
        self._terms = terms
        self.bounds_datagrams = terms.most_datagrams is not None
        self.is_guarded = (
            terms.most is not None or terms.limits is not None or self.bounds_datagrams
        )

    def _prepare_admission(self, terms: AdmissionTerms) -> None:
        if terms.limits is None:
            return
        if self._admission is None:
            # One step: of two loops that come first, both get the same.
            self._admission = vars(self).setdefault("_first_admission", Admission())
        if self._terms.limits is None:
            self._admission.limits = Limits(ipv6_prefix=terms.limits.ipv6_prefix)
            self._count_the_admitted(self._admission)
        self._admission.limits = terms.limits

    def _count_the_admitted(self, admission: Admission) -> None:
        """Give a place to each connection that came while there was nothing to count."""
        now = time.monotonic()
        for connection in self._registry.snapshot():
            place = admission.admit(connection.client_address, now)
            # No limit holds yet that could refuse it.
            if isinstance(place, Place):
                connection.take_place(place)

    @property
    def most(self) -> int:
        """How many connections may be open at once; 0 when there is no bound."""
        return self._terms.most or 0

    @property
    def refusal(self) -> bytes:
        """What a refused client is told."""
        return self._terms.refusal

    def has_room(self, wake: Callable[[], None] | None = None) -> bool:
        """Tell whether the next connection need not wait. If not, `wake` is called once it may come in."""
        terms = self._terms
        if not terms.waits or self._has_place(terms):
            return True
        if wake is not None:
            # First asked for, then looked again: a connection that ends just now tells, or is seen.
            self._wakes.add(wake)
            self._registry.on_room = self._tell_of_room
        self.count_gone()
        return self._has_place(terms)

    @property
    def most_datagrams(self) -> int:
        """How many datagrams may be served at once; 0 when there is no bound."""
        return self._terms.most_datagrams or 0

    def has_room_for_datagram(self, wake: Callable[[], None] | None = None) -> bool:
        """Tell whether the next datagram need not wait; `wake` is that of `has_room`."""
        most = self._terms.most_datagrams
        if most is None or len(self._datagrams) < most:
            return True
        if wake is not None:
            # First asked for, then looked again, as in `has_room`.
            self._wakes.add(wake)
        return len(self._datagrams) < most

    def place_for_datagram(self) -> DatagramPlace:
        """Return the place that a datagram has for as long as it is served."""
        place = DatagramPlace(self)
        self._datagrams.add(place)
        return place

    def leave_datagram(self, place: DatagramPlace) -> None:
        """Take a place back, once, and tell what waits for one."""
        self._datagrams.discard(place)
        if self._wakes:
            self._tell_of_room()

    def forget(self, wake: Callable[[], None]) -> None:
        """Have `wake` called no more."""
        self._wakes.discard(wake)

    def _has_place(self, terms: AdmissionTerms, entered: int = 0) -> bool:
        """Tell whether a connection may come in; `entered` is 1 when the registry counts it already."""
        if terms.most is None:
            return True
        is_open = len(self._registry) + len(self.arriving) - len(self._overflow)
        if self._handed_off.known:
            is_open += len(self._handed_off.known)
        return is_open - entered < terms.most

    def _tell_of_room(self) -> None:
        self._registry.on_room = None
        while self._wakes:
            try:
                wake = self._wakes.pop()
            except KeyError:
                return  # another thread has told the last one
            wake()

    def arrive(self, server: object, request: Any, client_address: Any) -> Reason | None:
        """Let in a connection that was accepted, or a datagram; or return why it must be refused."""
        if type(request) is tuple:
            return self._screen(server, client_address) if self.is_guarded else None
        place = self._admit(server, client_address) if self.is_guarded else None
        if isinstance(place, Reason):
            return place
        self.arriving[id(request)] = request, place
        return None

    def admit(self, server: object, client_address: Any) -> Place | Reason | None:
        """Let in a connection that goes to another process, and has its place until it ends there.

        Returns
        -------
        Place or Reason or None
            The place, where there is more to count than their number; or why it must be refused.
        """
        return self._admit(server, client_address) if self.is_guarded else None

    def readmit(self, client_address: Any) -> Place | None:
        """Count a connection that was admitted before, by another program, whatever the limits are now."""
        if self._admission is None:
            return None
        return self._admission.readmit(client_address, time.monotonic())

    def _admit(
        self, server: object, client_address: Any, entered: int = 0
    ) -> Place | Reason | None:
        terms, admission = self._terms, self._admission
        if terms.limits is not None:
            client_address = _address_of(server, client_address)
        if not self._has_place(terms, entered):
            self.count_gone()
            if not self._has_place(terms, entered):
                is_denied = (
                    terms.limits is not None
                    and not _is_announced_later(server)
                    and terms.limits.denies(client_address, client_ip(client_address))
                )
                return Reason.REFUSED_DENIED if is_denied else Reason.REFUSED_FULL
        if admission is None or terms.limits is None:
            return None
        known = None if _is_announced_later(server) else client_address
        return admission.admit(known, time.monotonic())

    def _screen(self, server: object, client_address: Any) -> Reason | None:
        if self._admission is None or self._terms.limits is None:
            return None
        known = _address_of(server, client_address)
        return self._admission.admit_datagram(known, time.monotonic())

    def take(self, request: Any) -> tuple[Any, HeldPlace | None] | None:
        """Take out a connection that has reached an engine, with its place; None: it came in another way.

        It is in the registry by now.
        """
        arrival = self.arriving.pop(id(request), None)
        return arrival or self._handed_off.pop(request) or self._made_anew()

    def admit_entered(self, server: object, client_address: Any) -> Place | Reason | None:
        """Admit a connection that a program's own loop accepted, and the registry counts already."""
        if not self.is_guarded:
            return None
        return self._admit(server, client_address, entered=1)

    def _made_anew(self) -> tuple[Any, HeldPlace | None] | None:
        """Take the one that a hook has made another object of, as `SSLContext.wrap_socket` does."""
        own = getattr(self.in_hand, "arrival", None)
        arrivals = self.arriving.copy()
        for key in [own] if own in arrivals else arrivals:
            if is_closed(arrivals[key][0]):
                return self.arriving.pop(key, None)
        return None

    def overflow_for(self, server: object, request: Any, reason: Reason) -> Handler | None:
        """Return what serves a connection that is to be refused, if anything does."""
        place = self.overflow_place(server, reason)
        if place is None:
            return None
        self.arriving[id(request)] = request, place
        return self._terms.overflow

    def overflow_place(self, server: object, reason: Reason) -> OverflowPlace | None:
        """Return the place of a connection that is to be refused, if the overflow handler serves it."""
        # Where the address is still to come it is not known either whether the header counts.
        if reason is not Reason.REFUSED_FULL or _is_announced_later(server):
            return None
        has_none = self._terms.overflow is None or len(self._overflow) >= MOST_OVERFLOW
        return None if has_none else OverflowPlace(self._overflow)

    def identify(self, place: HeldPlace | None, client_address: Any) -> Reason | None:
        """Apply the rules for addresses to a connection whose client a PROXY header names only now."""
        # The overflow handler's connections are refused already, and have another place.
        return (
            place.identify(client_address, time.monotonic()) if isinstance(place, Place) else None
        )

    def trusts(self, server: Listener, request: Any, client_address: Any) -> bool:
        """Return whether to read the PROXY header of a connection; if not, it is counted as denied.

        A datagram has no header: for it the answer is that of `verify_request`.

        Raises
        ------
        TypeError
            When the program has overridden `get_request` and does not call ours.
        """
        if isinstance(request, tuple):
            return bool(server.verify_request(request, client_address))
        if not isinstance(request, AwaitingHeader):
            raise TypeError(
                "proxy_protocol is on, and get_request returned a connection that it did not get from "
                "ours: its PROXY header would not be read"
            )
        # The permissions of a Unix socket's file say who may connect.
        if request.family == socket.AF_UNIX or client_address in trusted_networks(server):  # type: ignore[attr-defined]  # mixed into sockets
            return True
        self.withdraw(request, Reason.REFUSED_DENIED)
        if event_hub.has_subscribers:
            event_hub.emit(
                events.BadProxyHeader(
                    client_address, "proxy_trusted has not the address that it comes from"
                )
            )
        return False

    def withdraw(self, request: Any, reason: Reason) -> None:
        """Count a connection that a hook kept from the engine; one that has been there is counted."""
        arrival = self.arriving.pop(id(request), None)
        if arrival is not None:
            self.give_up(arrival[1], reason)

    def note_taken_elsewhere(self, request: Any) -> None:
        """Note that a hook has taken a connection elsewhere. It counts for as long as it is there."""
        self.count_gone()
        arrival = self.arriving.pop(id(request), None)
        if arrival is None:
            return
        if self._handed_off.add(request, arrival[1]):
            self.has_chores = True
        else:
            self.give_up(arrival[1], Reason.HANDED_OFF)

    def _note_gone(self) -> None:
        self.has_chores = True
        self._tell_of_room()

    def count_gone(self) -> None:
        """Count those that were taken elsewhere and have ended there."""
        self.has_chores = False
        if self._handed_off.known:
            for place in self._handed_off.take_gone():
                self.give_up(place, Reason.HANDED_OFF)
            if self._handed_off.known:
                self.has_chores = True

    def give_up(self, place: HeldPlace | None, reason: Reason) -> None:
        """Count a connection that has not come to an engine, and takes its place no longer."""
        if place is not None:
            place.leave()
        self._registry.refuse(reason)


def _is_announced_later(server: object) -> bool:
    """Tell whether a balancer stands in front, whose header has the client's address: see `identify`."""
    return getattr(server, "proxy_protocol", False) is True


def _address_of(server: object, client_address: Any) -> Any:
    """Return a client's address in the form that the rules read: a `get_request` may return any object.

    That of a Unix socket stays as it is, which no rule concerns.
    """
    if isinstance(client_address, tuple):
        return client_address
    if client_address is NOT_KNOWN:
        return None
    family = getattr(getattr(server, "socket", None), "family", None)
    if (family or getattr(server, "address_family", None)) == socket.AF_UNIX:
        return client_address
    # A host alone, or a list, as JSON has it; what cannot be read is an address that is not known.
    is_list = isinstance(client_address, list)
    return tuple(client_address) if is_list and client_address else (str(client_address),)


CLOSED_INTERVAL = 0.5
"""Seconds between two looks for those that were closed, while the program still has the object."""


class HandedOff:
    """The connections that a hook of the program's has taken to somewhere else than our engines. Thread-safe.

    A `process_request` of the program's own may serve a connection by itself, or hand it to an executor that
    brings it back. Nothing says when the first kind ends: it does when its socket is closed, or forgotten.

    Parameters
    ----------
    on_gone
        Called when one of them is forgotten: anywhere, in the middle of anything, so it may take no lock.
    """

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self.known: dict[int, tuple[Callable[[], Any], HeldPlace | None]] = {}
        """What tells whether each is still there, and its place, by `id`. To be looked at."""

        self._gone: deque[tuple[int, object]] = deque()
        self._look_at = 0.0

    def add(self, request: Any, place: "HeldPlace | None") -> bool:
        """Watch a connection; return False when that cannot be done: it is no socket of any kind."""
        key = id(request)
        try:
            watched = weakref.ref(request, lambda watched: self._note_gone(key, watched))
        except TypeError:
            return False
        self.known[key] = watched, place
        return True

    def pop(self, request: Any) -> "tuple[Callable[[], Any], HeldPlace | None] | None":
        """Take a connection out that has come back."""
        return self.known.pop(id(request), None)

    def _note_gone(self, key: int, watched: object) -> None:
        self._gone.append((key, watched))
        self._on_gone()

    def take_gone(self) -> "list[HeldPlace | None]":
        """Take out those that have ended since the last time; return their places."""
        ended = []
        for _ in range(len(self._gone)):
            try:
                ended.append(self._gone.popleft())
            except IndexError:
                break  # another thread has taken the rest
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + CLOSED_INTERVAL
            known = list(self.known.items())
            ended += [(key, watched) for key, (watched, _) in known if is_closed(watched())]
        # The `id` of one that is forgotten may be that of another one by now.
        entries = [(key, self.known.get(key), watched) for key, watched in ended]
        return [
            entry[1]
            for key, entry, watched in entries
            # Another thread may take it out as well: one of them gets it.
            if entry is not None and entry[0] is watched and self.known.pop(key, None) is entry
        ]
