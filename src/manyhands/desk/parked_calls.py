"""Calls that are on their way from one worker to another: the desk keeps for them what it has to say."""

import time
from dataclasses import dataclass

from manyhands.desk.call_io import Ending
from manyhands.desk.switchboard import Call

PATIENCE = 30.0
"""Seconds for which a call may be on its way: mostly it is milliseconds."""

PATIENCE_FOR_THE_DEAD = 2.0
"""As long where the worker that it has left has died: the supervisor has the connection by then, or none."""


@dataclass(slots=True)
class _Parked:
    call: Call
    by: object
    until: float
    ending: Ending = Ending.LOST
    """What has become of the call if it comes to no other worker."""


class ParkedCalls:
    """The calls of a desk that are on their way, by the numbers of their connections. Thread-safe."""

    def __init__(self) -> None:
        self._parked: dict[int, _Parked] = {}

    def put(self, number: int, call: Call, by: object) -> None:
        """Note that a call is on its way; `by` is what leads to the worker that it has left."""
        self._parked[number] = _Parked(call, by, time.monotonic() + PATIENCE)

    def hurry(self, by: object, ending: Ending) -> None:
        """Wait less long for the calls that have left a worker which has died; else they have that ending."""
        until = time.monotonic() + PATIENCE_FOR_THE_DEAD
        # Each as it is: it may come to another worker just now.
        for each in self._parked.copy().values():
            if each.by is by:
                each.until, each.ending = min(each.until, until), ending

    def take(self, number: int) -> Call | None:
        """Return a call that has come to another worker; None where it is lost by now."""
        parked = self._parked.pop(number, None)
        return None if parked is None else parked.call

    def take_all(self) -> list[Call]:
        """Return all that are on their way, which are on no way any more."""
        return [call for number in list(self._parked) if (call := self.take(number)) is not None]

    def take_late_ones(self) -> list[tuple[Call, Ending]]:
        """Return those that come to no other worker any more, and what has become of them."""
        now = time.monotonic()
        late = [number for number, each in self._parked.copy().items() if each.until <= now]
        # One may have come to another worker just now.
        taken = [self._parked.pop(number, None) for number in late]
        return [(each.call, each.ending) for each in taken if each is not None]
