"""The process engine: a forked process for each connection.

The engine knows its own children only. It never calls `waitpid` for another process, so the exit status of a
program's other children is left to the program. Each child is watched through a pidfd (`pidfd_open(2)`,
Linux 5.3), all of them through one epoll descriptor that the accept loop can wait on, so a child is reaped
when it ends. On other systems the accept loop's regular `reap` finds it.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from functools import partial
from types import FrameType
from typing import Any, NoReturn, Protocol

from manyhands.engines.children import Child, ChildWatcher, Lifeline
from manyhands.engines.engine import Engine, Task
from manyhands.engines.question import Again, Question
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime import fork_hooks
from manyhands.runtime.error_reports import warn
from manyhands.runtime.shared_turn import turn_at_terminal
from manyhands.runtime.sockets import descriptor_of, takes_more
from manyhands.runtime.thread_frames import current_frames
from manyhands.runtime.unpatched import (
    brief_rlock,
    count_other_threads,
    native_thread_id,
    original,
    start_native_thread,
)

_OF_FAULTS = {
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS),
}
"""The signals that a thread sends itself, by what it does: to block them is to be killed without a word."""

_BLOCKED = signal.valid_signals() - _OF_FAULTS

_LAST_WORDS_TIMEOUT = 0.5
"""Seconds that a stuck output gets at a child's end for what its handler printed, and has not flushed."""


class Dealing(Protocol):
    """What an engine tells of its processes to what deals what they tell each other."""

    is_used: bool
    """Whether anything was told, so that each process is to attach at its beginning."""

    def prepare(self, task: Task) -> None:
        """Be ready for a process that is forked for a task, and for those after it."""

    def begin_in_child(self, task: Task) -> None:
        """In a process that was forked for a task, and notified before: attach when its handler begins."""

    def attach(self) -> None:
        """In such a process: attach, for it was notified. For signal handlers."""

    def look(self) -> None:
        """Do what is due. For the accept loop."""

    def rest(self) -> None:
        """Give back what is not needed while there are no processes, now or once the last one has ended."""


_LOOK_INTERVAL = 0.001
"""Seconds between two looks for the stack that a child is to tell."""


