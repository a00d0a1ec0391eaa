"""Admission: how many connections of one address at once, how fast they may come, and from where.

====================================================  ==============================
a connection is refused, in this order, when          the reason
====================================================  ==============================
`deny` has its address, or `allow` has not            `Reason.REFUSED_DENIED`
its address has `max_connections_per_ip` open         `Reason.REFUSED_FULL_FOR_ADDRESS`
its address comes faster than `max_rate_per_ip`       `Reason.REFUSED_TOO_FAST`
all together come faster than `max_rate`              `Reason.REFUSED_TOO_FAST`
====================================================  ==============================

A refused connection takes no token of any rate. So a client that is refused does not use up the server's
rate for the others, and one that keeps trying gets in as often as the rate says, neither more nor less.

`max_connections` is not here: the registry counts what is open, and the accept loop asks it.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from manyhands.admission.rate_limits import AddressRates, Pace, TokenBucket
from manyhands.model.connection_states import Reason
from manyhands.model.networks import Networks
from manyhands.model.socket_addresses import IP, IPV6_PREFIX, address_key, client_ip
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock

_NO_NETWORKS = Networks()


class Limits(NamedTuple):
    """The limits of a server; None: no limit. Replaced as a whole, never changed.

    The options' table has checked the values.

    Attributes
    ----------
    max_connections_per_ip : int or None
        Connections of one address, of IPv6 one network, that are open at once.
    ipv6_prefix : int
        Bits of the IPv6 network that the limits per address count as one address.
    max_rate : float or None
        New connections per second.
    max_rate_per_ip : float or None
        New connections per second of one address.
    rate_burst, rate_burst_per_ip : int or None
        Connections that may come at once, as long as the rate holds on average; None: as many as may come
        in one second, at least one.
    allow : Networks
        Where clients must come from; when empty, they may come from anywhere. Neither `allow` nor `deny`
        concerns a Unix socket: its file's permissions say who may connect.
    deny : Networks
        Where they must not come from, `allow` or not.
    """

    max_connections_per_ip: int | None = None
    ipv6_prefix: int = IPV6_PREFIX
    max_rate: float | None = None
    max_rate_per_ip: float | None = None
    rate_burst: int | None = None
    rate_burst_per_ip: int | None = None
    allow: Networks = _NO_NETWORKS
    deny: Networks = _NO_NETWORKS

    def denies(self, client_address: object, ip: IP | None) -> bool:
        """Tell whether `allow` and `deny` keep a client out.

        Parameters
        ----------
        client_address : object
            What `accept` gave.
        ip : IP or None
            What `client_ip` reads of it.
        """
        if ip is None:
            # A Unix socket, or an address that a PROXY header is still to announce.
            if not isinstance(client_address, tuple):
                return False
            # A host whose address is not known may be one that is not to be served.
            if self.deny and client_address and isinstance(client_address[0], str):
                return True
        return self.deny.hold(ip) or (bool(self.allow) and not self.allow.hold(ip))


class HeldPlace(Protocol):
    """The place that a connection holds until its end, whatever it is counted for."""

    def leave(self) -> None:
        """Give it back; from the second time on this does nothing."""


class Place:
    """The place that an admitted connection takes until it leaves.

    Attributes
    ----------
    client_address : object
        Whose it is, as `accept` gave it or a PROXY header announced it; None before the header has come.
    """

    __slots__ = ("_admission", "_counts", "_key", "client_address")

    def __init__(self, admission: "Admission", client_address: object) -> None:
        self._admission = admission
        self.client_address = client_address
        self._counts: Counter[int] | None = None
        self._key = 0

    def leave(self) -> None:
        """Give the place back; from the second time on this does nothing.

        From any thread, signal handler or finalizer: it takes no lock, and never waits.
        """
        self._admission.leave(self)

    def identify(self, client_address: object, now: float) -> Reason | None:
        """Apply the rules for addresses, now that a PROXY header has announced the client's.

        Parameters are those of `Admission.identify`, and so is what it returns.
        """
        return self._admission.identify(self, client_address, now)

    def enter(self, counts: Counter[int], key: int) -> None:
        """Be counted under a key. Only while the lock of the admission is held, as `uncount`."""
        self._counts, self._key = counts, key
        counts[key] += 1

    def uncount(self) -> None:
        """Be counted no longer."""
        # Where it was counted last: these need not be the counts of now, see `Admission._count_again`.
        counts, self._counts = self._counts, None
        if counts is not None:
            counts[self._key] -= 1
            if not counts[self._key]:
                del counts[self._key]


class Admission:
    """Admits connections within limits, exactly: where N are allowed there are never more than N.

    Thread-safe: several accept loops may share one, and connections leave from any thread. In a forked copy
    of the process it begins anew: the open connections are the original's.

    Parameters
    ----------
    limits : Limits
        The limits at first.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = Limits() if limits is None else limits
        """The limits. Assign others at any time, from anywhere: they hold from the next connection on.

        Connections that are in stay in, and nothing that was counted is forgotten, but for the rates per
        address when `ipv6_prefix` changes.
        """

        self._start_anew()
        renew_in_copies(self, Admission._start_anew)

    def _start_anew(self) -> None:
        # Held only for a few lookups, and never while anything waits: fibers need no other lock.
        self._lock = brief_lock()
        self._places: set[Place] = set()
        # Places that were left and are still counted for their address. Leaving needs no lock this way: a
        # finalizer or a signal handler may run in the middle of `admit`, in its own thread.
        self._left: deque[Place] = deque()
        # By key. One is there only while it has a connection, so there are never more than connections.
        self._counts: Counter[int] = Counter()
        self._applied = Limits()
        self._bucket: TokenBucket | None = None
        self._rates: AddressRates | None = None

    def admit(self, client_address: object, now: float) -> Place | Reason:
        """Let a connection in, or say why not.

        Parameters
        ----------
        client_address : object
            What `accept` gave; None where a PROXY header is still to announce the address: then only the
            rules for the whole server are applied, until `Place.identify`.
        now : float
            The time, in seconds, of any clock that never goes back.

        Returns
        -------
        Place or Reason
            The place that the connection has from now on, or the reason for the refusal.
        """
        ip = client_ip(client_address)
        if self.limits.denies(client_address, ip):
            return Reason.REFUSED_DENIED
        with self._lock:
            key = address_key(ip, self._settle(now).ipv6_prefix)
            # The address first: what it is refused for takes no token of all together.
            refusal = self._refusal_for(key, now) or self._refusal_for_all(now)
            if refusal is not None:
                return refusal
            place = Place(self, client_address)
            self._enter(place, key, now)
            self._places.add(place)
        return place

    def readmit(self, client_address: object, now: float) -> Place:
        """Count a connection for its address that was let in before: no limit concerns it any more."""
        ip = client_ip(client_address)
        with self._lock:
            key = address_key(ip, self._settle(now).ipv6_prefix)
            place = Place(self, client_address)
            if key is not None:
                place.enter(self._counts, key)
            self._places.add(place)
        return place

    def admit_datagram(self, client_address: object, now: float) -> Reason | None:
        """Apply to a datagram the rules that are not about open connections: where from, and how fast.

        Parameters
        ----------
        client_address : object
            The address that sent it.
        now : float
            The time, as of `admit`.

        Returns
        -------
        Reason or None
            Why it must be dropped; None: it may be served. It has no place.
        """
        ip = client_ip(client_address)
        if self.limits.denies(client_address, ip):
            return Reason.REFUSED_DENIED
        with self._lock:
            key = address_key(ip, self._settle(now).ipv6_prefix)
            if key is None or self._rates is None:
                return self._refusal_for_all(now)
            # Looked at first, taken last: a datagram that either rate refuses takes a token of neither.
            if not self._rates.has_token(key, now):
                return Reason.REFUSED_TOO_FAST
            refusal = self._refusal_for_all(now)
            if refusal is None:
                self._rates.take(key, now)
        return refusal

    def identify(self, place: Place, client_address: object, now: float) -> Reason | None:
        """Apply the rules for addresses to a connection that has its place already.

        Parameters
        ----------
        place : Place
            Its place.
        client_address : object
            The address that a PROXY header announced, as `accept` would give it.
        now : float
            The time, as of `admit`.

        Returns
        -------
        Reason or None
            Why the connection must be closed; None: it may stay. It keeps its place until it leaves.
        """
        ip = client_ip(client_address)
        if self.limits.denies(client_address, ip):
            return Reason.REFUSED_DENIED
        with self._lock:
            key = address_key(ip, self._settle(now).ipv6_prefix)
            if place not in self._places:
                return None  # it left meanwhile
            # Before the look: it may have been counted for this very address.
            place.uncount()
            refusal = self._refusal_for(key, now)
            if refusal is None:
                place.client_address = client_address
                self._enter(place, key, now)
        return refusal

    def leave(self, place: Place) -> None:
        """Take a place back, once; see `Place.leave`."""
        try:
            # One step, whatever threads do: of two that leave the same place, one gets no further.
            self._places.remove(place)
        except KeyError:
            return
        self._left.append(place)

    def _refusal_for(self, key: int | None, now: float) -> Reason | None:
        """Say why an address gets no further place; nothing changes by it."""
        if key is None:
            return None
        most = self._applied.max_connections_per_ip
        if most is not None and self._counts[key] >= most:
            return Reason.REFUSED_FULL_FOR_ADDRESS
        if self._rates is not None and not self._rates.has_token(key, now):
            return Reason.REFUSED_TOO_FAST
        return None

    def _refusal_for_all(self, now: float) -> Reason | None:
        """Take a token of the rate of all together, or say why there is none."""
        if self._bucket is None or self._bucket.take(now):
            return None
        return Reason.REFUSED_TOO_FAST

    def _enter(self, place: Place, key: int | None, now: float) -> None:
        """Count a place for its address."""
        if key is None:
            return
        if self._rates is not None:
            self._rates.take(key, now)
        place.enter(self._counts, key)

    def _settle(self, now: float) -> Limits:
        """Catch up with what was done without the lock: new limits, and places that were left."""
        # Here, and not where they are assigned: that takes no lock, so a signal handler may do it too.
        limits = self.limits
        if limits is not self._applied:
            self._apply(limits, now)
        while self._left:
            self._left.popleft().uncount()
        return limits

    def _apply(self, limits: Limits, now: float) -> None:
        before, self._applied = self._applied, limits
        if limits.ipv6_prefix != before.ipv6_prefix:
            self._rates = None
            self._count_again(limits.ipv6_prefix)
        pace = _pace(limits.max_rate, limits.rate_burst)
        pace_per_ip = _pace(limits.max_rate_per_ip, limits.rate_burst_per_ip)
        self._bucket = _at_pace(pace, self._bucket, TokenBucket, now)
        self._rates = _at_pace(pace_per_ip, self._rates, AddressRates, now)

    def _count_again(self, ipv6_prefix: int) -> None:
        # A place that is left meanwhile is uncounted where it was counted last, be it in the old counts.
        self._counts = Counter()
        for place in self._places.copy():
            key = address_key(client_ip(place.client_address), ipv6_prefix)
            if key is not None:
                place.enter(self._counts, key)


class _Limiter(Protocol):
    def change(self, pace: Pace, now: float) -> None: ...


_L = TypeVar("_L", bound=_Limiter)


def _pace(rate: float | None, burst: int | None) -> Pace | None:
    return None if rate is None else Pace(rate, burst)


def _at_pace(
    pace: Pace | None, limiter: _L | None, make: Callable[[Pace], _L], now: float
) -> _L | None:
    """Return what limits a rate to a pace: the one that is there already, if there is one."""
    if pace is None:
        return None
    if limiter is None:
        return make(pace)
    limiter.change(pace, now)
    return limiter
