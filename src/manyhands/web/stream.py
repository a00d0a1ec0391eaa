"""The stream of one browser: server-sent events of what is new since the last one.

It keeps nothing for its browser but the number of the last event: a browser that is slow gets the latest
figures, and one that has missed more events than are kept gets all anew.
"""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from manyhands.web.kept import HISTORY, POINT, Kept
from manyhands.web.wire import Refusal

MEDIA_TYPE = "text/event-stream"

COMMENT = b": still here\n\n"


@dataclass(slots=True)
class Stream:
    """What a browser has got.

    Attributes
    ----------
    incarnation : str
        Of the last event.
    last : int
        The number of the last event.
    """

    incarnation: str = ""
    last: int = 0
    _stats_number: int = -1
    _server: dict[str, Any] | None = None

    def news(self, now: Kept, *, may_write: bool) -> bytes:
        """Return what the browser has not got of what is known now; it has got it then.

        Parameters
        ----------
        now : Kept
            What is known.
        may_write : bool
            Whether the page may change anything.
        """
        if not self._goes_on(now):
            pieces = [_message("reset", _all(now, may_write=may_write), now)]
        else:
            pieces = []
            if self._server is not now.server:
                pieces.append(_message("server", now.server))
            if new := [event for number, event in now.events if number > self.last]:
                pieces.append(_message("events", new, now))
            if self._stats_number != now.stats_number and now.stats is not None:
                pieces.append(_message("stats", {"stats": now.stats, "point": now.history[-1]}))
        self.incarnation, self.last = now.incarnation, now.last
        self._stats_number, self._server = now.stats_number, now.server
        return b"".join(pieces)

    def _goes_on(self, now: Kept) -> bool:
        first_kept = now.events[0][0] if now.events else now.last + 1
        return self.incarnation == now.incarnation and first_kept - 1 <= self.last <= now.last


def resumed(last_event_id: str | None) -> Stream:
    """Return the stream of a browser that has got all up to an event, as its Last-Event-ID says.

    Raises
    ------
    Refusal
        It is none of this page's.
    """
    if not last_event_id:
        return Stream()
    incarnation, _, number = last_event_id.partition(":")
    if not (number.isascii() and number.isdecimal() and len(number) < 20):
        raise Refusal(HTTPStatus.BAD_REQUEST, "a Last-Event-ID is INCARNATION:NUMBER")
    return Stream(incarnation, int(number))


def _all(now: Kept, *, may_write: bool) -> dict[str, Any]:
    return {
        "server": now.server,
        "may_write": may_write and "write" in now.server.get("may", ()),
        "stats": now.stats,
        "events": [event for _, event in now.events],
        "point": ["at", *POINT],
        "history": now.history,
        "longest_history": HISTORY,
    }


def _message(kind: str, data: Any, of: Kept | None = None) -> bytes:
    number = f"id: {of.incarnation}:{of.last}\n" if of is not None else ""
    # In ASCII, and JSON has no line ends: one line of data.
    return f"event: {kind}\n{number}data: {json.dumps(data)}\n\n".encode("ascii")
