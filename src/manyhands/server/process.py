"""A server as the purpose of its process: what `Server.run` does besides serving.

SIGINT and SIGTERM stop the server, SIGHUP reloads its certificates, and systemd gets its reports. A server
that is run in another thread than the main one only reports to systemd; one that is started by `start` does
neither.

A forked copy of the process inherits the signal handlers. In one that the program forks itself (`os.fork`,
a pool of `multiprocessing`) ours would make it deaf: `terminate()` would stop nothing, and `join` would wait
for ever. So in such a copy the handlers are again those from before the server ran.
"""

import atexit
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from types import FrameType
from typing import Any, Self

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime.caller import is_main_thread
from manyhands.runtime.fork_hooks import change_signal_mask
from manyhands.runtime.wakeup import WakeUp, put_back_wakeup_fd
from manyhands.server.operator_signals import (
    SIGNALS_OF_OPERATORS,
    OperatorSignals,
    leave_it_to_the_supervisor,
    take_no_notice,
)
from manyhands.server.served_sockets import Reloadable, ServedSockets
from manyhands.server.systemd import service_of_environment
from manyhands.workers import early_signals

_NO_TERMINAL = frozenset({errno.ENXIO, errno.EIO, errno.ENODEV})
"""The errnos of opening /dev/tty in a process without a terminal, or whose terminal has gone (tty(4))."""


class _End:
    """What signals do once the servers of this process have stopped."""

    ends_process = False
    """Whether the process is there for its servers, and ends with them."""


def end_with_servers() -> None:
    """Note that this process ends with its servers: their signals harm it no more from then on.

    For a command. SIGALRM, SIGHUP and those that ask for stacks would kill it, after it has served.
    """
    _End.ends_process = True
    ignore_signals_at_exit()


def ignore_signals_at_exit() -> None:
    """Have a server's signals ignored from the interpreter's exit functions on. For signal handlers too.

    Of a process that has been asked to stop, and has stopped, one more signal is no failure.
    """
    atexit.unregister(_ignore_signals)
    atexit.register(_ignore_signals)


def _ignore_signals() -> None:
    # Ignored, and not handled: the interpreter puts the system's way in the place of handlers at its end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGHUP, signal.SIGALRM, *SIGNALS_OF_OPERATORS):
        handler = signal.getsignal(number)
        is_ours = isinstance(getattr(handler, "__self__", None), HandledSignals)
        if is_ours or handler in {signal.SIG_DFL, take_no_notice}:
            signal.signal(number, signal.SIG_IGN)


