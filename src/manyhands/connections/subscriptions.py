"""Subscriptions of handlers, which end with their connections: a wait for a message then ends, too."""

import contextlib
from typing import Protocol

from manyhands.model.connection_states import Reason, State
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import start_native_thread


class Closing(Protocol):
    """A subscription."""

    @property
    def is_closed(self) -> bool:
        """Whether no more messages come."""

    def close(self) -> None:
        """Have no more messages."""


class Subscribing(Protocol):
    """A connection whose handler subscribes."""

    number: int
    reason: Reason | None
    state: State
    is_registered: bool


class _Kept:
    """The subscriptions of the handlers at work, by the number of the connection; most have none."""

    def __init__(self) -> None:
        # Changed in single steps: the handler's threads keep at once, and the end may come in another one.
        self.by_number: dict[int, set[Closing]] = {}
        renew_in_copies(self, _Kept.begin_anew)

    def begin_anew(self) -> None:
        self.by_number.clear()


_kept = _Kept()


def keep(connection: Subscribing | None, subscription: Closing) -> None:
    """Have a subscription end with the connection whose handler has made it, if one has. Thread-safe."""
    if connection is None or not connection.is_registered:
        return
    kept: set[Closing] | None = None
    while (
        kept is None or _kept.by_number.get(connection.number) is not kept
    ):  # its end has taken the set
        kept = _kept.by_number.setdefault(connection.number, set())
        kept.difference_update([each for each in tuple(kept) if each.is_closed])
        kept.add(subscription)
    if connection.reason is not None or connection.state is State.CLOSED:
        end_subscriptions(connection)  # its end has come just before, and has found nothing


def end_subscriptions(connection: Subscribing) -> None:
    """End what the handler of a connection has subscribed to. Once more does no harm."""
    if _kept.by_number:
        _close(_kept.by_number.pop(connection.number, set()))


def end_subscriptions_soon(connection: Subscribing) -> None:
    """Do so beside the caller, which may be a signal handler: the code that it interrupts may hold a lock."""
    subscriptions = _kept.by_number.get(connection.number) if _kept.by_number else None
    if subscriptions:
        # Without a thread they end with the connection's worker, or with the drain.
        with contextlib.suppress(RuntimeError):
            start_native_thread(_close, subscriptions, name="manyhands-subscriptions")


def _close(subscriptions: set[Closing]) -> None:
    for subscription in tuple(subscriptions):
        subscription.close()
