"""The workers of a server as its supervisor has them: what the verbs of its control socket stand on."""

from collections.abc import Callable, Mapping, Sequence
from socket import socket
from typing import Protocol, TypeAlias

Key: TypeAlias = tuple[int, int]
"""What tells one worker from all others, successors in its slot too: its number, and its process."""

Done: TypeAlias = Callable[[str | None], object]
"""Told of the outcome, by any thread: None, or the sentence that says why it was not done."""

ASKED_STATES = frozenset({"serving", "draining"})
"""The states of workers that answer."""


class WorkerSeen(Protocol):
    """One worker, as its supervisor saw it at one moment. All of it is plain values."""

    @property
    def number(self) -> int:
        """Its slot, from 1; what takes its place has the same."""

    @property
    def pid(self) -> int:
        """Its process."""

    @property
    def generation(self) -> int:
        """Which generation of the program it runs."""

    @property
    def state(self) -> str:
        """``"starting"``, ``"serving"``, ``"draining"`` or ``"ended"``."""

    @property
    def open(self) -> int:
        """How many connections that were dealt to it are open."""

    @property
    def begun(self) -> int:
        """How many it has begun so far."""

    @property
    def began_at(self) -> float:
        """When it was started, by `time.monotonic`."""

    @property
    def restarts(self) -> int:
        """How often its slot was filled anew."""


class Fleet(Protocol):
    """The workers of one server. Thread-safe; nothing here waits."""

    def workers(self) -> Sequence[WorkerSeen]:
        """Return those that there are now, of all generations."""

    def control_of(self, worker: WorkerSeen) -> socket | None:
        """Return a stream to a worker's control server; None while there is none.

        It belongs to the caller, who asks until there is one, and then no more.
        """

    def give_back(self, worker: WorkerSeen, control: socket | None) -> None:
        """Take back a stream of `control_of`, between two messages; None where it has broken."""

    def when_recalled(self, act: Callable[[bool], object]) -> None:
        """Have `act` called, in any thread, when all streams are wanted back, and when that is over."""

    def adjust(self, values: Mapping[str, object]) -> None:
        """Have options set like this in workers that are made from now on."""

    def worker_of(self, place: int) -> WorkerSeen | None:
        """Return which worker has a connection; None where it is not open."""

    def generation(self) -> int:
        """Return the generation that new connections go to."""

    def reload(self, done: Done) -> None:
        """Begin to replace all workers by those of a new generation; `done` hears how that ended."""

    def upgrade(self, done: Done) -> None:
        """Begin to have the program on disk take the process over; `done` hears whether it will."""

    def restart(self, number: int | None, done: Done) -> None:
        """Begin to replace a worker, or all one after the other, without a connection dropped."""

    def scale(self, count: int, done: Done) -> None:
        """Begin to have so many workers."""


def key_of(worker: WorkerSeen) -> Key:
    """Return the key of a worker."""
    return worker.number, worker.pid