class ProcessesEngine(Engine):
    """Gives each connection a process of its own.

    A program may have a handler of SIGCHLD, which calls `collect`, in the middle of any line here. So what
    must not be interrupted by that is an errand (`_do`), and `collect` leaves to `reap` whatever may wait.
    """

    name = "processes"

    def __init__(self) -> None:
        super().__init__()
        self.pids: set[int] = set()
        """The process ids of the children under way."""

        self._children: dict[Task, Child] = {}
        self._ended: deque[Child] = deque()
        """The children that have ended, and whose tasks have not been told yet."""

        self._watcher: ChildWatcher | None = None
        self._lifeline: Lifeline | None = None
        self._warned = False
        self.dealing: Dealing | None = None
        """What deals what its processes tell each other, if it has got that."""

        self.wake_loop: Callable[[], object] = _leave_alone
        """Wakes the accept loop, from a worker process too."""

        self.forget()

    def forget(self) -> None:
        """Begin anew: the children are the original's."""
        # Reentrant: a handler of SIGCHLD runs in a thread that may hold it.
        self._lock = brief_rlock()
        self._errands: deque[Callable[[], None]] = deque()
        self._is_at_errands = False
        self._looks = 0
        """How many times the children have been looked at."""

        self._opening: set[Child] = set()
        """The children that are still to tell that their task's handler begins."""

        self._starting: dict[Task, bool] = {}
        """The tasks whose child is just being forked, and whether it is to be killed at once."""

        self._coming: dict[Task, Child] = {}
        """Their children, so that these can be called as soon as they are there."""

        self._ending: dict[Task, int] = {}
        """The tasks that are just told of their child's end, and the threads that tell them."""

        self._question: Question | None = None
        """What all children were asked, while some have not acted on it."""

        self._waiting = 0
        self._carried: Child | None = None
        """In a handler's process, the process itself."""

        # Closed, for Python warns of each socket that is not, in every child (``-X dev``).
        for child in [*self._children.values(), *self._ended]:
            child.drop_kept()
        self._ended.clear()
        # In place: the drop-in's `active_children` is this very set.
        self.pids.clear()
        self._children.clear()
        self._close_watcher()

    def _do(self, errand: Callable[[], None]) -> None:
        """Do an errand, which is brief, now; in a signal handler that interrupts another one, right after it.

        So none is interrupted by another one, and no handler waits for the code that it interrupts.
        """
        with self._lock:
            self._errands.append(errand)
            while self._errands and not self._is_at_errands:
                self._is_at_errands = True
                try:
                    # Looked at again: a handler may have come just before the flag was set.
                    while self._errands:
                        self._errands.popleft()()
                finally:
                    self._is_at_errands = False

    def start(self, task: Task) -> None:
        """Serve `task` in a forked child."""
        self.reap()
        self._warn_of_threads()
        # All that may fail is had before the fork: a handler that runs is not cut off for want of it.
        child = Child(task)
        try:
            while not self._has_got_place(task):
                self._wait(None)
            child.lifeline = self._lifeline_for_orphans()
            if self.dealing is not None:
                self.dealing.prepare(task)
                if self.dealing.is_used:
                    child.ask_to_attach()
                self._coming[task] = child
            self._fork(child)
        finally:
            self._coming.pop(task, None)
            with self._lock:
                was_left = self._starting.pop(task, None) is not None
            if child.pid:
                # Whatever the fork ended in: the caller, which hears of it, may shut down what it still has,
                # and a shutdown is the child's as well.
                task.hand_over(child.kept)
            else:
                child.drop_kept()
            if was_left:
                self.on_room()  # the place of a child that could not be had

    def _has_got_place(self, task: Task) -> bool:
        """Reserve a place for `task`, unless the engine is full."""
        with self._lock:
            if not self.has_room():
                return False
            if self._watcher is None:
                self._watcher = ChildWatcher()
            self._starting[task] = False
            return True

    def _lifeline_for_orphans(self) -> Lifeline | None:
        if self.on_orphan is None:
            return None
        with self._lock:
            if self._lifeline is None:
                # Out of descriptors, the client comes first; the next fork tries again.
                with contextlib.suppress(OSError):
                    self._lifeline = Lifeline()
            return self._lifeline

    def _fork(self, child: Child) -> None:
        """Fork a child. Without the lock: a full pipe, or a fork hook of the program, may wait."""
        # The child would write too what is buffered now. But a stream that is stuck must not hold up the
        # accept loop: better a line twice than no client any more.
        _flush_standard_streams(_leave)
        fork_hooks.prepare_workers()
        # Handlers ask the operator one at a time, be they the first to ask.
        turn_at_terminal.share()
        # The child sets what signals do to it. And in this process a handler of one may look at the
        # children, which must be complete then.
        mask = fork_hooks.change_signal_mask(signal.SIG_BLOCK, _BLOCKED)
        try:
            here, looks = os.getpid(), self._looks
            try:
                if child.fork():
                    self._serve_in_child(child, here, mask)
            finally:
                # Whatever was raised: a child that is there is known from now on. (Signals that another
                # thread receives have their handlers called here all the same.)
                if child.pid:
                    self._do(partial(self._enter, child, looks))
        finally:
            fork_hooks.change_signal_mask(signal.SIG_SETMASK, mask)

    def _enter(self, child: Child, looks: int) -> None:
        """Know a child from now on; the children had been looked at `looks` times before its fork."""
        watcher = self._watcher
        assert watcher is not None  # noqa: S101 - tells the type checker: not closed while a task starts
        # Before its end can be known.
        child.task.note_step(0)
        if child.task.is_to_be_opened:
            self._opening.add(child)
        self._children[child.task] = child
        self.pids.add(child.pid)
        watcher.add(child)
        if self._starting.pop(child.task):
            child.kill()
        if self._looks != looks or child.status is not None:
            # A handler of SIGCHLD has come since the fork: perhaps for this child, of which it did not know.
            self._take_statuses()

    def _serve_in_child(self, child: Child, parent: int, mask: set[int]) -> NoReturn:
        status = 1
        try:
            fork_hooks.set_parent_server(parent)
            self._carried = child
            child.drop_kept()
            self.on_child()
            if self.dealing is not None and child.is_to_attach:
                self.dealing.begin_in_child(child.task)
            if child.lifeline is not None and self.on_orphan is not None:
                # In a thread: the handler may be anywhere when the signal comes, and hold any lock.
                act = partial(
                    start_native_thread, self.on_orphan, child.task, name="manyhands-orphan"
                )
                child.lifeline.watch(act, partial(self._look_up, child))
            fork_hooks.change_signal_mask(signal.SIG_SETMASK, mask)
            status = 0 if child.task.process_request_thread() else 1
        finally:
            self._end_child(child, status)

    def _look_up(self, child: Child, frame: FrameType | None) -> None:
        """Look what the parent has to tell, and wants to know, in the child. By a signal handler."""
        if frame is not None:
            child.tell_stack(frame)
        if self.dealing is not None and child.is_to_attach:
            self.dealing.attach()

    def notifier(self, task: Task) -> Callable[[], None] | None:
        """Have a task's child attach, for it is told something; it looks once what this returns is called.

        Returns
        -------
        callable or None
            None when there is no such child, and when it would not notice.
        """
        child = self._coming.get(task) or self._children.get(task)
        if child is None:
            return None
        if child.is_to_attach:
            return _leave_alone  # it knows: it was asked before its fork
        if child.lifeline is None:
            return None
        child.ask_to_attach()
        return child.lifeline.notify

    def tell_step(self, number: int) -> None:
        """Have the parent know of a step of the task, in its child."""
        if self._carried is not None:
            self._carried.tell_step(number)
            self.wake_loop()

    def _note_steps(self) -> None:
        """Note the steps of which children have told. An errand: of a task that has ended none is noted."""
        for child in list(self._opening):
            if child.task not in self._children:
                self._opening.discard(child)
            elif child.step:
                child.task.note_step(child.step)
                if not child.task.is_to_be_opened:
                    self._opening.discard(child)

    def _end_child(self, child: Child, status: int) -> NoReturn:
        """Tell the parent what came of the task, and end the process, which is the child's."""
        try:
            # Not by the status: that is the program's, which may end the process itself, or become another.
            child.tell(child.task.word_for_parent())
            _flush_standard_streams(_flush_in_time)
        finally:
            # Not sys.exit: it would run the cleanups and the exit functions of the parent.
            os._exit(status)

    def _warn_of_threads(self) -> None:
        if self._warned or threading.active_count() == 1:
            return
        # Not ours, which hold no lock while they wait.
        if (threads := count_other_threads()) > 1:
            self._warned = True
            if event_hub.has_subscribers:
                event_hub.emit(events.ForkedWithThreads(threads))
            warn(
                f"forking a server process while {threads} threads are alive: a lock that another thread "
                "holds now stays locked in the child for ever",
                stacklevel=2,
            )

    @property
    def carried(self) -> Task | None:
        """In a process that the engine has made, the task that it carries."""
        return None if self._carried is None else self._carried.task

    @property
    def tasks(self) -> list[Task]:
        """The tasks under way in children; in one of these its own."""
        if self._carried is not None:
            return [self._carried.task]
        # Without the lock: `list` is one step in C, in which neither a thread nor a handler changes the dict.
        return list(self._children)

    def has_taken(self, task: Task) -> bool:
        """Tell whether `task` has a child, or had one whose end it has not been told yet."""
        with self._lock:
            has_ended = task in self._ending or task in [child.task for child in self._ended]
            return task in self._children or has_ended

    def processes(self) -> dict[Task, int]:
        """Return the process id of each task's child."""
        return {task: child.pid for task, child in self._children.copy().items()}

    def running(self) -> int:
        """Return how many children are under way."""
        with self._lock:
            return len(self._children) + len(self._starting)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a child has ended, until its task has been told."""
        watcher = self._watcher
        return -1 if watcher is None else watcher.fileno()

    def reap(self) -> None:
        """Take the exit status of our own children that have ended, and tell their tasks. Not in handlers."""
        if self._opening:
            self._do(self._note_steps)
        self.collect()
        self.tell_of_ends()
        self._ask_again()
        if self.dealing is not None:
            self.dealing.look()

    def collect(self) -> None:
        """Take the exit status of our own children that have ended. For signal handlers too.

        No task is told, since that takes locks, and calls subscribers. The accept loop does that soon: until
        then the descriptor of `fileno` stays readable.
        """
        if self._watcher is not None:
            self._do(self._take_statuses)

    def _take_statuses(self) -> None:
        self._looks += 1
        watcher = self._watcher
        if watcher is None:
            return
        was_full, is_to_wake = not self.has_room(), False
        for child in watcher.candidates():
            # The status is there already if a handler raised at this place the last time.
            if child.task in self._children and (child.status is not None or child.take_status()):
                # First among these, then out of those: a look without the lock misses none.
                self._ended.append(child)
                del self._children[child.task]
                self.pids.discard(child.pid)
                # The accept loop has to tell its task, and no pidfd wakes it.
                is_to_wake = is_to_wake or child.pidfd < 0
        if is_to_wake or (was_full and self.has_room()):
            self.on_room()

    def tell_of_ends(self) -> None:
        """Tell the tasks whose children have ended. Not in signal handlers.

        What a task raises, which is what a subscriber raised, keeps no other task from being told.
        """
        raised: BaseException | None = None
        while (child := self._next_ended()) is not None:
            try:
                # Without the lock: a subscriber is told of it, and may wait for a thread that needs the lock.
                child.task.worker_ended(child.status or 0, child.told)
            except BaseException as error:  # noqa: BLE001 - raised below
                raised = raised or error
            finally:
                self._ending.pop(child.task, None)  # a copy of the process has forgotten it
        if raised is not None:
            raise raised

    def _next_ended(self) -> Child | None:
        """Take out a child whose task this thread will tell."""
        if not self._ended:
            return None
        with self._lock:
            try:
                child = self._ended.popleft()
            except IndexError:
                return None  # another thread has taken the last one
            self._ending[child.task] = native_thread_id()
            if self._watcher is not None:
                self._do(partial(self._watcher.discard, child))
            return child

    def _wait(self, timeout: float | None) -> None:
        """Sleep until a child may have ended, at most `timeout` seconds; then reap."""
        with self._lock:
            watcher = self._watcher
            self._waiting += 1
        try:
            if watcher is not None:
                watcher.wait(timeout)
        finally:
            with self._lock:
                self._waiting -= 1
        self.reap()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no child is under way."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self.reap()
        while self._is_busy():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._wait(left)
        with self._lock:
            # Other threads that wait with it still need it.
            has_none = not (self.running() or self._waiting or self._ended or self._ending)
            if has_none:
                self._do(self._close_watcher)
        if has_none and self.dealing is not None:
            self.dealing.rest()
        return True

    def _is_busy(self) -> bool:
        """Tell whether a child is under way, or its task still to be told, but by a subscriber that asks."""
        with self._lock:
            is_ending_elsewhere = set(self._ending.values()) - {native_thread_id()}
            return bool(self.running() or self._ended or is_ending_elsewhere)

    def _close_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
        # Not closed here: in a child, for which it is, it is still to be watched.
        self._lifeline = None

    def release(self) -> None:
        """Give back what leads to the processes, once the last one has ended: `join` need not be called."""
        if self.dealing is not None:
            self.dealing.rest()

    def ask_to_end(self, task: Task) -> None:
        """Shut the connection down, which the child has too."""
        task.cut_off()

    def abandon(self, task: Task) -> None:
        """Kill the child that carries `task`; be it the caller."""
        if self._carried is not None and task is self._carried.task:
            self._end_child(self._carried, 1)
        self.end(task)

    def end(self, task: Task) -> None:
        """Kill the child that carries `task`, and shut down what this process still has of its connection."""
        # An errand: between the look at the child and the signal no handler can have its status taken.
        self._do(partial(self._kill, task))
        task.cut_off()

    def ask_children(self, number: signal.Signals) -> None:
        """Send all children a signal, and send it again to each that does not call `act_if_asked` for it."""

        def send(child: Child) -> None:
            self._do(partial(child.signal, number))

        self._question = Question(self._children.copy().values(), send)
        self._ask_again()

    def _ask_again(self) -> None:
        question = self._question
        if question is not None and question.look() and self._question is question:
            self._question = None

    def act_if_asked(self, act: Callable[[], bool]) -> None:
        """Call `act` in a child, once for each question of its parent's; False leaves that unanswered."""
        if self._carried is not None:
            self._carried.act_if_asked(act)

    def stacks_elsewhere(self, tasks: Collection[Task], seconds: float) -> dict[Task, list[str]]:
        """Ask the children of tasks; of one that computes in C, or has no lifeline, no answer comes."""
        known = (self._children.get(task) for task in tasks)
        children = [each for each in known if each is not None and each.lifeline is not None]
        sleep, now = original(time, "sleep"), time.monotonic()
        for child in children:
            child.ask_for_stack(now)
        told: dict[Task, list[str]] = {}
        again = Again()
        while children and time.monotonic() < now + seconds:
            if again.is_due():
                _notify(children)
            found = {child.task: child.stack_since(now) for child in children}
            told |= {task: stack for task, stack in found.items() if stack is not None}
            children = [child for child in children if child.task not in told]
            if children:
                sleep(_LOOK_INTERVAL)
        return told

    def frames(self, tasks: Collection[Task]) -> dict[Task, FrameType]:
        """Return, in a handler's process, the frame on top of the thread of its task."""
        if self._carried is None or self._carried.task not in tasks:
            return {}
        now = current_frames(sys._current_frames)
        return {self._carried.task: now[threading.main_thread().ident or 0]}

    def _kill(self, task: Task) -> None:
        if task in self._starting:
            self._starting[task] = True
        child = self._children.get(task)
        if child is not None:
            child.kill()


def _notify(children: Iterable[Child]) -> None:
    """Have children look at what their parent wants of them."""
    for lifeline in {child.lifeline for child in children}:
        if lifeline is not None:
            lifeline.notify()


def _flush_standard_streams(when_stuck: Callable[[Any], object]) -> None:
    for stream in (sys.stdout, sys.stderr):
        descriptor = descriptor_of(stream)
        try:
            if descriptor >= 0 and not takes_more(descriptor):
                when_stuck(stream)
            else:
                stream.flush()
        except (AttributeError, ValueError, OSError):
            # None (a daemon), closed, or a broken pipe: nothing to flush to.
            continue


def _leave_alone() -> None:
    """Do nothing."""


def _leave(stream: Any) -> None:
    """Do not flush a stream: its lock may even be held by a thread that is stuck in it."""


def _flush_in_time(stream: Any) -> None:
    """Flush what a handler printed, if anything; its process does not stay for a stream that takes no more.

    Raises
    ------
    TimeoutError
        When the stream has not taken it in time.
    """

    def give_up(*_: object) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    fork_hooks.change_signal_mask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, _LAST_WORDS_TIMEOUT)
    try:
        stream.flush()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
