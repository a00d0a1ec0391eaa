"""A supervisor's end of the connection to the control server of one worker: requests out, answers in."""

import itertools
import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from manyhands.control.client_socket import LONGEST_LINE
from manyhands.control.fleet import WorkerSeen
from manyhands.control.messages import Lines, Refusal, request_line
from manyhands.control.protocol import Code
from manyhands.poll_server.clients import Client

MOST_UNANSWERED = 256
"""Requests that a worker has not answered, in time or not, before it is asked no more: it is stuck."""

MOST_UNSENT = 1024 * 1024
"""Bytes that it has not taken, likewise."""

Answered: TypeAlias = Callable[[object], None]
"""Given the result of a request, the worker's `Refusal`, or None where it does not answer."""


class _Asked(NamedTuple):
    answered: Answered
    by: float


class WorkerChannel(Client):
    """A connection to a worker's control server. For the thread that serves it.

    Parameters
    ----------
    connection
        The connection, which does not block.
    worker
        The worker, as it was seen when the connection was made.
    on_told
        Called with what the worker tells by itself: ``"stats"`` or ``"events"``, and its params.
    """

    def __init__(
        self,
        connection: Any,
        worker: WorkerSeen,
        on_told: Callable[["WorkerChannel", str, dict[str, Any]], None],
    ) -> None:
        super().__init__(connection)
        self.worker = worker
        self._on_told = on_told
        self._lines = Lines(LONGEST_LINE)
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._unanswered = 0
        self._process = os.getpid()

    @property
    def is_stuck(self) -> bool:
        """Whether it leaves too many requests without their answers."""
        return self._unanswered >= MOST_UNANSWERED or sum(map(len, self.unsent)) >= MOST_UNSENT

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is on its way that this end alone knows of: another can go on with it."""
        return not (self._unanswered or self.unsent or self._lines.is_amid or self.has_ended)

    def ask(self, verb: str, params: dict[str, object], answered: Answered, by: float) -> None:
        """Ask the worker; `answered` is called once, at the latest at the moment `by` of `time.monotonic`."""
        if self.is_stuck or self.has_ended:
            answered(None)
            return
        number = next(self._numbers)
        self._asked[number] = _Asked(answered, by)
        self._unanswered += 1
        self.send(request_line(number, verb, params))

    def receive(self, data: bytes) -> None:
        """Take what it says."""
        self.has_ended = not data
        for line in self._lines.cut(data):
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message:
            self._on_told(self, message["method"], message.get("params", {}))
            return
        self._unanswered -= 1
        asked = self._asked.pop(message["id"], None)
        # None: the time for it was over.
        if asked is not None:
            asked.answered(_outcome(message))

    def next_deadline(self) -> float | None:
        """Return when the next request has waited long enough, by `time.monotonic`."""
        return min((each.by for each in self._asked.values()), default=None)

    def end_late_ones(self, now: float) -> None:
        """Do without the answers that have not come in time."""
        late = [number for number, each in self._asked.items() if each.by <= now]
        for number in late:
            self._asked.pop(number).answered(None)

    def left(self) -> None:
        """Do without all answers: the connection has ended."""
        if os.getpid() != self._process:
            return  # a forked copy, in which nobody waits, and locks may be held for ever
        self.has_ended = True
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.answered(None)


def _outcome(message: dict[str, Any]) -> object:
    if "error" not in message:
        return message["result"]
    error = message["error"]
    try:
        code = Code(error["code"])
    except ValueError:
        code = Code.INTERNAL  # of another version
    return Refusal(code, error["message"])
