"""On what terms a server lets connections in, as its attributes say now."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from manyhands.admission.admission import Admission, HeldPlace, Place
from manyhands.admission.limits import Limits
from manyhands.admission.refusal_log import RefusalLogs
from manyhands.config.class_attributes import setting
from manyhands.config.option_types import listed, spoken
from manyhands.config.options import ADMISSION
from manyhands.connections import closing
from manyhands.connections.registry import Books
from manyhands.model.connection_states import Reason
from manyhands.model.networks import Networks
from manyhands.model.socket_addresses import client_ip
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.sockets import is_closed
from manyhands.serving.handed_off import Elsewhere

NAMES = tuple(option.name for option in ADMISSION)

Handler = Callable[[Any, Any, Any], Any]

_NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a server; the defaults keep nobody out.

    Attributes
    ----------
    most : int or None
        Connections that are open at once.
    limits : Limits
        The other limits. `most` is not one of them, for the books count what is open anyway.
    when_full : str or callable
        ``"wait"``, ``"refuse"``, or a handler for those whom `most` keeps out.
    refusal : bytes
        What a refused client is told.
    waits : bool
        Whether those whom `most` keeps out wait in the backlog.
    asks : bool
        Whether anything but `most` may keep a connection out.
    """

    most: int | None = None
    limits: Limits = _NO_LIMITS
    when_full: str | Handler = "wait"
    refusal: bytes = b""

    # Settled once, for each connection asks.
    waits: bool = field(init=False)
    asks: bool = field(init=False)

    def __post_init__(self) -> None:
        nothing = Limits(ipv6_prefix=self.limits.ipv6_prefix)
        object.__setattr__(self, "waits", self.most is not None and self.when_full == "wait")
        object.__setattr__(self, "asks", self.limits != nothing)

    @property
    def overflow(self) -> Handler | None:
        """The handler for those whom `most` keeps out, if they have one."""
        return self.when_full if callable(self.when_full) else None


def attributes_of(source: Any) -> tuple[object, ...]:
    """Return the attributes that terms are read from: two that are equal make the same terms. Cheap."""
    return tuple(_settled(getattr(source, name, None)) for name in NAMES)


def _settled(value: object) -> object:
    # A copy of a list, which may be changed in place; and of nothing else, for programs have all sorts of
    # attributes, whose comparison could do anything.
    if isinstance(value, list | tuple):
        return tuple(part if isinstance(part, str) else None for part in value)
    return value if isinstance(value, bool | int | float | str | bytes) or callable(value) else None


def terms_of(source: Any) -> Terms:
    """Return the terms that the attributes of `source` say."""
    said = {name: setting(name, source) for name in NAMES}
    refusal = said["refusal"]
    limits = Limits(
        max_connections_per_ip=said["max_connections_per_ip"],
        ipv6_prefix=said["ipv6_prefix"],
        max_rate=said["max_rate"],
        max_rate_per_ip=said["max_rate_per_ip"],
        rate_burst=said["rate_burst"],
        rate_burst_per_ip=said["rate_burst_per_ip"],
        allow=_networks(said["allow"]),
        deny=_networks(said["deny"]),
    )
    told = b"" if refusal is None else spoken(refusal)
    return Terms(said["max_connections"], limits, said["when_full"], told)


def _networks(value: object) -> Networks:
    return Networks.parse([text for text in listed(value) if isinstance(text, str)])


# The door of a server: who of those that call is let in, and what becomes of the others.
#
# What is open
#     Counted against `max_connections`: what the books have; what has been accepted and is not in the books
#     yet
#     (`coming`); and what a hook of the program's has taken elsewhere, for as long as it is there. Not
#     counted:
#     what the overflow handler serves.
#
# What it costs
#     With `max_connections` alone, a look at a few lengths. The rules for addresses and rates, and the place
#     that a connection then has until its end, come into it where there are such limits.

LOOK_AGAIN = 0.5
"""Seconds within which a change of a server's limits holds."""

OVERFLOW_AT_ONCE = 100
"""Connections that an overflow handler serves at once, at the most: it says a word and goes."""


class OverflowPlace:
    """The place of a connection that the overflow handler serves, beyond `max_connections`."""

    __slots__ = ("_taken",)

    def __init__(self, taken: "set[OverflowPlace]") -> None:
        self._taken = taken
        taken.add(self)

    def leave(self) -> None:
        """Give the place back; from the second time on this does nothing."""
        self._taken.discard(self)


