"""A look into the backlog of a listener."""

import select
from typing import Any

from manyhands.rules.originals import original


def somebody_waits(listener: Any) -> bool:
    """Tell whether a client waits on `listener`, which has a `fileno`, to be accepted or received."""
    return bool(look_at(listener.fileno()).poll(0))


def look_at(descriptor: int) -> "select.poll":
    """Return what tells whether a descriptor can be read, for looks that do not wait.

    gevent's own does so with a timeout, which a signal that comes meanwhile may leave behind, to be raised in
    whatever waits next.
    """
    poll: select.poll = original(select, "poll")()
    poll.register(descriptor, select.POLLIN)
    return poll
