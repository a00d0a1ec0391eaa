"""The figures of a server with workers: its supervisor's and theirs, added up. No I/O."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample

Key: TypeAlias = tuple[int, int]
"""What tells a worker from all others: the number of its slot, and its process."""

OF_SUPERVISOR = (
    "manyhands_connections",
    "manyhands_connections_accepted",
    "manyhands_connections_closed",
    "manyhands_connections_refused",
    "manyhands_backlog",
    "manyhands_backlog_limit",
)
"""Figures that the supervisor has for all workers: they are in its books, and at its listeners."""

SUMS = frozenset({"manyhands_rooms"})
"""Figures that go up and down, and are added up; of others each worker has a series of its own."""

FIRST = frozenset({"manyhands_certificate_not_after_seconds"})
"""Figures of which the least counts: of two generations, the certificate that expires first."""

KEPT_BY_KERNEL = "manyhands_datagrams_lost"
"""Counted for a socket, which the next worker in a slot goes on with: the count is of the slot."""

PROCESS = "process_"

_HIGHEST = ("_delay_seconds", "_start_time_seconds", "_max_fds")
"""How names end of figures that make no sum: of two workers in one slot, the higher one is told."""

_Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""The name of a sample, and its labels in their order."""


class _Family(NamedTuple):
    name: str
    help: str
    kind: str
    samples: dict[_Series, float]


class WorkerFigures:
    """Adds up the figures of a supervisor and of its workers. For one thread at a time.

    No counter falls when a worker ends: what it had counted when it was last asked stays.
    """

    def __init__(self) -> None:
        self._last: dict[Key, dict[str, _Family]] = {}
        self._gone: dict[str, _Family] = {}
        self._lost: dict[int, dict[_Series, float]] = {}

    def page(self, own: str, told: Mapping[Key, str], present: Iterable[Key]) -> str:
        """Return the figures of all as one page of text: see `all_of_them`."""
        return generate_latest(self.all_of_them(own, told, present)).decode()

    def all_of_them(
        self, own: str, told: Mapping[Key, str], present: Iterable[Key]
    ) -> CollectorRegistry:
        """Return the figures of all.

        Parameters
        ----------
        own
            Those of the supervisor.
        told
            Those that workers have told now.
        present
            The workers that there are now.
        """
        for key, text in told.items():
            self._last[key] = _read(text)
            lost = self._last[key].get(KEPT_BY_KERNEL)
            if lost is not None:
                self._lost.setdefault(key[0], {}).update(lost.samples)
        self._forget(set(present))
        families = _read(own)
        for key, several in self._last.items():
            for family in several.values():
                self._add(families, key, family)
        self._add_kept(families)
        return _registry(families.values())

    def _forget(self, present: set[Key]) -> None:
        for key in [key for key in self._last if key not in present]:
            for family in self._last.pop(key).values():
                if _is_counted(family):
                    _add_up(self._gone, family)

    def _add(self, families: dict[str, _Family], key: Key, family: _Family) -> None:
        if family.name in OF_SUPERVISOR or family.name == KEPT_BY_KERNEL:
            return
        if _is_counted(family):
            _add_up(families, family)
            return
        into = families.setdefault(family.name, family._replace(samples={})).samples
        for series, value in family.samples.items():
            if family.name in FIRST:
                into[series] = min(value, into.get(series, value))
            elif family.name in SUMS:
                into[series] = into.get(series, 0.0) + value
            else:
                own = series[0], (("worker", str(key[0])), *series[1])
                before = into.get(own, 0.0)
                into[own] = max(before, value) if own[0].endswith(_HIGHEST) else before + value

    def _add_kept(self, families: dict[str, _Family]) -> None:
        for family in self._gone.values():
            if family.name not in (*OF_SUPERVISOR, KEPT_BY_KERNEL):
                _add_up(families, family)
        lost: Counter[_Series] = Counter()
        for counted in self._lost.values():
            lost.update(counted)
        if lost and KEPT_BY_KERNEL in families:
            families[KEPT_BY_KERNEL].samples.update(lost)


def _is_counted(family: _Family) -> bool:
    """Tell whether figures of a family are added up over all workers, and never fall."""
    return family.kind in {"counter", "histogram"} and not family.name.startswith(PROCESS)


def _add_up(families: dict[str, _Family], family: _Family) -> None:
    into = families.setdefault(family.name, family._replace(samples={})).samples
    for series, value in family.samples.items():
        into[series] = into.get(series, 0.0) + value


def _read(text: str) -> dict[str, _Family]:
    return {
        family.name: _Family(
            family.name,
            family.documentation,
            family.type,
            {(each.name, tuple(each.labels.items())): each.value for each in family.samples},
        )
        for family in text_string_to_metric_families(text)
    }


class _All(Collector):
    def __init__(self, families: Iterable[_Family]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.help, family.kind)
            metric.samples = [
                Sample(name, dict(labels), value)
                for (name, labels), value in family.samples.items()
            ]
            yield metric


def _registry(families: Iterable[_Family]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_All(families))
    return registry