class Door:
    """Lets the connections of one server in, or of all that share its engine room. Thread-safe.

    In a forked copy of the process it begins anew, as the books do.

    Parameters
    ----------
    books
        The books of those connections.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self.source: Any = None
        """Whose attributes say the terms; None: those of the server that was called."""

        self.is_guarded = True
        """Whether anything may keep a connection out; until the first look nobody knows."""

        self._terms = Terms()
        self._attributes: tuple[object, ...] | None = None
        self._look_again_at = 0.0
        self._admission: Admission | None = None
        self._begin_anew()
        renew_in_copies(self, Door._begin_anew)

    def _begin_anew(self) -> None:
        self.coming: dict[int, tuple[Any, HeldPlace | None]] = {}
        """The connections accepted that have not reached an engine yet, with their places, by `id`."""

        self.attendants: set[object] = set()
        """What looks after it at each turn: the accept loops of ours that there are."""

        self.in_hand = threading.local()
        """`arrival`: the `id` of what the calling thread has accepted, noted where several accept."""

        self._elsewhere = Elsewhere(self._note_gone)
        self._overflow: set[OverflowPlace] = set()
        self._wakes: set[Callable[[], None]] = set()
        self._refusals = RefusalLogs()
        self.has_chores = False
        """Whether `do_chores` may have something to do."""

    def look(self, server: Any) -> None:
        """Follow the attributes of the server, at most every `LOOK_AGAIN` seconds."""
        now = time.monotonic()
        if now >= self._look_again_at:
            self._look_again_at = now + LOOK_AGAIN
            self._follow(server if self.source is None else self.source)

    def look_soon(self) -> None:
        """Have the next `look` see a change at once."""
        self._look_again_at = 0.0

    def _follow(self, source: Any) -> None:
        attributes = attributes_of(source)
        if attributes != self._attributes:
            terms = terms_of(source)
            self._prepare_admission(terms)
            self._terms, self._attributes = terms, attributes
            self.is_guarded = terms.most is not None or terms.asks

    def _prepare_admission(self, terms: Terms) -> None:
        if terms.asks and not self._terms.asks:
            admission = self._admission = self._admission or Admission()
            admission.limits = Limits(ipv6_prefix=terms.limits.ipv6_prefix)
            self._count_those_who_are_in(admission)
        if self._admission is not None:
            self._admission.limits = terms.limits

    def _count_those_who_are_in(self, admission: Admission) -> None:
        """Give a place to whoever came while there was nothing to count. No limit keeps them out."""
        now = time.monotonic()
        connections: list[Any] = list(self._books.values())
        for connection in connections:
            place = admission.admit(connection.client_address, now)
            assert isinstance(place, Place)  # noqa: S101 - tells the type checker
            connection.take_place(place)

    @property
    def most(self) -> int:
        """How many connections may be open at once; 0 when there is no bound."""
        return self._terms.most or 0

    def has_room(self, wake: Callable[[], None] | None = None) -> bool:
        """Tell whether the next connection need not wait. If not, `wake` is called once it may come in."""
        terms = self._terms
        if not terms.waits or self._has_place(terms):
            return True
        if wake is not None:
            # First asked for, then looked again: who leaves just now tells, or is seen.
            self._wakes.add(wake)
            self._books.on_room = self._tell_of_room
        self._count_gone()
        return self._has_place(terms)

    def forget(self, wake: Callable[[], None]) -> None:
        """Have `wake` called no more."""
        self._wakes.discard(wake)

    def _has_place(self, terms: Terms, entered: int = 0) -> bool:
        return terms.most is None or self._open() - entered < terms.most

    def _open(self) -> int:
        return len(self._books) + len(self.coming) + len(self._elsewhere) - len(self._overflow)

    def _tell_of_room(self) -> None:
        self._books.on_room = None
        while self._wakes:
            try:
                wake = self._wakes.pop()
            except KeyError:
                return  # another thread has told the last one
            wake()

    def arrive(self, server: Any, request: Any, client_address: Any) -> Reason | None:
        """Let in a connection that was accepted, or a datagram; or return why it must be refused."""
        if type(request) is tuple:
            return self._screen(server, client_address) if self.is_guarded else None
        place = self._admit(server, client_address) if self.is_guarded else None
        if isinstance(place, Reason):
            return place
        self.coming[id(request)] = request, place
        return None

    def _admit(self, server: Any, client_address: Any, entered: int = 0) -> Place | Reason | None:
        """Admit a connection; `entered` is 1 when the books count it already."""
        self.look(server)
        terms, admission = self._terms, self._admission
        if not self._has_place(terms, entered):
            self._count_gone()
            if not self._has_place(terms, entered):
                is_denied = not _is_announced_later(server) and terms.limits.denies(
                    client_address, client_ip(client_address)
                )
                return Reason.REFUSED_DENIED if is_denied else Reason.REFUSED_FULL
        if admission is None or not terms.asks:
            return None
        known = None if _is_announced_later(server) else client_address
        return admission.admit(known, time.monotonic())

    def _screen(self, server: Any, client_address: Any) -> Reason | None:
        self.look(server)
        if self._admission is None or not self._terms.asks:
            return None
        return self._admission.admit_datagram(client_address, time.monotonic())

    def take(self, server: Any, request: Any, client_address: Any) -> HeldPlace | Reason | None:
        """Return the place of a connection that has reached an engine, if it has one; or why it has none.

        It is in the books by now. What came in no usual way, by a program's own loop, is admitted here.
        """
        arrival = self.coming.pop(id(request), None) or self._elsewhere.pop(request)
        if arrival is None:
            arrival = self._made_anew()
        if arrival is not None:
            return arrival[1]
        return self._admit(server, client_address, 1) if self.is_guarded else None

    def _made_anew(self) -> tuple[Any, HeldPlace | None] | None:
        """Take the one that a hook has made another object of, as `SSLContext.wrap_socket` does."""
        own = getattr(self.in_hand, "arrival", None)
        arrivals = self.coming.copy()
        for key in [own] if own in arrivals else arrivals:
            if is_closed(arrivals[key][0]):
                return self.coming.pop(key, None)
        return None

    def overflow_for(self, server: Any, request: Any, reason: Reason) -> Handler | None:
        """Return what serves a connection that is to be refused, if anything does."""
        handler = self._terms.overflow
        # Of one whose address is to come nobody knows either whether its header counts.
        if reason is not Reason.REFUSED_FULL or handler is None or _is_announced_later(server):
            return None
        if len(self._overflow) >= OVERFLOW_AT_ONCE:
            return None
        self.coming[id(request)] = request, OverflowPlace(self._overflow)
        return handler

    def refuse(self, server: Any, request: Any, client_address: Any, reason: Reason) -> None:
        """Refuse what has arrived: count it, tell of it, say the refusal and close it."""
        self.note(server, request, client_address, reason)
        if type(request) is not tuple:
            self._books.refuse(reason)
            self.send_away(server, request, client_address)

    def send_away(self, server: Any, request: Any, client_address: Any) -> None:
        """Say the refusal on a connection, and close it."""
        closing.say(request, self._terms.refusal)
        try:
            server.shutdown_request(request)
        except Exception:  # noqa: BLE001 - a hook's failure must not end the service
            server.handle_error(request, client_address)

    def note(self, server: Any, request: Any, client_address: Any, reason: Reason) -> None:
        """Tell of a refusal, now or together with others."""
        self._refusals.note(server, request, client_address, reason)
        self.has_chores = True

    def identify(self, server: Any, place: Place, client_address: Any) -> Reason | None:
        """Apply the rules for addresses to a connection whose client a PROXY header names only now."""
        reason = place.identify(client_address, time.monotonic())
        if reason is not None:
            self.note(server, None, client_address, reason)
        return reason

    def withdraw(self, request: Any, reason: Reason) -> None:
        """Count a connection that a hook kept from the engine; one that has been there is counted."""
        arrival = self.coming.pop(id(request), None)
        if arrival is not None:
            self._give_up(arrival[1], reason)

    def let_go(self, request: Any) -> None:
        """Note that a hook has taken a connection elsewhere. It counts for as long as it is there."""
        self._count_gone()
        arrival = self.coming.pop(id(request), None)
        if arrival is None:
            return
        if self._elsewhere.add(request, arrival[1]):
            self.has_chores = True
        else:
            self._give_up(arrival[1], Reason.HANDED_OFF)

    def _note_gone(self) -> None:
        self.has_chores = True
        self._tell_of_room()

    def _count_gone(self) -> None:
        """Count those that were taken elsewhere and have ended there."""
        if self._elsewhere:
            for place in self._elsewhere.take_gone():
                self._give_up(place, Reason.HANDED_OFF)

    def _give_up(self, place: HeldPlace | None, reason: Reason) -> None:
        if place is not None:
            place.leave()
        self._books.refuse(reason)

    def do_chores(self) -> None:
        """Do what is due by now, in the accept loop: tell of refusals, count who has ended elsewhere."""
        self.has_chores = False
        self._count_gone()
        is_something_untold = self._refusals.tell_what_is_due()
        if is_something_untold or self._elsewhere:
            self.has_chores = True

    def close(self, server: Any) -> None:
        """Tell what has not been told, at the end of a server."""
        self._refusals.tell_the_rest(server)


def _is_announced_later(server: Any) -> bool:
    """Tell whether a balancer stands in front, whose header has the client's address: see `Door.identify`."""
    return getattr(server, "proxy_protocol", False) is True
