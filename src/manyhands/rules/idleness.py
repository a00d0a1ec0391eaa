"""When a connection is idle: its handler most likely waits for the next request, of which none need come.

A drain ends what such a connection still receives, and nothing else. So being wrong costs little: a handler
that is at work goes on, and its answer goes out whole; only what its client would have sent next is lost.
"""

SILENT_FOR = 5.0
"""Seconds without a byte from the client after which nobody is in the middle of a request: Go's `http.Server`
takes as long for a connection that has said nothing yet."""


def is_idle(*, received_ago: float, sent_ago: float, has_answered: bool) -> bool:
    """Tell whether a connection is idle: answered since the last data came, or silent for long.

    Parameters
    ----------
    received_ago
        Seconds since the last byte came from the client; since it connected, where none has.
    sent_ago
        Seconds since the last byte was sent to it.
    has_answered
        Whether bytes have gone both ways: who has only been greeted is about to say what it wants.
    """
    return received_ago >= SILENT_FOR or (has_answered and sent_ago <= received_ago)
