"""Finds workers that hang: by the turns of their accept loops, which they count in the shared page.

Not by a thread that says that it lives: one would go on while the loop hangs.
"""

import contextlib
import os
import signal
from pathlib import Path

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.supervisor.worker import State, Worker
from manyhands.workers.stacks import MOST_STACKS, SIGNAL

INTERVAL = 1.0
"""Seconds between two looks."""

LATE = 1.0
"""Seconds by which a look may be late; by more the whole machine, or this process, was held up, and the time
of the workers stands still."""

FOR_STACKS = 0.5
"""Seconds that a worker gets to tell where its threads stand."""

FOR_ABORT = 1.0
"""Seconds from SIGABRT, which may write a core, to SIGKILL."""

LEAVING = 5.0
"""Seconds beyond its drain that a worker gets to come to its end."""


class Watchdog:
    """Looks after workers that do not turn. For the thread of the supervisor's loop."""

    def __init__(self) -> None:
        self._next_look = 0.0
        self._hung: dict[Worker, float] = {}
        """Those that are being ended, and when the next step is due."""

    def seconds_left(self, now: float) -> float:
        """Return the seconds until the next look."""
        return max(0.0, min([self._next_look, *self._hung.values()]) - now)

    def look(self, workers: list[Worker], timeout: float | None, now: float) -> None:
        """Look at all workers, of which one that stands still for longer than `timeout` seconds is ended."""
        for worker, due in list(self._hung.items()):
            if worker.state is State.ENDED:
                del self._hung[worker]
            elif due <= now:
                self._go_on(worker, now)
        if now < self._next_look:
            return
        late = now - self._next_look if self._next_look else 0.0
        self._next_look = now + INTERVAL
        for worker in workers:
            if late > LATE:
                worker.last_turn_at += late
            self._look_at(worker, timeout, now)

    def _look_at(self, worker: Worker, timeout: float | None, now: float) -> None:
        turns = worker.slot.turns
        if turns != worker.last_turns:
            worker.last_turns, worker.last_turn_at = turns, now
        if worker in self._hung:
            return
        if worker.must_end_at is not None and now >= worker.must_end_at:
            worker.signal(signal.SIGKILL)
        elif (
            timeout is not None
            and worker.turns_while_serving
            and worker.state in {State.SERVING, State.DRAINING}
            and now - worker.last_turn_at > timeout
        ):
            if _is_stopped(worker.pid):
                # By an operator, or a debugger: it goes on when they let it.
                worker.last_turn_at = now
                return
            worker.signal(SIGNAL)
            self._hung[worker] = now + FOR_STACKS

    def _go_on(self, worker: Worker, now: float) -> None:
        if worker.is_aborted:
            worker.signal(signal.SIGKILL)
            self._hung[worker] = now + FOR_ABORT
            return
        worker.is_aborted = True
        if event_hub.has_subscribers:
            stands_for = now - worker.last_turn_at
            event_hub.emit(
                events.WorkerHung(worker.number, worker.pid, stands_for, _stacks_of(worker))
            )
        worker.signal(signal.SIGABRT)
        self._hung[worker] = now + FOR_ABORT


def _stacks_of(worker: Worker) -> str:
    with contextlib.suppress(OSError):
        return os.read(worker.stacks, MOST_STACKS).decode(errors="replace")
    return ""


def _is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped, or traced (the third field in proc_pid_stat(5))."""
    with contextlib.suppress(OSError, IndexError):
        said = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        # The second field is the name, which may have parentheses and blanks in it.
        return said.rpartition(")")[2].split()[0] in {"T", "t"}
    return False
