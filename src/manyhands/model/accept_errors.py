"""Which failures of `accept` mean what, and how long to rest after them.

`accept(2)` fails for three kinds of reasons. Most concern one client only (it is gone already, its packet
was refused by a firewall): the next `accept` may well succeed, so the accept loop goes on at once. A few
mean that this process or machine has run out of something: until that changes every `accept` fails at once,
while `poll` goes on saying that a client waits, so a loop that just tries again eats a whole processor. And
a few mean that the listener itself is broken.
"""

import enum
import errno

EXHAUSTED_ERRNOS = frozenset(
    {
        errno.EMFILE,  # this process has no free descriptor
        errno.ENFILE,  # the machine has none
        errno.ENOBUFS,  # no memory for socket buffers
        errno.ENOMEM,
        errno.ENOSPC,  # no further descriptor can be watched (epoll_ctl(2)), where a hook waits for one
    }
)

BROKEN_ERRNOS = frozenset(
    {
        errno.EBADF,  # closed
        errno.EINVAL,  # not listening (any more, after shutdown(2))
        errno.ENOTSOCK,  # its descriptor belongs to something else now
        errno.EOPNOTSUPP,  # not a stream socket
    }
)


class AcceptTrouble(enum.Enum):
    """What a failed `accept` means for the next one."""

    THIS_CLIENT = "this client"
    """Only the client it was about is lost: go on at once."""

    EXHAUSTED = "exhausted"
    """Out of descriptors or memory: rest, or spin."""

    BROKEN = "broken"
    """The listener cannot accept: rest, for the program may be about to replace it."""


def is_exhausted(error: Exception) -> bool:
    """Tell whether `error` says that descriptors or memory have run out."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in EXHAUSTED_ERRNOS


def classify(error: OSError) -> AcceptTrouble:
    """Tell what `error`, raised by `accept`, means for the next one."""
    if is_exhausted(error):
        return AcceptTrouble.EXHAUSTED
    if error.errno in BROKEN_ERRNOS:
        return AcceptTrouble.BROKEN
    return AcceptTrouble.THIS_CLIENT


FIRST_REST = 0.01
"""Seconds: short, since a descriptor often comes free with the next connection that ends."""

LONGEST_REST = 1.0
"""Seconds: at one failed `accept` a second the processor is idle, and recovery is still prompt."""

REFUSE_AFTER = 5.0
"""Seconds of shortage after which waiting clients are refused rather than left to hang.

Most shortages end within seconds, and the clients in the backlog are then served; a client of a server that
stays exhausted is better off with a closed connection than with silence.
"""


class Backoff:
    """How long to rest after failures that follow one another.

    The rest doubles, from `FIRST_REST` to `LONGEST_REST`. Knows no clock: `now` is given, in seconds of
    any monotonic clock. May be used by several threads; a rest may then be a little longer or shorter.
    """

    __slots__ = ("_rest", "reason", "rest_until", "since")

    def __init__(self) -> None:
        self.since: float | None = None
        self.rest_until = 0.0
        self.reason = ""
        """Why the latest failure was one."""

        self._rest = FIRST_REST

    def fail(self, now: float, reason: str = "") -> bool:
        """Note a failure at `now`; return True for the first of a row."""
        self.reason = reason
        first = self.since is None
        if self.since is None:
            self.since = now
            self._rest = FIRST_REST
        self.rest_until = now + self._rest
        self._rest = min(self._rest * 2, LONGEST_REST)
        return first

    def succeed(self, now: float) -> float | None:
        """Note a success at `now`; return how many seconds the row of failures before it lasted, if any."""
        # Read once: another accept loop may note a success at the same time.
        since = self.since
        if since is None:
            return None
        self.since = None
        self.rest_until = 0.0
        return now - since

    def resting(self, now: float) -> float:
        """Return the seconds still to rest at `now`, 0.0 for none."""
        return max(0.0, self.rest_until - now) if self.since is not None else 0.0

    def patience_is_over(self, now: float) -> bool:
        """Tell whether the failures have lasted longer than `REFUSE_AFTER`."""
        since = self.since
        return since is not None and now - since >= REFUSE_AFTER
