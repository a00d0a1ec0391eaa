"""Being the process: what `Server.run` does besides serving.

Signals end the server, SIGHUP has it read its files again, and systemd is told how it fares. A server that is
started by `start`, or run in another thread than the main one, does nothing of this but tell systemd.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from manyhands.runtime.wakeup import WakeUp
from manyhands.server.served_sockets import ServedSockets
from manyhands.server.signals import HandledSignals, HangUp, Reloadable
from manyhands.server.systemd import service_of_environment


class ServerProcess:
    """A server as the purpose of its process, while `Server.run` is under way.

    For the thread that runs the server; what the accept loop does for it is among the server's chores.
    """

    def __init__(self, sockets: ServedSockets) -> None:
        self._sockets = sockets
        self._service = service_of_environment(sockets)
        self._chores: list[Callable[[], object]] = []
        sockets.on_drain_turn = self._note_draining
        if self._service is not None:
            self._have_done(self._service.look)

    def _have_done(self, chore: Callable[[], object]) -> None:
        self._chores.append(chore)
        self._sockets.chores.append(chore)

    def leave(self) -> None:
        """Have the accept loop do nothing more for the process."""
        for chore in self._chores:
            self._sockets.chores.remove(chore)
        self._sockets.on_drain_turn = bool

    def handling_signals(self, waker: WakeUp) -> AbstractContextManager[object]:
        """Handle signals for the time of the context; outside of the main thread Python does not let us."""
        sockets = self._sockets
        sockets.engine.on_child = sockets.let_go
        if threading.current_thread() is not threading.main_thread():
            return nullcontext()
        acts: dict[signal.Signals, Callable[[], None]] = dict.fromkeys(
            (signal.SIGINT, signal.SIGTERM), self._on_stop_signal
        )
        hang_up = HangUp(sockets.stop, sockets.notice, self._reloadable())
        if hang_up.is_wanted:
            acts[signal.SIGHUP] = hang_up
            self._have_done(hang_up.look)
        signals = HandledSignals(acts, waker.signal_fileno())
        sockets.engine.on_child = partial(self._become_a_child, signals)
        return signals

    def _on_stop_signal(self) -> None:
        if self._sockets.is_stopping:
            self._sockets.hurry()
        self._sockets.stop()

    def _reloadable(self) -> Reloadable | None:
        # A manager may ask for a reload where there is nothing to read, and waits for the answer.
        if self._service is not None:
            return self._service
        tls = self._sockets.tls
        return tls if tls is not None and tls.can_reload else None

    def _become_a_child(self, signals: HandledSignals) -> None:
        signals.leave_to_the_parent()
        self._sockets.let_go()

    @contextmanager
    def told_to_systemd(self) -> Iterator[None]:
        """Tell the manager, if there is one, that the server is ready, and afterwards that it stops."""
        if self._service is None:
            yield
            return
        self._service.ready()
        try:
            yield
        finally:
            self._service.stopping()

    def _note_draining(self) -> None:
        """Tell the manager, if there is one, that the drain goes on."""
        if self._service is not None:
            self._service.draining()
