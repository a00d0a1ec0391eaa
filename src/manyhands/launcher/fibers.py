"""What the fiber engine asks of a program that others have written."""

import logging
import sys
from importlib.util import find_spec

from manyhands.model import events
from manyhands.model.usage_errors import MissingExtra


def has_gevent() -> bool:
    """Tell whether this installation has gevent."""
    return find_spec("gevent") is not None


def require_gevent(what: str) -> None:
    """Say what is missing, before anything starts.

    Raises
    ------
    MissingExtra
        gevent is not installed.
    """
    if not has_gevent():
        raise MissingExtra(what, "gevent", "fibers")


def say_without_gevent(*, is_logged: bool) -> None:
    """Say that a child of another installation serves as its classes say, for it has no fibers."""
    what = (
        f"{sys.executable} has no gevent, so this process serves as its classes say, not on fibers"
    )
    if is_logged:
        logging.getLogger("manyhands").warning("%s", what)
    else:
        _say(what)


class Teller:
    """Tells once of each handler that holds up all fibers: the program knows nothing of our events."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, event: events.Event) -> None:
        """Take notice of an event."""
        if isinstance(event, events.HubBlocked) and event.handler not in self._told:
            self._told.add(event.handler)
            _say(f"{event}\n(said once for each handler; --hub-block-time none silences it)")


def _say(what: str) -> None:
    print(f"manyhands: {what}", file=sys.stderr, flush=True)  # noqa: T201 - on the launcher's behalf
