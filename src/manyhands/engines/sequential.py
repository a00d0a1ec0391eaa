"""The sequential engine: one connection after the other, in the accept loop itself."""

import sys
import threading
from _thread import get_ident
from collections.abc import Collection
from types import FrameType

from manyhands.engines.engine import Engine, Task
from manyhands.runtime.caller import Turn, begin_serving, end_serving
from manyhands.runtime.thread_frames import current_frames
from manyhands.runtime.unpatched import brief_rlock


class SequentialEngine(Engine):
    """Serves each connection in the thread that accepted it; the next one waits in the backlog."""

    name = "sequential"
    knows_its_callers = True

    def __init__(self) -> None:
        super().__init__()
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        # Several threads may serve at once: a program may call `handle_request` in each.
        self._threads: dict[Task, int] = {}
        self._turns: dict[int, Turn] = {}
        self._changed = threading.Condition(brief_rlock())
        self._joining = 0
        """How many threads wait for an end. Few ever do, and each request would pay for the lock."""

    def start(self, task: Task) -> None:
        """Serve `task` to its end."""
        self._threads[task] = get_ident()
        begun = begin_serving(task)
        try:
            task.process_request_thread()
        finally:
            end_serving(begun)
            # A copy of this process that was forked meanwhile has forgotten it.
            self._threads.pop(task, None)
            self._tell_of_end()

    def begin_turns(self) -> Turn | None:
        """Have the caller serve datagrams in turns, without a task for each, until `end_turns`.

        None where it does so already, further up.
        """
        # It stays, for a program that calls `handle_request` again and again.
        thread = get_ident()
        turn = self._turns.get(thread)
        if turn is None:
            turn = self._turns[thread] = Turn()
        elif turn.begun is not None:
            return None
        turn.begun = begin_serving(turn)
        return turn

    def end_turns(self, turn: Turn) -> None:
        """Have the caller serve in turns no longer."""
        end_serving(turn.begun)
        turn.begun = None

    def end_turn(self, turn: Turn) -> None:
        """Tell whatever watches a turn that it is over."""
        turn.end()
        self._tell_of_end()

    def _tell_of_end(self) -> None:
        # After the task has gone: a thread that waits was counted before it looked, or finds it gone.
        if self._joining:
            with self._changed:
                self._changed.notify_all()

    def abandon(self, task: Task) -> None:
        """Count a task no longer; its thread can accept again when it has come to its end."""
        self._threads.pop(task, None)
        for turn in self._turns.copy().values():
            if turn.task is task:
                turn.made_of = None
        self._tell_of_end()

    def _by_task(self) -> dict[Task, int]:
        """Return the tasks under way, and the threads that serve them."""
        in_turns = {turn.task: turn.thread for turn in self._turns.copy().values()}
        in_turns.pop(None, None)
        return self._threads.copy() | in_turns

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks under way: one for each thread that serves, so one, or none."""
        return tuple(self._by_task())

    def frames(self, tasks: Collection[Task]) -> dict[Task, FrameType]:
        """Return the frame on top of each thread that serves one of the tasks."""
        now, threads = current_frames(sys._current_frames), self._by_task()
        return {task: now[threads[task]] for task in tasks if threads.get(task) in now}

    def running(self) -> int:
        """Return how many connections, and datagrams, are being served."""
        return len(self._threads) + len(
            [turn for turn in self._turns.copy().values() if turn.made_of]
        )

    def reap(self) -> None:
        """Do nothing: there are no workers."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait, in another thread than the one that serves, until no connection is being served."""
        here = threading.get_ident()
        with self._changed:
            self._joining += 1
            try:
                return self._changed.wait_for(
                    lambda: all(thread == here for thread in self._by_task().values()), timeout
                )
            finally:
                self._joining -= 1

    def join_workers(self) -> None:
        """Do nothing: a sequential server's handler may well run in the caller, further up."""
