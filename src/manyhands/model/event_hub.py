"""The hub of the events: hands each one to the subscribers that want it.

It does not load the classes of the events: dataclasses take milliseconds to make, and a program without a
subscriber never makes an event.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

from manyhands.model.usage_errors import Mistake
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock

Level = Literal["info", "warning", "error"]
"""How much an event wants to be looked at, in the words of `logging`."""

PEERS_NAMED = 3
"""Clients that one event names at most: enough to see whether it is always the same one."""


class Event:
    """Something happened in a server. The base of all events; never emitted itself."""

    # Else the slots of the dataclasses that stand on it save nothing.
    __slots__ = ()

    level: ClassVar[Level] = "warning"
    is_on_request: ClassVar[bool] = False
    """Whether only those subscribers get it that name its class, or `Event`."""

    is_provoked: ClassVar[bool] = False
    """Whether a client can cause it as often as it likes: then logs hold it to a rate."""


Subscriber = Callable[[Event], object]

_Subscription = tuple[Subscriber, tuple[type[Event], ...]]


class EventHub:
    """Hands each event to every subscriber, in the thread in which it happened.

    Thread-safe. A subscriber that raises cannot stop the server: its exception goes to
    `sys.excepthook`. What is no `Exception` is raised when all subscribers have been called: it may be the
    `KeyboardInterrupt` of a signal, or what ends the fiber that emits. So code that emits has its books in
    order before. A subscriber must be quick, for the server waits for it; for one that may not be there is
    `manyhands.logs.Queued`.
    """

    def __init__(self) -> None:
        self.renew_lock()
        self.has_subscribers = False
        """Whether an event will be heard: code that emits makes one only then, see `lazy_events`."""

        self.hears_of_ends = False
        """Whether a subscriber wants `ConnectionClosed`: else no connection makes one at its end."""

        # Replaced, never changed in place: emitting needs no lock.
        self._subscriptions: tuple[_Subscription, ...] = ()

    def renew_lock(self) -> None:
        """Take a fresh lock: in a forked copy, another thread of the original may hold this one for ever."""
        self._lock = brief_lock()

    def subscribe(self, subscriber: Subscriber, *wanted: type[Event]) -> Callable[[], None]:
        """Call `subscriber` with each event from now on.

        Parameters
        ----------
        subscriber
            What to call.
        *wanted
            The classes of the events; without any, all but `ConnectionClosed`. `Event` is all of them.

        Returns
        -------
        callable
            Call it, once or more, to end the subscription.

        Raises
        ------
        Mistake
            When `subscriber` cannot be called, or is a class of events; or what is wanted is none.
        """
        _check(subscriber, wanted)
        # A new object each time: the same subscriber may subscribe twice, and end one of both.
        subscription = (subscriber, wanted)
        with self._lock:
            self._set_subscriptions((*self._subscriptions, subscription))

        def unsubscribe() -> None:
            with self._lock:
                self._set_subscriptions(
                    tuple(s for s in self._subscriptions if s is not subscription)
                )

        return unsubscribe

    def _set_subscriptions(self, subscriptions: tuple[_Subscription, ...]) -> None:
        self._subscriptions = subscriptions
        self.has_subscribers = bool(subscriptions)
        self.hears_of_ends = any(
            # `Event` and its own bases hold every event, without being one.
            issubclass(Event, kind) or kind.is_on_request
            for _, wanted in subscriptions
            for kind in wanted
        )

    def emit(self, event: Event) -> None:
        """Hand `event` to every subscriber that wants it.

        Raises
        ------
        BaseException
            What the first subscriber raised that is no `Exception`, after the others have been called.
        """
        raised: BaseException | None = None
        # One look at the attribute: a subscriber may end its subscription while it is called.
        for subscriber, wanted in self._subscriptions:
            if not (isinstance(event, wanted) if wanted else not event.is_on_request):
                continue
            try:
                subscriber(event)
            except Exception as error:  # noqa: BLE001 - whatever a subscriber raises, the server goes on
                print_uncaught(error)
            except BaseException as error:  # noqa: BLE001 - raised below
                raised = raised or error
        if raised is not None:
            raise raised


def _check(subscriber: object, wanted: tuple[object, ...]) -> None:
    if isinstance(subscriber, type) and issubclass(subscriber, Event):
        name = subscriber.__name__
        raise Mistake(
            f"the subscriber comes first, and then what it wants: subscribe(print, events.{name})"
        )
    if not callable(subscriber):
        raise Mistake(
            f"{subscriber!r} cannot be called with events: subscribe(print) would print each"
        )
    for kind in wanted:
        # `Event` and its own bases hold every event.
        if not (isinstance(kind, type) and (issubclass(kind, Event) or issubclass(Event, kind))):
            raise Mistake(
                f"{kind!r} is no class of events: subscribe(print, events.ConnectionClosed) names one"
            )


event_hub = EventHub()
"""The hub of this process: every server emits here."""

renew_in_copies(event_hub, EventHub.renew_lock)
