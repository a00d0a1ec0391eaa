"""What a server tells of the clients that it refuses: the first at once, the others together."""

import time
from typing import TYPE_CHECKING, Any

from manyhands.model.addresses import describe

if TYPE_CHECKING:
    from manyhands.model.connection_states import Reason
    from manyhands.model.refusals import RefusalLog, RefusalSummary


class RefusalNotices:
    """The refusals of one listener, counted and told of as events. Thread-safe."""

    def __init__(self) -> None:
        self._log: RefusalLog | None = None
        self.are_due = False
        """Whether some refusals were counted that no event has told of yet."""

    def note(self, server: Any, request: Any, client_address: Any, reason: "Reason") -> None:
        """Count a refused connection, or a dropped datagram, and tell of it now or later."""
        if self._log is None:
            # Few servers refuse; the others do not pay for the import.
            from manyhands.model.refusals import RefusalLog  # noqa: PLC0415

            what = "datagram" if type(request) is tuple else "connection"
            # One step: of two threads that come first, both get the same log.
            self._log = vars(self).setdefault(
                "_log_of_all", RefusalLog(time.monotonic, what=what, wall_clock=time.time)
            )
        summary = self._log.note(reason, client_address)
        if summary is None:
            self.are_due = True
        else:
            self._tell(server, summary)

    def tell_what_is_due(self, server: Any) -> None:
        """Tell of refusals when it is time for a summary."""
        if self._log is not None:
            summary = self._log.due()
            if summary is not None:
                self._tell(server, summary)

    def tell_the_rest(self, server: Any) -> None:
        """Tell what has not been told, at the end of a server."""
        if self._log is not None and self.are_due:
            summary = self._log.rest()
            if summary is not None:
                self._tell(server, summary)

    def _tell(self, server: Any, summary: "RefusalSummary") -> None:
        from manyhands.model import events  # noqa: PLC0415 - see above

        self.are_due = False
        where = describe(getattr(server, "server_address", ""))
        events.hub.emit(events.ConnectionsRefused(where, summary))
