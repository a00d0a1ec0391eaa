"""The connection timeouts: when a connection is silent, stuck or open for too long; when it is idle.

A connection is ended, in this order, when

=====================================================================  ======================
what                                                                   the reason
=====================================================================  ======================
for `write_timeout` something waited for the peer, which acknowledged  `Reason.WRITE_STALLED`
nothing of it
nothing was received for `idle_timeout`, whatever was sent             `Reason.IDLE`
it has been open for `max_age`, give or take a tenth                   `Reason.TOO_OLD`
=====================================================================  ======================

The peer is judged by what it does. Data that we send keeps no connection alive, and a peer that takes what
it is sent, however slowly, is not stuck.
"""

from typing import NamedTuple, Protocol

from manyhands.model.connection_states import Reason

NAMES = ("idle_timeout", "write_timeout", "max_age")
"""The deadlines: options of a server, and attributes of a handler's `deadlines`."""

JITTER = 0.1
"""The share of `max_age` by which a connection may end sooner or later than another: connections that came
all at once, after a restart, are not to come again all at once."""

_GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, spread evenly however many there are (Knuth, TAOCP volume 3, section 6.4)."""

LONGEST_INTERVAL = 1.0
"""Seconds between two looks at the connections at most."""

SHORTEST_INTERVAL = 0.01
"""Seconds between two looks at least, however short a deadline is."""

LOOKS_PER_TIMEOUT = 4
"""Looks within the shortest deadline, which is therefore kept to within a quarter of itself."""

QUIET_LOOKS = 16
"""Looks within `write_timeout` at a connection where nothing waits: is something waiting now?"""

SILENT_FOR = 5.0
"""Seconds without a byte from the client after which it is in the middle of no request: Go's `http.Server`
takes as long for a connection that has said nothing yet."""

MEMBER_SILENT_FOR = 1.0
"""The same of a member of a room that has said nothing yet, for it need not; or nothing since it, or
the others, were sent an answer. Not at once: what others send to it looks like one."""

TICK = 0.01
"""Seconds by which the kernel's times may be wrong: it counts in ticks, 100 a second at the fewest."""


class Flow(Protocol):
    """What the deadlines have to know of a connection's traffic."""

    @property
    def silent(self) -> float:
        """Seconds since the last byte was received."""

    @property
    def acknowledged(self) -> int:
        """Bytes that the peer has acknowledged."""

    @property
    def waits_for_peer(self) -> bool:
        """Whether something is sent or to be sent that the peer has not acknowledged."""


class Deadlines(NamedTuple):
    """The deadlines of a connection, each in seconds; None: no end.

    Attributes
    ----------
    idle_timeout : float or None
        How long nothing may be received.
    write_timeout : float or None
        How long the peer may acknowledge nothing of what waits for it.
    max_age : float or None
        How long the connection may be open.
    """

    idle_timeout: float | None = None
    write_timeout: float | None = None
    max_age: float | None = None

    @property
    def shortest(self) -> float | None:
        """The shortest of them; None where there is none."""
        return min([seconds for seconds in self if seconds is not None], default=None)


NONE = Deadlines()
"""No deadlines. The reaper skips a connection that has this very object, without a look at its fields."""


class Stall(NamedTuple):
    """Something waits for the peer, which has acknowledged no more than it had at an earlier look.

    Attributes
    ----------
    acknowledged : int
        Bytes that it had acknowledged then.
    since : float
        When that was.
    """

    acknowledged: int
    since: float


def stall_of(before: Stall | None, flow: Flow, now: float) -> Stall | None:
    """Say since when a peer has acknowledged nothing of what waits for it; None where nothing waits.

    A peer that has acknowledged no more than at the look before has the same bytes still to acknowledge. So
    looks that are far apart make a stall seem shorter, never longer.
    """
    if not flow.waits_for_peer:
        return None
    if before is not None and before.acknowledged == flow.acknowledged:
        return before
    return Stall(flow.acknowledged, now)


