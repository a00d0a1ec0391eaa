"""Which worker reads which socket for datagrams.

Each worker of the generation that serves reads its own. That of a neighbour which is down, or whose accept
loop stands still, it reads too, so that nothing waits there for a successor.
"""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from manyhands.supervisor.channels import Listening
from manyhands.supervisor.generation import Generation
from manyhands.supervisor.worker import State, Worker
from manyhands.supervisor.worker_deals import GONE
from manyhands.workers.records import Lane

STANDS_STILL = 3.0
"""Seconds without a turn of a worker's accept loop, of two in a second, after which a neighbour reads its
socket too."""


class Owner(Protocol):
    """What they need of the fleet."""

    listening: Sequence[Listening]
    is_suspended: Callable[[int], bool]

    @property
    def workers(self) -> list[Worker]:
        """All workers that have not ended."""

    @property
    def serving(self) -> Generation | None:
        """The generation that connections are dealt to."""


class Lanes:
    """Has workers read the sockets for datagrams. For the thread of the supervisor's loop.

    Parameters
    ----------
    owner
        The fleet.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def look(self) -> None:
        """Tell the workers what to read, where that has changed."""
        owner = self._owner
        if owner.serving is None or not any(map(_is_of_datagrams, owner.listening)):
            return
        current = owner.serving.number
        readers = [each for each in owner.workers if each.state is State.SERVING]
        read = {
            each.number
            for each in readers
            if each.generation == current and not _stands_still(each)
        }
        for worker in readers:
            for own, position in enumerate(worker.deals.positions):
                if position == GONE or not _is_of_datagrams(listening := owner.listening[position]):
                    continue
                said = Lane.CLOSED if listening.is_closed else Lane(0)
                is_current = worker.generation == current
                if is_current and not listening.is_closed and not owner.is_suspended(position):
                    said = Lane.OWN
                    if neighbour(worker.number, len(listening.lanes)) not in read:
                        said |= Lane.NEIGHBOURS
                worker.have_read(own, said)


def neighbour(number: int, lanes: int) -> int:
    """Return the number of the worker whose socket a worker can read besides its own, of so many sockets."""
    return number % lanes + 1


def _is_of_datagrams(listening: Listening) -> bool:
    return listening.endpoint.kind == socket.SOCK_DGRAM


def _stands_still(worker: Worker) -> bool:
    return worker.turns_while_serving and time.monotonic() - worker.last_turn_at > STANDS_STILL
