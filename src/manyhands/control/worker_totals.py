"""What the workers of a server have counted, so that no sum falls when one of them ends. No I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from manyhands.control.fleet import Key


class Counted(NamedTuple):
    """What was counted.

    Attributes
    ----------
    figures : Counter
        ``"bytes_in"``, ``"bytes_out"`` and ``"cpu_seconds"``, as far as they are known.
    dropped : Counter
        Datagrams that were dropped, by the reason.
    """

    figures: Counter[str]
    dropped: Counter[str]

    @classmethod
    def nothing(cls) -> "Counted":
        """Return where it begins."""
        return cls(Counter(), Counter())


def counted_in(status: Mapping[str, Any]) -> Counted:
    """Return what the status of a worker has counted."""
    counted = Counted.nothing()
    counted.figures["cpu_seconds"] = status["process"]["cpu_seconds"]
    for server in status["servers"]:
        counted.dropped.update(server["dropped"])
        for name in ("bytes_in", "bytes_out"):
            if server[name] is not None:
                counted.figures[name] += server[name]
    return counted


class WorkerTotals:
    """Sums over all workers, those too that are there no more. For one thread to write, and any to read."""

    def __init__(self) -> None:
        # Replaced in one step: else a reader could count a worker twice, or not at all, that is just going.
        self._state: tuple[Counted, dict[Key, Counted]] = Counted.nothing(), {}

    def __len__(self) -> int:
        """Return how many workers are told apart: those that have not gone."""
        return len(self._state[1])

    def note(self, key: Key, status: Mapping[str, Any]) -> None:
        """Note what a worker has counted by now."""
        gone, present = self._state
        self._state = gone, {**present, key: counted_in(status)}

    def gone(self, key: Key) -> None:
        """Keep what a worker had counted when it was last heard of."""
        gone, present = self._state
        if key in present:
            rest = {each: counted for each, counted in present.items() if each != key}
            self._state = _sum([gone, present[key]]), rest

    def sums(self) -> Counted:
        """Return the sums."""
        gone, present = self._state
        return _sum([gone, *present.values()])


def _sum(several: Iterable[Counted]) -> Counted:
    sums = Counted.nothing()
    for each in several:
        sums.figures.update(each.figures)
        sums.dropped.update(each.dropped)
    return sums
