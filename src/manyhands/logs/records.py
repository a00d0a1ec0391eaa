"""Events as records of `logging`, and their queue, which holds what clients can cause to a rate."""

import copy
import logging
import os
from collections.abc import Callable, Iterable

from manyhands.logs.bounded_queue import LIMIT, BoundedQueue
from manyhands.logs.rate import Rate
from manyhands.model.escaping import escape
from manyhands.model.events import ConnectionsRefused, Event, EventsDropped, RepeatedEvents

NAME = "manyhands"
"""The logger of events; that of connections which end is its child ``access``."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def level_of(event: Event) -> int:
    """Return an event's level in the numbers of `logging`."""
    return _LEVELS[event.level]


def record_of(name: str, event: Event, level: int | None = None) -> logging.LogRecord:
    """Make the record of an event, for the logger called `name`."""
    # Made where the event happened: the time, the process and the thread are those.
    return logging.getLogger(name).makeRecord(
        name,
        level_of(event) if level is None else level,
        "",
        0,
        escape(str(event)),
        (),
        None,
        extra={"event": event},
    )


REPEATS = "repeats"
"""The attribute of a record that names what a client can cause again and again; see `repeating`."""


def repeating(record: logging.LogRecord) -> str | None:
    """Return the name of what a record tells of, if a client can cause that as often as it likes."""
    event = getattr(record, "event", None)
    if event is None:
        named: str | None = getattr(record, REPEATS, None)
        return named
    # Each listener holds its refusals to a rate, but each handler's process tells of its own.
    is_of_worker = isinstance(event, ConnectionsRefused) and record.process != os.getpid()
    if not (event.is_provoked or is_of_worker):
        return None
    # Of handlers and listeners there are few; each is worth its own line.
    where = getattr(event, "handler", None) or getattr(event, "listener", None)
    return type(event).__name__ if where is None else f"{type(event).__name__} of {where}"


LONGEST_TEXT = 16_384
"""Characters of a message, or of a traceback, that may wait: so all that waits is some megabytes at most."""

_SHOWN_OF_THE_END = 4_096
"""Characters of the end of a longer one that are kept: there a traceback says what was raised."""


def prepared(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record that can wait, and go to another process: what it refers to may change meanwhile."""
    is_plain = isinstance(record.msg, str) and not (record.args or record.exc_info)
    if is_plain and len(record.msg) <= LONGEST_TEXT:
        return record  # as of all events
    ready = copy.copy(record)
    ready.msg, ready.args = _shortened(message_of(record)), ()
    if record.exc_info and not record.exc_text:
        ready.exc_text = _formatter.formatException(record.exc_info)
    if ready.exc_text:
        ready.exc_text = _shortened(ready.exc_text)
    ready.exc_info = None
    return ready


def message_of(record: logging.LogRecord) -> str:
    """Return a record's message; where its arguments do not fit, a sentence that says so."""
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - of a program's arguments; a log never fails its server
        return f"a record of {record.name} cannot be written: {type(error).__name__}"


def _shortened(text: str) -> str:
    left_out = len(text) - LONGEST_TEXT
    if left_out <= 0:
        return text
    head, tail = text[: LONGEST_TEXT - _SHOWN_OF_THE_END], text[-_SHOWN_OF_THE_END:]
    return f"{head} [{left_out} characters left out] {tail}"


_formatter = logging.Formatter()


class RecordQueue(BoundedQueue[logging.LogRecord]):
    """A queue of records. Thread-safe.

    Of what clients can cause as often as they like (`repeating`) the first of its kind passes at once, and of
    those after it one `RepeatedEvents` tells in a while.

    Parameters
    ----------
    handle
        Called with each record.
    name
        The logger of the records that tell of others.
    limit
        How many records may wait.
    handle_within
        Called as `handle`, and with the time on `time.monotonic` until which it may wait; where no thread
        can be had at the end.
    """

    def __init__(
        self,
        handle: Callable[[logging.LogRecord], object],
        name: str = NAME,
        limit: int = LIMIT,
        handle_within: Callable[[logging.LogRecord, float], object] | None = None,
    ) -> None:
        super().__init__(handle, lambda count: record_of(name, EventsDropped(count)), limit)
        self._name = name
        self._handle = handle
        self._handle_within = handle_within
        self._rate = Rate()

    def put(self, record: logging.LogRecord) -> None:
        """Have a record handled soon, or dropped when too many wait."""
        passed = record if self.is_relayed else self._passed(record)
        if passed is not None:
            super().put(prepared(passed))

    def consume_now(self, record: logging.LogRecord) -> None:
        """Handle a record in the calling thread, which waits for that."""
        passed = self._passed(record)
        if passed is not None:
            self._handle(passed)

    def _passed(self, record: logging.LogRecord) -> logging.LogRecord | None:
        """Return what is to be handled now: the record, one that tells of it and others, or nothing."""
        what = repeating(record)
        if what is None:
            return record
        event = getattr(record, "event", None)
        peer = getattr(record if event is None else event, "peer", None)
        repeated = self._rate.note(what, record.levelno, peer)
        if repeated is None:
            self._look_again()
            return None
        return record if repeated.count == 1 else self._summary(repeated, record.levelno)

    def _summary(self, repeated: RepeatedEvents, level: int) -> logging.LogRecord:
        return record_of(self._name, repeated, level)

    def _hand_over_within(self, item: logging.LogRecord, deadline: float) -> None:
        if self._handle_within is None:
            super()._hand_over_within(item, deadline)
        else:
            self._handle_within(item, deadline)

    def _seconds_until_due(self) -> float | None:
        return self._rate.seconds_until_due()

    def _due(self, *, at_the_end: bool = False) -> Iterable[logging.LogRecord]:
        due = self._rate.rest() if at_the_end else self._rate.due()
        return [self._summary(repeated, level) for repeated, level in due]
