"""What signals do while a server runs: in its own process, and in the copies that are made of it.

A copy inherits the handlers of signals. In a process that the program forks itself (`os.fork`, a pool of
`multiprocessing`) ours would make it deaf: `terminate()` would stop nothing, and a `join` would wait for
ever. So there the signals do again what they did before the server ran.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Protocol, Self

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import hub

_NO_TERMINAL = frozenset({errno.ENXIO, errno.EIO, errno.ENODEV})
"""What opening its terminal fails with in a process that has none, or none any more (tty(4))."""


class HandledSignals:
    """Has signals stop a server, or do what else it does on them. For the main thread.

    Parameters
    ----------
    acts
        What to call for each signal.
    wakeup_fd : int
        What each signal writes to (`signal.set_wakeup_fd`), whichever thread it reaches.
    """

    def __init__(self, acts: Mapping[signal.Signals, Callable[[], None]], wakeup_fd: int) -> None:
        self._acts = acts
        self._wakeup_fd = wakeup_fd
        self._woken_before = -1
        self._before: dict[signal.Signals, Any] = {}
        self._handler: object = None

    def __enter__(self) -> Self:
        self._install(self._act)
        self._woken_before = signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        if self not in _in_force:
            return  # in a copy, where all is as it was before
        signal.set_wakeup_fd(self._woken_before)
        for number, handler in self._before.items():
            _put_back(number, handler)
        _in_force.remove(self)

    def leave_to_the_parent(self) -> None:
        """Have a handler's process go on when the whole group is signalled: its parent drains."""
        # Not SIG_IGN, which would be inherited by programs that the handler starts.
        self._install(_take_no_notice)

    def _install(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self._handler = handler
        self._before = {number: signal.signal(number, handler) for number in self._acts}
        _in_force.append(self)

    def _act(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the hook's form
        self._acts[signal.Signals(number)]()

    @property
    def numbers(self) -> set[signal.Signals]:
        """The signals that it handles."""
        return set(self._acts)

    def end_in_copy(self) -> None:
        """Have the signals do again what they did before, in a copy of the process."""
        signal.set_wakeup_fd(self._woken_before)
        for number, handler in self._before.items():
            # What the program has installed meanwhile is its own.
            if signal.getsignal(number) == self._handler:
                _put_back(number, handler)


_in_force: list[HandledSignals] = []


def _take_no_notice(number: int, frame: FrameType | None) -> None:
    pass


def _put_back(number: signal.Signals, handler: Any) -> None:
    # None: a handler that is not Python's own, and cannot be put back from here.
    signal.signal(number, signal.SIG_DFL if handler is None else handler)


_held_back = threading.local()


def _hold_back() -> None:
    """Have no signal reach a copy before it is told that it is one: Python forgets those at its start."""
    if _in_force:
        handled = set().union(*(signals.numbers for signals in _in_force))
        _held_back.mask = signal.pthread_sigmask(signal.SIG_BLOCK, handled)


def _let_come() -> None:
    mask = vars(_held_back).pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _do_in_a_copy_what_was_done_before() -> None:
    while _in_force:
        _in_force.pop().end_in_copy()
    _let_come()


# Not the common fork hook: the signals have to be held back from before the fork. `Server` says afterwards
# when it was for one of its handlers.
os.register_at_fork(
    before=_hold_back,
    after_in_parent=_let_come,
    after_in_child=_do_in_a_copy_what_was_done_before,
)


def has_terminal() -> bool:
    """Tell whether this process has a controlling terminal, as far as can be seen."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        # For want of a descriptor, say, the terminal is not to be taken for gone.
        return error.errno not in _NO_TERMINAL
    return True


class Reloadable(Protocol):
    """What can be told by a signal to read its files again."""

    def reload_soon(self) -> None:
        """Reload at the next turn of the accept loop."""


class HangUp:
    """Acts on SIGHUP. For the main thread; made when the server begins to run.

    Daemons read again what they were configured with (nginx, gunicorn), and operators send it to anything; a
    program at a terminal is to end when that is closed. Both come as the same signal. So it is looked
    whether the terminal of the start is still there: the kernel takes it from the processes of a session
    before it signals the hang-up (`__tty_hangup` of Linux), and then no process can open it.

    Parameters
    ----------
    stop
        Asks the server for its end. Called more than once: a shell tells its jobs, and then the kernel does.
    notice
        Has the accept loop turn.
    reloadable : Reloadable or None
        What can be reloaded, if anything.

    Notes
    -----
    A call takes no lock, as signal handlers must not; `look` says later what there is to say.
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
        self._ends = before is not signal.SIG_IGN and has_terminal()
        self.is_wanted = reloadable is not None or before is signal.SIG_DFL
        """Whether the signal is ours: one that is ignored (`nohup`), or has a handler, is left alone, unless
        there is something to reload."""

        self.was_in_vain = False
        """Whether a reload was asked for, and there is nothing to read."""

    def __call__(self) -> None:
        """Do what the signal asks for."""
        if self._ends and not has_terminal():
            self._stop()
            return
        if self._reloadable is None:
            self.was_in_vain = True
        else:
            self._reloadable.reload_soon()
        self._notice()

    def look(self) -> None:
        """Say what could not be said in the signal handler. For the accept loop."""
        if self.was_in_vain:
            self.was_in_vain = False
            if hub.has_subscribers:
                hub.emit(events.NothingToReload(signal.SIGHUP.name))
