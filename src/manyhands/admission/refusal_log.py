"""What is told of refusals: the first at once, then one summary in a while, however many there are."""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from manyhands.model import lazy_events as events
from manyhands.model.connection_states import Reason
from manyhands.model.event_hub import PEERS_NAMED, event_hub
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_rlock

INTERVAL = 10.0
"""Seconds between two summaries: soon enough for an operator, and 8,640 lines a day at the very most."""

Cause = TypeVar("Cause", bound=Hashable)

Tally: TypeAlias = tuple[Mapping[Cause, int], tuple[object, ...], float, float, str]
"""What was refused in a while: the fields of `events.RefusalSummary`, in their order.

The summary itself is made where a subscriber is to get it. Its module is not loaded before, and cannot be
once no descriptor is left, which is when connections are refused.
"""


class RefusalLog(Generic[Cause]):
    """Counts refusals, or whatever else clients cause, and has a tally of them when it is time for one.

    The first refusal after a while of quiet is told of at once, so that a full server is never silent; those
    after it are told of together, at most once in each interval. Memory: a few numbers and three addresses.

    Thread-safe. In a forked copy of the process it begins anew: the refusals are the original's to tell of.

    Parameters
    ----------
    clock : callable
        Returns the time in seconds, and never goes back.
    interval : float
        Seconds between two tallies.
    what : str
        What is refused: ``"connection"`` or ``"datagram"``.
    wall_clock : callable, optional
        Returns the seconds since 1970: what people read, while the other clock counts. By default the other.

    Examples
    --------
    >>> now = 0.0
    >>> log = RefusalLog(lambda: now)
    >>> print(events.RefusalSummary(*log.note(Reason.REFUSED_FULL, ("192.0.2.1", 50000))))
    refused 1 connection from 192.0.2.1:50000: the server had max_connections (or max_datagrams) already
    """

    def __init__(
        self,
        clock: Callable[[], float],
        interval: float = INTERVAL,
        what: str = "connection",
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._what = what
        self._wall_clock = wall_clock or clock
        self._start_anew()
        renew_in_copies(self, RefusalLog._start_anew)

    def _start_anew(self) -> None:
        # Reentrant: a finalizer, or a signal handler, may warn in the middle of another warning.
        self._lock = brief_rlock()
        self._told_at = -math.inf
        self._begin()

    def _begin(self) -> None:
        self._counts: Counter[Cause] = Counter()
        self._peers: dict[object, object] = {}
        self._since = 0.0

    def note(self, reason: Cause, client_address: object) -> Tally[Cause] | None:
        """Count a refusal.

        Parameters
        ----------
        reason : Cause
            Why: a `Reason`, of refusals.
        client_address : object
            The client whose connection it was, as `accept` gave it; None where that is not known.

        Returns
        -------
        Tally or None
            What to tell now, this refusal included; None when it is too soon for that.
        """
        with self._lock:
            if not self._counts:
                self._since = self._clock()
            self._counts[reason] += 1
            # By host: one client that comes again and again from other ports is to be named once.
            if client_address is not None and len(self._peers) < PEERS_NAMED:
                host = client_address
                if isinstance(client_address, tuple) and client_address:
                    host = client_address[0]
                self._peers.setdefault(host, client_address)
            return self._tally_if_due()

    def due(self) -> Tally[Cause] | None:
        """Return what to tell now, if anything: asked about once a second, no refusal is left untold."""
        with self._lock:
            return self._tally_if_due()

    def rest(self) -> Tally[Cause] | None:
        """Return what has not been told yet, due or not: for the end of a server."""
        with self._lock:
            return self._tally() if self._counts else None

    def seconds_until_due(self) -> float | None:
        """Return in how many seconds the next tally is due; None: there is nothing to tell."""
        with self._lock:
            if not self._counts:
                return None
            return max(0.0, self._told_at + self._interval - self._clock())

    def is_quiet(self) -> bool:
        """Tell whether there is nothing to tell, and the next one would be told of at once."""
        with self._lock:
            return not self._counts and self._clock() >= self._told_at + self._interval

    def _tally_if_due(self) -> Tally[Cause] | None:
        if not self._counts or self._clock() < self._told_at + self._interval:
            return None
        return self._tally()

    def _tally(self) -> Tally[Cause]:
        self._told_at = self._clock()
        # The wall clock may be set meanwhile (NTP), so the other one says how long it took.
        seconds = self._told_at - self._since
        counts = dict(self._counts.most_common())
        peers = tuple(self._peers.values())
        self._begin()
        return counts, peers, self._wall_clock() - seconds, seconds, self._what


class RefusalNotices:
    """The refusals of one listener, told of as events. Thread-safe.

    Parameters
    ----------
    log : RefusalLog of Reason, optional
        What adds them up; None: one by the clock, made with the first of them.
    """

    def __init__(self, log: RefusalLog[Reason] | None = None) -> None:
        self._log = log
        self.are_due = False
        """Whether refusals were counted that no event has told of yet."""

    def note(self, server: Any, request: Any, client_address: Any, reason: Reason) -> None:
        """Count a refused connection, or a dropped datagram, and tell of it now or later."""
        log = self._log
        if log is None:
            what = "datagram" if type(request) is tuple else "connection"
            made: RefusalLog[Reason] = RefusalLog(time.monotonic, what=what, wall_clock=time.time)
            # One step: of two threads that come first, both get the same log.
            log = self._log = vars(self).setdefault("_first_log", made)
        tally = log.note(reason, client_address)
        if tally is None:
            self.are_due = True
        else:
            self._tell(server, tally)

    def tell_what_is_due(self, server: Any) -> None:
        """Tell of refusals when it is time for a summary."""
        tally = None if self._log is None else self._log.due()
        if tally is not None:
            self._tell(server, tally)

    def tell_the_rest(self, server: Any) -> None:
        """Tell what has not been told, at the end of a server."""
        tally = self._log.rest() if self._log is not None and self.are_due else None
        if tally is not None:
            self._tell(server, tally)

    def _tell(self, server: Any, tally: Tally[Reason]) -> None:
        self.are_due = False
        where = format_address(getattr(server, "server_address", ""))
        if event_hub.has_subscribers:
            event_hub.emit(events.ConnectionsRefused(where, events.RefusalSummary(*tally)))
