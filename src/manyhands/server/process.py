"""A server as the purpose of its process: what `Server.run` does besides serving.

SIGINT and SIGTERM stop the server, SIGHUP reloads its certificates, and systemd gets its reports. A server
that is run in another thread than the main one only reports to systemd; one that is started by `start` does
neither.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

from manyhands.runtime.wakeup import WakeUp
from manyhands.server.served_sockets import ServedSockets
from manyhands.server.signals import HandledSignals, Reloadable, SighupHandler
from manyhands.server.systemd import service_of_environment


class ServerProcess:
    """The signals and the reports of a server while `Server.run` is under way.

    For the thread that runs the server; what the accept loop does for it is among the server's chores.
    """

    def __init__(self, sockets: ServedSockets) -> None:
        self._sockets = sockets
        self._service = service_of_environment(sockets)
        self._undo = ExitStack()
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
        sockets.engine.on_child = sockets.let_go
        if threading.current_thread() is not threading.main_thread():
            return nullcontext()
        acts: dict[signal.Signals, Callable[[], None]] = dict.fromkeys(
            (signal.SIGINT, signal.SIGTERM), self._on_stop_signal
        )
        sighup = SighupHandler(sockets.stop, sockets.notice, self._reloadable())
        if sighup.is_needed:
            acts[signal.SIGHUP] = sighup
            self._have_done(sighup.look, sockets.chores)
        signals = HandledSignals(acts, wakeup.signal_fileno())
        sockets.engine.on_child = partial(self._become_a_child, signals)
        return signals

    def _on_stop_signal(self) -> None:
        # The second one is from an operator who does not want to wait for the drain.
        if self._sockets.is_stopping:
            self._sockets.hurry()
        self._sockets.stop()

    def _reloadable(self) -> Reloadable | None:
        # With Type=notify-reload systemd waits for our READY=1, even where there is nothing to read.
        if self._service is not None:
            return self._service
        tls = self._sockets.tls
        return tls if tls is not None and tls.can_reload else None

    def _become_a_child(self, signals: HandledSignals) -> None:
        # The signals first: one that comes in between would stop the child's copy of the server.
        signals.leave_to_the_parent()
        self._sockets.let_go()

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
