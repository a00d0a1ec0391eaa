"""The events of the servers in the standard library's `logging`, and in lines of text or JSON.

::

    from manyhands import logs

    logs.to_logging(access=True)  # to the loggers "manyhands" and "manyhands.access"
    handler.setFormatter(logs.JSONLines())  # on any handler of your own

Nothing that a client sent is in them, and each event is one line whatever a peer is called.
"""

from manyhands.logs.bounded_queue import BoundedQueue
from manyhands.logs.lines import JSONLines, TextLines
from manyhands.logs.stderr_log import StderrLog, formatter_of, to_stderr
from manyhands.logs.subscribers import Queued, to_logging
from manyhands.logs.uncaught import LoggedStream, take_over

__all__ = [
    "BoundedQueue",
    "JSONLines",
    "LoggedStream",
    "Queued",
    "StderrLog",
    "TextLines",
    "formatter_of",
    "take_over",
    "to_logging",
    "to_stderr",
]
