"""A fleet as the threads have it that answer operators."""

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from manyhands.supervisor.fleet import Fleet
from manyhands.supervisor.worker import State

_WORDS = {
    State.FORKING: "starting",
    State.STARTING: "starting",
    State.SERVING: "serving",
    State.DRAINING: "draining",
    State.ENDED: "ended",
}

Done = Callable[[str | None], object]


class WorkerSeen(NamedTuple):
    """One worker at one moment: see `control.fleet.WorkerSeen`."""

    number: int
    pid: int
    generation: int
    state: str
    open: int
    begun: int
    began_at: float
    restarts: int


class Named(Protocol):
    """What tells one worker from all others."""

    @property
    def number(self) -> int:
        """Its number."""

    @property
    def pid(self) -> int:
        """Its process."""


class FleetView:
    """The workers of a supervisor as operators have them: see `control.fleet.Fleet`. Thread-safe.

    Parameters
    ----------
    fleet
        The workers.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def workers(self) -> Sequence[WorkerSeen]:
        """Return those that there are now, of all generations."""
        return [
            WorkerSeen(
                worker.number,
                worker.pid_to_tell,
                worker.generation,
                _WORDS[worker.state],
                worker.deals.open,
                worker.deals.begun,
                worker.began_at,
                generation.restarts_of(worker.number),
            )
            for generation in list(self._fleet.generations.all)
            for worker in generation.all_workers
        ]

    def control_of(self, worker: Named) -> socket.socket | None:
        """Return a stream to a worker's control server, once; None while there is none."""
        for each in self._fleet.workers:
            if each.pid_to_tell == worker.pid and each.number == worker.number:
                return each.take_control()
        return None

    def give_back(self, worker: Named, control: socket.socket | None) -> None:
        """Take back a stream that `control_of` has returned; None where it has broken."""
        for each in self._fleet.workers:
            if each.pid_to_tell == worker.pid and each.number == worker.number:
                each.take_control_back(control)
                return
        if control is not None:
            control.close()  # the worker has ended

    def when_recalled(self, act: Callable[[bool], object]) -> None:
        """Have `act` called when all streams are wanted back, and when that is over."""
        self._fleet.on_recall = act

    def adjust(self, values: Mapping[str, object]) -> None:
        """Have options set like this in workers that are made from now on."""
        self._fleet.adjusted = {**self._fleet.adjusted, **values}

    def worker_of(self, place: int) -> WorkerSeen | None:
        """Return which worker has a connection; None where it is not open."""
        found = {each.pid_to_tell for each in self._fleet.workers if place in each.deals.places}
        return next((each for each in self.workers() if each.pid in found), None)

    def generation(self) -> int:
        """Return the generation that new connections go to."""
        serving = self._fleet.serving
        return 0 if serving is None else serving.number

    def reload(self, done: Done) -> None:
        """Begin to replace all workers by those of a new generation."""
        self._fleet.ask_to_reload(done)

    def upgrade(self, done: Done) -> None:
        """Begin to have another program take the process over."""
        self._fleet.upgrade(done)

    def restart(self, number: int | None, done: Done) -> None:
        """Begin to replace a worker, or all one after the other."""
        self._fleet.ask(lambda: self._fleet.replacing.replace(number, done))

    def scale(self, count: int, done: Done) -> None:
        """Begin to have so many workers."""
        self._fleet.ask(lambda: self._fleet.scale(count, done))
