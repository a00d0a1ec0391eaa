"""What a server tells of those whom it refuses: the first at once, the others together."""

import time
from typing import Any

from manyhands.listening.bind import describe
from manyhands.model import events
from manyhands.model.connection_states import Reason
from manyhands.model.refusals import RefusalLog, RefusalSummary


class Refusals:
    """The refusals of servers that share an engine room; each server has a log of its own. Thread-safe."""

    def __init__(self) -> None:
        self._untold: dict[int, Any] = {}

    def note(self, server: Any, request: Any, client_address: Any, reason: Reason) -> None:
        """Count a refused connection, or a dropped datagram, and tell of it now or later."""
        log = _log_of(server, "datagram" if type(request) is tuple else "connection")
        summary = log.note(reason, client_address)
        if summary is None:
            self._untold[id(server)] = server
        else:
            self._tell(server, summary)

    def tell_what_is_due(self) -> bool:
        """Tell what it is time for; return whether anything is left."""
        for server in list(self._untold.values()):
            summary = _log_of(server).due()
            if summary is not None:
                self._tell(server, summary)
        return bool(self._untold)

    def tell_the_rest(self, server: Any) -> None:
        """Tell what has not been told, at the end of a server."""
        if id(server) in self._untold:
            summary = _log_of(server).rest()
            if summary is not None:
                self._tell(server, summary)

    def _tell(self, server: Any, summary: RefusalSummary) -> None:
        self._untold.pop(id(server), None)
        where = describe(getattr(server, "server_address", ""))
        events.hub.emit(events.ConnectionsRefused(where, summary))


def _log_of(server: Any, what: str = "connection") -> RefusalLog:
    attributes = vars(server)
    # `setdefault` is one step: of two threads that come first, both get the same.
    log: RefusalLog = attributes.get("_refusal_log") or attributes.setdefault(
        "_refusal_log", RefusalLog(time.monotonic, what=what, wall_clock=time.time)
    )
    return log
