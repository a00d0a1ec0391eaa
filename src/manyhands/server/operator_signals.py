"""What signals mean to a server besides its end: SIGUSR1 and SIGQUIT ask where the handlers stand.

By default each of the four here ends the process in the middle of everything. A signal that has a handler of
the program's, be it one of `faulthandler.register`, or is ignored, is left alone.
"""

import contextlib
import signal
from collections import deque
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from manyhands.connections.connection import Connection
from manyhands.engines import Engine, ProcessesEngine
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import Event, event_hub
from manyhands.runtime.error_reports import say
from manyhands.runtime.unpatched import start_native_thread
from manyhands.serving.stack_location import stack_texts

_FOR_STACKS = (signal.SIGUSR1, signal.SIGQUIT)

SIGNALS_OF_OPERATORS = (*_FOR_STACKS, signal.SIGUSR2)
"""Those after which a server goes on."""


class SignalledServer(Protocol):
    """A server that signals come to."""

    @property
    def engine(self) -> Engine:
        """What carries its handlers."""

    def ask_workers_for_stacks(self) -> bool:
        """Have the workers tell where their handlers stand; return False where there are none."""

    def notice(self) -> None:
        """Have the accept loop, or the drain, look around."""


class OperatorSignals:
    """The meaning of SIGUSR1, SIGQUIT, SIGUSR2 and SIGALRM to one server. Made in the main thread.

    Parameters
    ----------
    server
        The server.
    stop
        Asks for its end, and returns at once.

    Notes
    -----
    A signal handler takes no lock and emits no event, for it may interrupt code that holds the lock: a thread
    of the system's does so, or else `look`.
    """

    def __init__(self, server: SignalledServer, stop: Callable[[], None]) -> None:
        self._server = server
        self._due: dict[signal.Signals, Callable[[], None]] = {}
        self._is_telling = False
        """Whether a thread tells stacks."""

        self._to_tell: deque[Callable[[], None]] = deque(maxlen=1)
        """What that thread is to tell next: of several that ask meanwhile the last."""

        self.acts: dict[signal.Signals, Callable[[], None]] = {}
        """What each of the signals does that are this server's."""

        # By default it is ignored, also by a program that a handler's process has just become (`os.exec*`).
        self._for_children = [signal.SIGURG] if _is_free(signal.SIGURG) else []

        for number in _FOR_STACKS:
            self._add(number, partial(self._ask_for_stacks, number))
        ignore = partial(self._ignore, signal.SIGUSR2)
        self._add(signal.SIGUSR2, partial(self._have_done, signal.SIGUSR2, ignore))
        # Of `alarm(2)`, set before the program was started: its time is over.
        self._add(signal.SIGALRM, stop)

    def _add(self, number: signal.Signals, act: Callable[[], None]) -> None:
        if _is_free(number):
            self.acts[number] = act

    def in_child(self) -> dict[signal.Signals, Any]:
        """Return the handlers of a forked handler's process that differ from "take no notice".

        SIGALRM is its own there: handlers call `alarm`. To SIGQUIT it does not listen, which a terminal sends
        to its parent as well, and that asks then.
        """
        # Without a thread nothing is told: the handler may be anywhere, and hold any lock.
        tell, engine = partial(self._tell_in_thread, self._tell_own), self._server.engine
        handlers: dict[signal.Signals, Any] = {}
        if signal.SIGUSR1 in self.acts:
            handlers[signal.SIGUSR1] = lambda *_: tell()
        if isinstance(engine, ProcessesEngine):
            # The parent sends it until it is heeded.
            handlers |= {each: lambda *_: engine.act_if_asked(tell) for each in self._for_children}
        if signal.SIGALRM in self.acts:
            handlers[signal.SIGALRM] = signal.SIG_DFL
        return handlers

    def _tell_in_thread(self, tell: Callable[[], None]) -> bool:
        """Have a thread of the system's call `tell`, one at a time; return False when there is none.

        What asks while it tells has it tell once more, however many these are.
        """
        # Before the look: the thread that tells looks for it after its last word.
        self._to_tell.append(tell)
        if self._is_telling:
            return True

        def tell_as_asked() -> None:
            is_asked = True
            while is_asked:
                self._is_telling = True
                try:
                    for act in self._taken():
                        act()
                finally:
                    self._is_telling = False
                is_asked = bool(self._to_tell)

        self._is_telling = True
        try:
            start_native_thread(tell_as_asked, name="manyhands-stacks")
        except (RuntimeError, MemoryError):
            self._is_telling = False
            self._to_tell.clear()
            return False
        return True

    def _taken(self) -> list[Callable[[], None]]:
        """Take what is to be told, in one step: another thread may have taken it."""
        with contextlib.suppress(IndexError):
            return [self._to_tell.pop()]
        return []

    def _have_done(self, number: signal.Signals, act: Callable[[], None]) -> None:
        """Have it done by the accept loop, or by the drain; once, however often the signal has come."""
        self._due[number] = act
        self._server.notice()

    def leave_to_the_supervisor(self, number: signal.Signals) -> None:
        """Have a signal mean nothing here, where it is this server's: the supervisor gets it too."""
        if number in self.acts:
            self.acts[number] = leave_it_to_the_supervisor

    def _ask_for_stacks(self, number: signal.Signals) -> None:
        self._have_told(number, partial(self._tell, number))

    def tell_handlers(self) -> None:
        """Have it told where each handler stands, for a supervisor has been asked. Thread-safe; waits not."""
        self._have_told(signal.SIGUSR1, self._tell_handlers)

    def _have_told(self, number: signal.Signals, tell: Callable[[], None]) -> None:
        # A process that forks should have no second thread, and a supervisor's workers are its loop's.
        # Elsewhere the accept loop may be held up by the very handler that is looked for.
        is_for_loop = self._server.engine.name in {"processes", "workers"}
        if is_for_loop or not self._tell_in_thread(tell):
            self._have_done(number, tell)

    def look(self) -> None:
        """Do what is due. For the accept loop and the drain."""
        while self._due:
            _, act = self._due.popitem()
            act()

    def _ignore(self, number: signal.Signals) -> None:
        _emit(events.SignalIgnored(number.name))

    def _tell_own(self) -> None:
        _tell_stacks(self._server.engine)

    def _tell(self, number: signal.Signals) -> None:
        _emit(events.StacksFollow(number.name, self._server.engine.running()))
        if not self._server.ask_workers_for_stacks():
            self._tell_handlers()

    def _tell_handlers(self) -> None:
        engine = self._server.engine
        if isinstance(engine, ProcessesEngine):
            for question in self._for_children:
                engine.ask_children(question)
        else:
            _tell_stacks(engine)


