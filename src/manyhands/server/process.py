"""Being the process: what `Server.run` does besides serving.

Signals end the server, SIGHUP has it read its files again, and systemd is told how it fares. A server that is
started by `start`, or run in another thread than the main one, does nothing of this but tell systemd.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol

from manyhands.engines import Engine
from manyhands.runtime.wakeup import WakeUp
from manyhands.server import systemd
from manyhands.server.signals import HandledSignals, HangUp, Reloadable
from manyhands.server.tls import ServerTLS


class ServerOfProcess(systemd.Serving, Protocol):
    """What a process needs of the server that it is for."""

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""

    @property
    def is_stopping(self) -> bool:
        """Whether the server has been asked to stop."""

    @property
    def tls(self) -> ServerTLS | None:
        """What its TLS connections are made with."""

    @property
    def chores(self) -> list[Callable[[], object]]:
        """What the accept loop does after each of its turns."""

    def stop(self) -> None:
        """Ask the server to stop."""

    def hurry(self) -> None:
        """Cut short the drain."""

    def notice(self) -> None:
        """Have the accept loop turn."""

    def let_go(self) -> None:
        """Close a child's copies of the listeners."""


class ServerProcess:
    """A server as the purpose of its process, while `Server.run` is under way.

    For the thread that runs the server; what the accept loop does for it is among the server's chores.
    """

    def __init__(self, server: ServerOfProcess) -> None:
        self._server = server
        self._service = systemd.of_environment(server)
        self._chores: list[Callable[[], object]] = []
        if self._service is not None:
            self._have_done(self._service.look)

    def _have_done(self, chore: Callable[[], object]) -> None:
        self._chores.append(chore)
        self._server.chores.append(chore)

    def leave(self) -> None:
        """Have the accept loop do nothing more for the process."""
        for chore in self._chores:
            self._server.chores.remove(chore)

    def handling_signals(self, waker: WakeUp) -> AbstractContextManager[object]:
        """Handle signals for the time of the context; outside of the main thread Python does not let us."""
        server = self._server
        server.engine.on_child = server.let_go
        if threading.current_thread() is not threading.main_thread():
            return nullcontext()
        acts: dict[signal.Signals, Callable[[], None]] = dict.fromkeys(
            (signal.SIGINT, signal.SIGTERM), self._on_stop_signal
        )
        hang_up = HangUp(server.stop, server.notice, self._reloadable())
        if hang_up.is_wanted:
            acts[signal.SIGHUP] = hang_up
            self._have_done(hang_up.look)
        signals = HandledSignals(acts, waker.signal_fileno())
        server.engine.on_child = partial(self._become_a_child, signals)
        return signals

    def _on_stop_signal(self) -> None:
        if self._server.is_stopping:
            self._server.hurry()
        self._server.stop()

    def _reloadable(self) -> Reloadable | None:
        # A manager may ask for a reload where there is nothing to read, and waits for the answer.
        if self._service is not None:
            return self._service
        tls = self._server.tls
        return tls if tls is not None and tls.can_reload else None

    def _become_a_child(self, signals: HandledSignals) -> None:
        signals.leave_to_the_parent()
        self._server.let_go()

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

    def note_draining(self) -> None:
        """Tell the manager, if there is one, that the drain goes on."""
        if self._service is not None:
            self._service.draining()