class HandledSignals:
    """Signal handlers that are installed for the time of a context. For the main thread.

    Parameters
    ----------
    acts
        The function that each signal calls.
    wakeup_fd : int, optional
        The descriptor to which each signal writes a byte (`signal.set_wakeup_fd`), whichever thread gets it;
        None: the one that is set.
    """

    def __init__(
        self, acts: Mapping[signal.Signals, Callable[[], None]], wakeup_fd: int | None = None
    ) -> None:
        self._acts = acts
        self._wakeup_fd = wakeup_fd
        self._woken_before = -1
        self._before: dict[signal.Signals, Any] = {}
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._install(dict.fromkeys(self._acts, self._act))
        if self._wakeup_fd is not None:
            self._woken_before = signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        if self not in _in_force:
            return  # in a forked copy, which has the handlers from before
        if self._wakeup_fd is not None:
            put_back_wakeup_fd(self._woken_before)
        for number, handler in self._before.items():
            would_kill = handler is signal.SIG_DFL and _End.ends_process
            _put_back(number, take_no_notice if would_kill else handler)
        _in_force.remove(self)

    def leave_to_the_parent(self, others: Mapping[signal.Signals, Any]) -> None:
        """Have a forked handler's process take no notice of the signals: its parent gets them too.

        A terminal sends SIGINT and SIGHUP to the whole process group. `others` are the handlers of those that
        are of use here.
        """
        # Not SIG_IGN: programs that the handler starts would inherit it through exec (signal(7)).
        self._install({**dict.fromkeys(self._acts, take_no_notice), **others})

    def _install(self, handlers: dict[signal.Signals, Any]) -> None:
        self._handlers = handlers
        self._before = {number: signal.signal(number, act) for number, act in handlers.items()}
        _in_force.append(self)

    def _act(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as `signal` calls it
        self._acts[signal.Signals(number)]()

    @property
    def numbers(self) -> set[signal.Signals]:
        """The signals that have handlers here."""
        return set(self._acts)

    def end_in_copy(self) -> None:
        """In a forked copy of the process, put back the handlers from before."""
        if self._wakeup_fd is not None:
            put_back_wakeup_fd(self._woken_before)
        for number, handler in self._before.items():
            # A handler that the program has installed meanwhile stays.
            if signal.getsignal(number) == self._handlers[number]:
                _put_back(number, handler)


_in_force: list[HandledSignals] = []


def _put_back(number: signal.Signals, handler: Any) -> None:
    # None: a handler that C code had installed (`signal.getsignal`), which Python cannot put back.
    signal.signal(number, signal.SIG_DFL if handler is None else handler)


_blocked = threading.local()


def _block() -> None:
    """Block the handled signals around a fork.

    A new child forgets signals that have come to Python and not yet to their handlers
    (`PyOS_AfterFork_Child`). Blocked, one that is sent to it so early stays pending until the child has the
    handlers from before.
    """
    if _in_force:
        handled = set().union(*(signals.numbers for signals in _in_force))
        # For each thread: two of them may fork at the same time.
        _blocked.mask = change_signal_mask(signal.SIG_BLOCK, handled)


def _unblock() -> None:
    mask = vars(_blocked).pop("mask", None)
    if mask is not None:
        change_signal_mask(signal.SIG_SETMASK, mask)


def _put_back_in_copy() -> None:
    while _in_force:
        _in_force.pop().end_in_copy()
    _unblock()


# Not the common fork hook, which runs after the fork only: the signals must be blocked before. For a forked
# handler of ours the server installs `leave_to_the_parent` afterwards.
os.register_at_fork(
    before=_block,
    after_in_parent=_unblock,
    after_in_child=_put_back_in_copy,
)


@contextmanager
def answering_operators(sockets: ServedSockets) -> Iterator[None]:
    """Have `OperatorSignals` mean what they do to a server for the time of a context. In the main thread."""
    others = OperatorSignals(sockets, sockets.stop)
    both = (sockets.chores, sockets.drain_chores)
    for chores in both:
        chores.append(others.look)
    try:
        with HandledSignals(others.acts):
            yield
    finally:
        for chores in both:
            chores.remove(others.look)


def has_controlling_terminal() -> bool:
    """Return whether this process has a controlling terminal; True where that cannot be found out."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        # EMFILE, for one, does not say that the terminal has gone: to stop the server for that would be
        # wrong.
        return error.errno not in _NO_TERMINAL
    return True


def keep_signals_of_start(stop: Callable[[], object]) -> None:
    """Keep the signals that come to a supervisor until its handlers are there. For the main thread.

    The end of the terminal calls `stop` at once. `listen` is to follow, and then `handling_signals`.
    """
    had_terminal = has_controlling_terminal()

    def is_hangup(number: int) -> bool:
        is_it = number == signal.SIGHUP and had_terminal and not has_controlling_terminal()
        if is_it:
            stop()
        return is_it

    early_signals.note_what_would_kill(is_hangup)


def listen_keeping_signals(sockets: ServedSockets) -> None:
    """Have a server listen that `run` serves; what signals ask of a supervisor meanwhile is done later.

    For what it raises, see `Server.listen`.
    """
    if sockets.is_supervisor and is_main_thread():
        keep_signals_of_start(sockets.stop)
    try:
        sockets.listen()
    except BaseException:
        early_signals.leave()
        raise


class SighupHandler:
    """The handler of SIGHUP. For the main thread; made when the server begins to run.

    The signal has two meanings. To a daemon an operator sends it for a reload, as to nginx or gunicorn. To a
    program at a terminal the kernel sends it when the terminal is closed, and the program is to end. So the
    handler looks whether the terminal of the start is still there: the kernel takes it from the processes of
    the session before it sends the signal (`__tty_hangup` in Linux's ``drivers/tty/tty_io.c``).

    Parameters
    ----------
    stop
        Asks the server to stop. Called more than once: the shell signals its jobs, and then the kernel does.
    notice
        Wakes the accept loop.
    reloadable : Reloadable or None
        The object to reload, if there is one.

    Notes
    -----
    A call takes no lock and emits no event, for it may interrupt code that holds the lock; `look` emits
    later.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        notice: Callable[[], None],
        reloadable: Reloadable | None,
    ) -> None:
        before = signal.getsignal(signal.SIGHUP)
        self._stop = stop
        self._notice = notice
        self._reloadable = reloadable
        self._ends_with_terminal = before is not signal.SIG_IGN and has_controlling_terminal()
        self.is_needed = reloadable is not None or before is signal.SIG_DFL
        """Whether to install it: a SIGHUP that is ignored (`nohup`), or has a handler of the program's, is
        left alone unless there is something to reload."""

        self._was_in_vain = False  # a reload was asked for, and there is nothing to reload

    def __call__(self) -> None:
        """Stop the server when its terminal has gone, else reload."""
        if self._ends_with_terminal and not has_controlling_terminal():
            self._stop()
            return
        if self._reloadable is None:
            self._was_in_vain = True
        else:
            self._reloadable.reload_soon()
        self._notice()

    def look(self) -> None:
        """Emit the event that the signal handler could not emit. For the accept loop."""
        if self._was_in_vain:
            self._was_in_vain = False
            if event_hub.has_subscribers:
                event_hub.emit(events.NothingToReload(signal.SIGHUP.name))


class ServerProcess:
    """The signals and the reports of a server while `Server.run` is under way.

    For the thread that runs the server; what the accept loop does for it is among the server's chores.
    """

    def __init__(self, sockets: ServedSockets) -> None:
        self._sockets = sockets
        # A worker's supervisor is the service.
        self._service = None if sockets.is_worker else service_of_environment(sockets)
        self._undo = ExitStack()
        self._came: list[int] = []
        """The signals that came before their handlers were there, in a process that was taken over."""

        if self._service is not None:
            self._have_done(self._service.look, sockets.chores)
            self._have_done(self._service.draining, sockets.drain_chores)

    def _have_done(self, chore: Callable[[], object], chores: list[Callable[[], object]]) -> None:
        chores.append(chore)
        self._undo.callback(chores.remove, chore)

    def leave(self) -> None:
        """Have nothing more done for the process: the next run may have its own by now."""
        self._undo.close()

    def handling_signals(self, wakeup: WakeUp) -> AbstractContextManager[object]:
        """Handle signals for the time of the context; Python allows that in the main thread alone."""
        sockets = self._sockets
        # In any thread: a forked child that kept the listeners open would keep their port.
        sockets.engine.on_child = sockets.close_copies
        if not is_main_thread():
            return nullcontext()
        # First, for what follows looks whose handlers there are.
        self._came = early_signals.leave()
        acts: dict[signal.Signals, Callable[[], None]] = dict.fromkeys(
            (signal.SIGINT, signal.SIGTERM), self._on_stop_signal
        )
        if sockets.is_worker:
            # A terminal sends these to all processes: the supervisor tells what follows. SIGTERM alone is the
            # worker's too, as of a service manager that ends all.
            acts |= dict.fromkeys((signal.SIGINT, signal.SIGHUP), leave_it_to_the_supervisor)
        else:
            sighup = SighupHandler(self._stop, sockets.notice, self._reloadable())
            if sighup.is_needed:
                acts[signal.SIGHUP] = sighup
                self._have_done(sighup.look, sockets.chores)
        others = OperatorSignals(sockets, self._stop)
        if sockets.has_upgrades and signal.SIGUSR2 in others.acts:
            others.acts[signal.SIGUSR2] = sockets.upgrade_soon
        self._have_done(others.look, sockets.chores)
        self._have_done(others.look, sockets.drain_chores)
        if sockets.is_worker:
            others.leave_to_the_supervisor(signal.SIGQUIT)
            sockets.answer_for_stacks(others.tell_handlers)
        signals = HandledSignals({**acts, **others.acts}, wakeup.signal_fileno())
        sockets.engine.on_child = partial(self._become_a_child, signals, others.in_child())
        return signals

    def heed_early_signals(self) -> None:
        """Do what signals ask for that came before their handlers were there."""
        early_signals.send_again(self._came)

    def _on_stop_signal(self) -> None:
        # The second one is from an operator who does not want to wait for the drain.
        if self._sockets.is_stopping:
            self._sockets.hurry()
        self._stop()

    def _stop(self) -> None:
        ignore_signals_at_exit()
        self._sockets.stop_here()

    def _reloadable(self) -> Reloadable | None:
        # With Type=notify-reload systemd waits for our READY=1, even where there is nothing to read.
        if self._service is not None:
            return self._service
        return self._sockets.reloadable

    def _become_a_child(
        self, signals: HandledSignals, others: Mapping[signal.Signals, Any]
    ) -> None:
        signals.leave_to_the_parent(others)
        self._sockets.close_copies()

    @contextmanager
    def told_to_systemd(self) -> Iterator[None]:
        """Report to systemd, if it listens, that the server is ready, and afterwards that it stops."""
        if self._service is None:
            yield
            return
        self._service.ready()
        try:
            yield
        finally:
            self._service.stopping()
