"""What is told of refusals: the first at once, then one summary in a while, however many there are."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from manyhands.model.addresses import describe
from manyhands.model.connection_states import Reason
from manyhands.model.escaping import escape
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock

INTERVAL = 10.0
"""Seconds between two summaries: soon enough for whoever watches, and 8,640 lines a day at the very most."""

MOST_PEERS = 3
"""Clients named in a summary: enough to see whether it is always the same one."""


@dataclass(frozen=True, slots=True)
class RefusalSummary:
    """What was refused in a while; its text is a sentence for people.

    Attributes
    ----------
    counts : mapping of Reason to int
        How many, by reason, the most frequent first.
    peers : tuple of object
        The addresses of the first few clients, no host twice.
    since : float
        When the first of them was refused, in seconds since 1970.
    seconds : float
        For how long this has been going on, up to the summary.
    what : str
        What was refused: ``"connection"`` or ``"datagram"``.
    """

    counts: Mapping[Reason, int]
    peers: tuple[object, ...]
    since: float
    seconds: float
    what: str = "connection"

    @property
    def total(self) -> int:
        """How many were refused."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        refused = f"refused 1 {self.what}"
        if self.total > 1:
            refused = f"refused {self.total} {self.what}s within {self.seconds:.1f} s"
        whom = f" from {', '.join(map(_shown, self.peers))}" if self.peers else ""
        more = ", ..." if len(self.peers) == MOST_PEERS else ""
        return f"{refused}{whom}{more}: {self._reasons()}"

    def _reasons(self) -> str:
        if len(self.counts) == 1:
            return next(iter(self.counts)).sentence
        return "; ".join(f"{reason.sentence} ({count})" for reason, count in self.counts.items())


class RefusalLog:
    """Counts refusals, and has a summary of them when it is time for one.

    The first refusal after a while of quiet is told of at once, so that a full server is never silent; those
    after it are told of together, at most once in each interval. Memory: a few numbers and three addresses.

    Thread-safe. In a forked copy of the process it begins anew: the refusals are the original's to tell of.

    Parameters
    ----------
    clock : callable
        Returns the time in seconds, and never goes back.
    interval : float
        Seconds between two summaries.
    what : str
        What is refused: ``"connection"`` or ``"datagram"``.
    wall_clock : callable, optional
        Returns the seconds since 1970: what people read, while the other clock counts. By default the other.

    Examples
    --------
    >>> now = 0.0
    >>> log = RefusalLog(lambda: now)
    >>> print(log.note(Reason.REFUSED_FULL, ("192.0.2.1", 50000)))
    refused 1 connection from 192.0.2.1:50000: the server had max_connections already
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
        self._lock = brief_lock()
        self._told_at = -math.inf
        self._begin()

    def _begin(self) -> None:
        self._counts: Counter[Reason] = Counter()
        self._peers: dict[object, object] = {}
        self._since = 0.0

    def note(self, reason: Reason, client_address: object) -> RefusalSummary | None:
        """Count a refusal.

        Parameters
        ----------
        reason : Reason
            Why.
        client_address : object
            Whose connection it was, as `accept` gave it; None where that is not known.

        Returns
        -------
        RefusalSummary or None
            What to tell now, this refusal included; None when it is too soon for that.
        """
        with self._lock:
            if not self._counts:
                self._since = self._clock()
            self._counts[reason] += 1
            if client_address is not None and len(self._peers) < MOST_PEERS:
                self._peers.setdefault(_host(client_address), client_address)
            return self._summary_if_due()

    def due(self) -> RefusalSummary | None:
        """Return what to tell now, if anything: asked about once a second, no refusal is left untold."""
        with self._lock:
            return self._summary_if_due()

    def rest(self) -> RefusalSummary | None:
        """Return what has not been told yet, due or not: for the end of a server."""
        with self._lock:
            return self._summary() if self._counts else None

    def _summary_if_due(self) -> RefusalSummary | None:
        if not self._counts or self._clock() < self._told_at + self._interval:
            return None
        return self._summary()

    def _summary(self) -> RefusalSummary:
        self._told_at = self._clock()
        seconds = self._told_at - self._since
        summary = RefusalSummary(
            MappingProxyType(dict(self._counts.most_common())),
            tuple(self._peers.values()),
            self._wall_clock() - seconds,
            seconds,
            self._what,
        )
        self._begin()
        return summary


def _host(client_address: object) -> object:
    return (
        client_address[0]
        if isinstance(client_address, tuple) and client_address
        else client_address
    )


def _shown(client_address: object) -> str:
    return escape(describe(client_address)) if client_address else "a Unix socket"
