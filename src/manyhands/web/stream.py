"""The stream of one browser: server-sent events of what is new since the last one.

It keeps nothing for its browser but the numbers of the last event and of the last figures: a browser that is
slow gets the latest figures, and what the charts have missed; one that has missed more events than are kept
gets all anew.
"""

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from manyhands.web.http_connection import Refusal
from manyhands.web.snapshot import HISTORY, POINT, Snapshot

MEDIA_TYPE = "text/event-stream"

COMMENT = b": still here\n\n"

_ID = re.compile(r"([^:]*):([0-9]{1,19}):([0-9]{1,19})")


@dataclass(slots=True)
class Stream:
    """What a browser has got.

    Attributes
    ----------
    incarnation : str
        Of the last event.
    last : int
        The number of the last event.
    figures : int
        The number of the last figures.
    """

    incarnation: str = ""
    last: int = 0
    figures: int = 0
    _server: dict[str, Any] | None = None

    def news(self, now: Snapshot, *, may_write: bool) -> bytes:
        """Return what the browser has not got of what is known now; it has got it then.

        Parameters
        ----------
        now : Snapshot
            What is known.
        may_write : bool
            Whether the page may change anything.
        """
        number, with_figures = (
            f"{now.incarnation}:{now.last}:{n}" for n in (self.figures, now.stats_number)
        )
        if not self._goes_on(now):
            pieces = [_message("reset", _all(now, may_write=may_write), with_figures)]
        else:
            pieces = []
            if self._server is not now.server:
                pieces.append(_message("server", now.server))
            if new := [event for at, event in now.events if at > self.last]:
                pieces.append(_message("events", new, number))
            if missed := now.stats_number - self.figures:
                figures = {"stats": now.stats, "points": now.history[-missed:]}
                pieces.append(_message("stats", figures, with_figures))
        self.incarnation, self.last = now.incarnation, now.last
        self.figures, self._server = now.stats_number, now.server
        return b"".join(pieces)

    def _goes_on(self, now: Snapshot) -> bool:
        first_kept = now.events[0][0] if now.events else now.last + 1
        return (
            self.incarnation == now.incarnation
            and first_kept - 1 <= self.last <= now.last
            and self.figures <= now.stats_number
        )


def resumed(last_event_id: str | None) -> Stream:
    """Return the stream of a browser that has got all up to an event, as its Last-Event-ID says.

    Raises
    ------
    Refusal
        It is none of this page's.
    """
    if not last_event_id:
        return Stream()
    found = _ID.fullmatch(last_event_id)
    if found is None:
        raise Refusal(HTTPStatus.BAD_REQUEST, "a Last-Event-ID is RUN:EVENTS:FIGURES")
    return Stream(found[1], int(found[2]), int(found[3]))


def _all(now: Snapshot, *, may_write: bool) -> dict[str, Any]:
    return {
        "server": now.server,
        "may_write": may_write and "write" in now.server.get("may", ()),
        "stats": now.stats,
        "events": [event for _, event in now.events],
        "point": ["at", *POINT],
        "history": now.history,
        "longest_history": HISTORY,
    }


def _message(kind: str, data: Any, number: str = "") -> bytes:
    line = f"id: {number}\n" if number else ""
    # In ASCII, and JSON has no line ends: one line of data.
    return f"event: {kind}\n{line}data: {json.dumps(data)}\n\n".encode("ascii")
