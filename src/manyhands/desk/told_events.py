"""What the server reports, such as that it runs out of descriptors, as the operator is told of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from manyhands.model import events

Tell = Callable[[Sequence[str]], object]


@contextmanager
def telling_of_events(tell: Tell, *but: type[events.Event]) -> Iterator[None]:
    """Have `tell` called with the sentences of each event during a context, `but` of these types."""

    def tell_of(event: events.Event) -> None:
        # Of a caller that falls behind the reception tells in its own words, when the caller has left.
        if isinstance(event, (events.ClientFellBehind, *but)):
            return
        sentence, *stack = str(event).splitlines()
        # A stack is nothing for the operator, unless a signal has asked for it.
        tell([sentence.rstrip(":")])
        if isinstance(event, events.HandlerStack):
            tell(stack)

    unsubscribe = events.hub.subscribe(tell_of)
    try:
        yield
    finally:
        unsubscribe()
