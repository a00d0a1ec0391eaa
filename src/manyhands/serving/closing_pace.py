"""How fast a drain ends connections whose clients come back at once, to the processes that go on. No I/O."""

FIRST = 10
"""Connections that are ended at once: a drain of few is as quick as ever."""

RATE = 100.0
"""Connections a second that are ended at the least. A TLS handshake takes about a millisecond of a processor:
those that come back take a tenth of one for each process that drains."""

SHARE = 0.5
"""The share of a drain's time over which all are spread, however many: the last ones get the rest."""


def have_had_their_turn(count: int, passed: float, timeout: float) -> int:
    """Return how many of `count` connections have had their turn to end, `passed` seconds into a drain.

    Parameters
    ----------
    count
        The connections that there were when it began.
    passed, timeout
        Seconds of the drain that have passed, and that it has in all.
    """
    if passed >= SHARE * timeout:
        return count
    return min(count, FIRST + int(passed * max(RATE, count / (SHARE * timeout))))
