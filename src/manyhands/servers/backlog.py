"""A look into the backlog of a listener."""

import select
from typing import Any


def somebody_waits(listener: Any) -> bool:
    """Tell whether a client waits on `listener`, which has a `fileno`, to be accepted or received."""
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    return bool(poll.poll(0))
