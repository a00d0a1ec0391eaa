"""The events of the servers in the standard library's `logging`, and in lines of text or JSON.

::

    from manyhands import logs

    logs.to_logging(access=True)  # to the loggers "manyhands" and "manyhands.access"
    handler.setFormatter(logs.JSONLines())  # on any handler of your own

Nothing that a client sent is in them, and each event is one line whatever a peer is called.
"""

from manyhands.logs.bounded_queue import BoundedQueue
from manyhands.logs.subscribers import (
    JSONLines,
    Queued,
    TextLines,
    to_logging,
    to_stderr,
    write_line,
)
from manyhands.logs.uncaught import LoggedStream, take_over

__all__ = [
    "BoundedQueue",
    "JSONLines",
    "LoggedStream",
    "Queued",
    "TextLines",
    "take_over",
    "to_logging",
    "to_stderr",
    "write_line",
]