def longest_age(max_age: float, number: int) -> float:
    """Return how old a connection may become, by its number: `max_age`, give or take a tenth."""
    # By the number, and not at random: each look must come to the same age.
    return max_age * (1 - JITTER + 2 * JITTER * (number * _GOLDEN % 1.0))


class Seen(NamedTuple):
    """What a look has seen of a connection.

    Attributes
    ----------
    flow : Flow or None
        Its traffic; None where that is not known, and then only its age counts.
    stall : Stall or None
        What `stall_of` says.
    age : float
        Seconds since it was accepted.
    number : int
        Its number, which decides by how much `max_age` is shifted.
    now : float
        The time of the look, by the clock that `stall` was made by.
    """

    flow: Flow | None
    stall: Stall | None
    age: float
    number: int
    now: float


def _silence(seen: Seen) -> float:
    """Return the seconds for which a peer has been silent since it was accepted."""
    # The kernel counts from when the peer connected (TCP_INFO), and it may have waited long in the backlog.
    return 0.0 if seen.flow is None else min(seen.flow.silent, seen.age)


def overdue(deadlines: Deadlines, seen: Seen) -> Reason | None:
    """Say for which reason a connection is to be ended now, if any."""
    stall = seen.stall
    idle_timeout, write_timeout = deadlines.idle_timeout, deadlines.write_timeout
    # First, since it says more: a peer that takes nothing is silent as well.
    if write_timeout is not None and stall is not None and seen.now - stall.since > write_timeout:
        return Reason.WRITE_STALLED
    if idle_timeout is not None and _silence(seen) > idle_timeout:
        return Reason.IDLE
    max_age = deadlines.max_age
    if max_age is not None and seen.age > longest_age(max_age, seen.number):
        return Reason.TOO_OLD
    return None


def seconds_of_rest(deadlines: Deadlines, seen: Seen) -> float:
    """Return the seconds for which a connection that is not overdue need not be looked at again."""
    rests = [LONGEST_INTERVAL * QUIET_LOOKS]
    if seen.flow is not None and deadlines.idle_timeout is not None:
        rests.append(deadlines.idle_timeout - _silence(seen))
    if seen.flow is not None and deadlines.write_timeout is not None:
        # Often while something waits for the peer, and else now and then, to see whether something does.
        rests.append(0.0 if seen.stall is not None else deadlines.write_timeout / QUIET_LOOKS)
    if deadlines.max_age is not None:
        rests.append(longest_age(deadlines.max_age, seen.number) - seen.age)
    return max(0.0, min(rests))


def interval(shortest: float) -> float:
    """Return the seconds between two looks at the connections, of whose deadlines one is the shortest."""
    return min(LONGEST_INTERVAL, max(SHORTEST_INTERVAL, shortest / LOOKS_PER_TIMEOUT))


def is_idle(
    *,
    received_ago: float,
    sent_ago: float,
    has_received: bool,
    has_sent: bool,
    told_ago: float | None = None,
) -> bool:
    """Tell whether a connection is idle: answered since the last data came, or silent for long.

    Its handler most likely waits for the next request, which need never come. A drain ends what such a
    connection still receives, and nothing else. So an error costs little: a handler that is at work goes on,
    and its answer goes out whole; only what its client would have sent next is lost.

    Parameters
    ----------
    received_ago : float
        Seconds since the last byte came from the client; since it connected, where none has.
    sent_ago : float
        Seconds since the last byte was sent to it.
    has_received, has_sent : bool
        Whether bytes have come from it, and gone to it: a client that has only been greeted is about to send
        a request.
    told_ago : float or None
        Of a member of a room, the seconds since its handler has told the others something; infinite where it
        never has. None of a client that is in no room.
    """
    if received_ago >= SILENT_FOR:
        return True
    is_answered = has_received and has_sent and sent_ago <= received_ago
    if told_ago is None:
        return is_answered
    if received_ago < MEMBER_SILENT_FOR:
        return False
    return is_answered or not has_received or told_ago <= received_ago + TICK
