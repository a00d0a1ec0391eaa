"""Subscribers to the events: `logging`, and any other behind a queue."""

import logging
from collections.abc import Callable

from manyhands.logs.bounded_queue import LIMIT, BoundedQueue
from manyhands.logs.records import NAME, RecordQueue, level_of, record_of
from manyhands.model.event_hub import event_hub
from manyhands.model.events import ConnectionClosed, Event, EventsDropped, Subscriber
from manyhands.model.usage_errors import Mistake


class Queued(BoundedQueue[Event]):
    """A subscriber that the server does not wait for: another one, behind a queue and in a thread.

    Parameters
    ----------
    subscriber
        Called with each event, in the thread. When it is too slow, events are dropped, and `EventsDropped`
        tells it how many.
    limit
        How many events may wait.
    """

    def __init__(self, subscriber: Subscriber, limit: int = LIMIT) -> None:
        super().__init__(subscriber, EventsDropped, limit)

    def __call__(self, event: Event) -> None:
        """Have the subscriber called soon."""
        self.put(event)


def to_logging(
    name: str = NAME, *, access: bool = False, queued: bool = True, limit: int = LIMIT
) -> Callable[[], None]:
    """Hand every event to `logging`, as a record that has it as its attribute `event`.

    What clients can cause as often as they like is held to a rate: the first of its kind comes at once, those
    after it as one `RepeatedEvents` every ten seconds. A subscriber to `manyhands.events` gets each.

    Parameters
    ----------
    name : str
        The logger. The level is the event's own: `info`, `warning` or `error`.
    access : bool
        Whether each connection that ends is logged too, by the logger's child ``access``.
    queued : bool
        Whether the handlers run in a thread of their own, so that the server does not wait for them;
        else in the thread in which the event happened.
    limit : int
        How many records may wait for the handlers; what comes then is dropped, and counted in one record.

    Returns
    -------
    callable
        Call it to end that: what waits is handled first, for half a second at most.

    Raises
    ------
    Mistake
        When `name` is no name.
    """
    if not isinstance(name, str):
        raise Mistake(f"to_logging() takes the name of a logger, not {name!r}")
    queue = RecordQueue(_handle, name, limit)
    consume = queue.put if queued else queue.consume_now

    def subscriber(event: Event) -> None:
        kind = f"{name}.access" if isinstance(event, ConnectionClosed) else name
        # Asked first: a sentence is made for no log that does not want it.
        if logging.getLogger(kind).isEnabledFor(level_of(event)):
            consume(record_of(kind, event))

    unsubscribe = event_hub.subscribe(subscriber, *([Event] if access else []))

    def end() -> None:
        unsubscribe()
        queue.close()

    return end


def _handle(record: logging.LogRecord) -> None:
    logging.getLogger(record.name).handle(record)