def _is_free(number: signal.Signals) -> bool:
    """Tell whether a signal has its default action, and no handler of C code either."""
    if signal.getsignal(number) is not signal.SIG_DFL:
        return False
    # Python knows its own handlers alone, and would put the default in the place of another one afterwards.
    # The kernel knows each signal that is caught (SigCgt in proc_pid_status(5)).
    caught = 0
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        caught = int(next((line[7:] for line in lines if line.startswith("SigCgt:")), "0"), 16)
    return not caught >> (number - 1) & 1


def _tell_stacks(engine: Engine) -> None:
    """Tell where each handler stands that this process serves."""
    stacks = stack_texts(engine)
    connections = [task for task in stacks if isinstance(task, Connection)]
    for connection in sorted(connections, key=attrgetter("number")):
        peer, age, stack = connection.client_address, connection.age, stacks[connection]
        _emit(events.HandlerStack(connection.number, peer, connection.handler, age, stack))


def _emit(event: Event) -> None:
    if event_hub.has_subscribers:
        event_hub.emit(event)
    else:
        # Asked for by an operator: without a log it goes where the operator may look.
        say(f"manyhands: {event}\n")


def leave_it_to_the_supervisor() -> None:
    """Do what a signal means to a worker whose supervisor gets it too: nothing."""


def take_no_notice(number: int, frame: FrameType | None) -> None:
    """Be the handler of a signal that means nothing here."""
