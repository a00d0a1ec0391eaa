"""What is told of a worker that has ended by itself, or was killed; and of what one has cut off."""

import contextlib
import signal

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.serving.drain import CutOff
from manyhands.supervisor.worker import Worker

MOST_TOLD = 10
"""Connections that a worker has cut off of which each is described."""


def tell_of_death(worker: Worker, status: int | None, lost: int, dealt_again: int) -> None:
    """Tell that a worker has died, how, and what became of its connections."""
    if event_hub.has_subscribers:
        how = how_ended(status).removeprefix(", ") or "how is not known"
        event_hub.emit(
            events.WorkerDied(
                worker.number,
                worker.pid,
                worker.generation,
                worker.failure or how,
                lost,
                dealt_again,
            )
        )


def tell_of_cut_off(worker: Worker) -> None:
    """Tell of the connections that a worker has cut off which has left, while the server goes on."""
    if worker.left and event_hub.has_subscribers:
        first = "\n".join(str(CutOff(*each)) for each in sorted(worker.left)[:MOST_TOLD])
        event_hub.emit(
            events.WorkerCutOff(
                worker.number, worker.pid, worker.generation, len(worker.left), first
            )
        )


def how_ended(status: int | None) -> str:
    """Return how a process has ended, as it goes on after a comma; nothing where it is not known."""
    if status is None:
        return ""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f", by {signal.Signals(-status).name}"
        return f", by signal {-status}"
    return f", with the status {status}"
