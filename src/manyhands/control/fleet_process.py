"""The process of a supervisor, as its control socket has it: with the workers that it looks after."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from manyhands.control.event_feed import EventFeed
from manyhands.control.fleet import Key, WorkerSeen, key_of
from manyhands.control.fleet_asker import LATE_STATS, FleetAsker
from manyhands.control.fleet_status import process_use, server_status, worker_row
from manyhands.control.gathering import Answers
from manyhands.control.messages import Refusal
from manyhands.control.process import Controlled, ControlledProcess
from manyhands.control.protocol import Code
from manyhands.control.recent_traffic import RecentTraffic
from manyhands.control.verbs import Asker

if TYPE_CHECKING:
    from manyhands.metrics.workers import WorkerFigures


class FleetProcess(ControlledProcess):
    """The process of a supervisor. Thread-safe.

    Its servers are its own, whose books are those of all workers. What only workers know they are asked.

    Parameters
    ----------
    name, began, traffic, servers
        As of `ControlledProcess`.
    asker
        Asks the workers.
    """

    def __init__(
        self,
        name: str,
        began: float,
        traffic: RecentTraffic,
        servers: Callable[[], Sequence[Controlled]],
        asker: FleetAsker,
    ) -> None:
        super().__init__(name, began, traffic, servers, role="supervisor")
        self.asker = asker
        self.fleet = asker.fleet
        self._worker_figures: WorkerFigures | None = None

    def the_server(self, number: int | None) -> Controlled:
        """Return the server whose workers they are.

        Raises
        ------
        Refusal
            It has another number, or is there no more.
        """
        servers = self.servers(number)
        if not servers:
            raise Refusal(Code.NOT_NOW, "there is no server any more")
        return servers[0]

    def note_watch(self, feed: EventFeed, what: frozenset[str]) -> None:
        """Have the workers watched as long as clients watch."""
        self.asker.note_watch(feed, what)

    def status(self, *, may_write: bool) -> dict[str, Any]:
        """Return how the workers fare, by what they have told last."""
        now = time.monotonic()
        latest = self.asker.latest.copy()
        told = {key: stats for key, stats in latest.items() if now - stats.at < LATE_STATS}
        late = {
            each.number
            for each in self.asker.serving()
            if key_of(each) not in told and now - each.began_at > LATE_STATS
        }
        return self._with_workers(
            super().status(may_write=may_write),
            {key: stats.status for key, stats in told.items()},
            sorted(late),
            max((now - stats.at for stats in told.values()), default=0.0),
        )

    def status_of(self, answers: Answers, *, may_write: bool) -> dict[str, Any]:
        """Return how the workers fare, by what they have answered. For the thread of the asker."""
        self.note_all(answers)
        told = {key_of(worker): status for worker, status in answers.results}
        return self._with_workers(super().status(may_write=may_write), told, answers.missing, 0.0)

    def note_all(self, answers: Answers) -> None:
        """Note how workers fare. For the thread of the asker."""
        for worker, status in answers.results:
            self.asker.note(worker, status)

    def _with_workers(
        self,
        own: dict[str, Any],
        told: dict[Key, dict[str, Any]],
        missing: list[int],
        age: float,
    ) -> dict[str, Any]:
        sums = self.asker.totals.sums()
        statuses = [*told.values()]
        return {
            **own,
            "servers": [server_status(each, statuses, sums, age) for each in own["servers"]],
            "process": process_use(own["process"], statuses, sums),
            "generation": self.fleet.generation(),
            "workers": [self.row(each, told.get(key_of(each))) for each in self.all_workers()],
            "missing": missing,
        }

    def all_workers(self) -> list[WorkerSeen]:
        """Return the workers, those too that cannot be asked, in the order of their numbers."""
        return sorted(self.fleet.workers(), key=lambda each: (each.number, each.generation))

    def figures_with(self, own: str, answers: Answers) -> str:
        """Return the supervisor's figures for Prometheus with the workers'. For the thread of the asker."""
        # Loaded by now, for those of the supervisor.
        from manyhands.metrics.workers import WorkerFigures  # noqa: PLC0415 - an extra, and few ask for it

        if self._worker_figures is None:
            self._worker_figures = WorkerFigures()
        return self._worker_figures.page(
            own,
            {key_of(worker): result["text"] for worker, result in answers.results},
            self.asker.present(),
        )

    @staticmethod
    def row(worker: WorkerSeen, status: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a worker as operators have it."""
        return worker_row(worker, time.monotonic(), status)


def supervisor_of(asker: Asker) -> FleetProcess:
    """Return the process that a client of a supervisor asks about."""
    process = asker.process
    if not isinstance(process, FleetProcess):
        raise TypeError("this is no supervisor")
    return process
