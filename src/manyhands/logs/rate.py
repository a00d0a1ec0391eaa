"""What clients can cause as often as they like, held to a rate."""

import time
from collections.abc import Callable, Iterator

from manyhands.admission.refusal_log import INTERVAL, RefusalLog, Tally
from manyhands.model.events import RepeatedEvents

KINDS = 64
"""Kinds that are told apart at once; what comes beyond is counted together."""

_OTHERS = "other events"


class Rate:
    """Says which of the things that repeat are told of at once, and counts the others.

    The first of a kind is told of at once, and those after it together, at most once in each interval, as of
    refusals (`RefusalLog`). Memory: `KINDS` times a few numbers and three addresses. Thread-safe.
    """

    def __init__(self) -> None:
        self._logs: dict[str, RefusalLog[int]] = {}

    def note(self, kind: str, level: int, peer: object) -> RepeatedEvents | None:
        """Count one of a kind.

        Parameters
        ----------
        kind
            What it is, as people are to read it. Those of one kind are counted together.
        level
            How serious it is, in the numbers of `logging`.
        peer
            The address of the client that caused it; None where that is not known.

        Returns
        -------
        RepeatedEvents or None
            What to tell now, this one included: with a count of 1 the event itself. None: it is too soon.
        """
        log = self._logs.get(kind)
        if log is None:
            kind = self._with_room_for(kind)
            # One step: of two threads that come first, both get the same.
            log = self._logs.setdefault(kind, RefusalLog(time.monotonic, INTERVAL))
        tally = log.note(level, peer)
        return None if tally is None else _repeated(kind, tally)

    def _with_room_for(self, kind: str) -> str:
        """Forget kinds that have been quiet, if there are too many; return the name under which to count."""
        if len(self._logs) >= KINDS:
            for name, log in self._logs.copy().items():
                if log.is_quiet():
                    self._logs.pop(name, None)
        return kind if len(self._logs) < KINDS else _OTHERS

    def seconds_until_due(self) -> float | None:
        """Return in how many seconds something is due; None: nothing waits to be told."""
        waits = (log.seconds_until_due() for log in self._logs.copy().values())
        return min((wait for wait in waits if wait is not None), default=None)

    def due(self) -> Iterator[tuple[RepeatedEvents, int]]:
        """Return what is due to be told, with its level."""
        return self._told_by(RefusalLog.due)

    def rest(self) -> Iterator[tuple[RepeatedEvents, int]]:
        """Return what has not been told yet, due or not."""
        return self._told_by(RefusalLog.rest)

    def _told_by(
        self, tell: Callable[[RefusalLog[int]], Tally[int] | None]
    ) -> Iterator[tuple[RepeatedEvents, int]]:
        for kind, log in self._logs.copy().items():
            if tally := tell(log):
                yield _repeated(kind, tally), max(tally[0])


def _repeated(kind: str, tally: Tally[int]) -> RepeatedEvents:
    counts, peers, _, seconds, _ = tally
    return RepeatedEvents(kind, sum(counts.values()), peers, seconds)
