"""What SIGHUP means to a running server: its terminal has gone, or somebody wants it to read its files again.

Daemons read again what they were configured with (nginx, gunicorn), and operators send it to anything; a
program at a terminal is to end when that is closed. Both come as the same signal. So it is looked whether the
terminal of the start is still there: the kernel takes it from the processes of a session before it signals
the hang-up (`__tty_hangup` of Linux), and then nobody can open it.
"""

import errno
import os
import signal
from collections.abc import Callable
from typing import Protocol

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import hub

_GONE = frozenset({errno.ENXIO, errno.EIO, errno.ENODEV})
"""What the opening of a terminal fails with that a process has not, or not any more (tty(4))."""


def has_terminal() -> bool:
    """Tell whether this process has a controlling terminal, as far as can be seen."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        # For want of a descriptor, say, nobody is to be taken for gone.
        return error.errno not in _GONE
    return True


class Reloadable(Protocol):
    """What can be told by a signal to read its files again."""

    def reload_soon(self) -> None:
        """Reload at the next turn of the accept loop."""


class HangUp:
    """Acts on SIGHUP. For the main thread; made when the server begins to run.

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
        self.was_in_vain = False
        if hub.has_subscribers:
            hub.emit(events.NothingToReload(signal.SIGHUP.name))
