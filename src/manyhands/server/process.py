"""A server as the purpose of its process: what `Server.run` does besides serving.

SIGINT and SIGTERM stop the server, SIGHUP reloads its certificates, and systemd gets its reports. A server
that is run in another thread than the main one only reports to systemd; one that is started by `start` does
neither.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol

from manyhands.engines import Engine
from manyhands.runtime.wakeup import WakeUp
from manyhands.server.signals import HandledSignals, Reloadable, SighupHandler
from manyhands.server.systemd import ServerOfService, service_from_environment
from manyhands.server.tls import ServerTLS


class ServerOfProcess(ServerOfService, Protocol):
    """What a process needs of the server that it is for."""

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""

    @property
    def is_stopping(self) -> bool:
        """Whether the server has been asked to stop."""

    @property
    def tls(self) -> ServerTLS | None:
        """The TLS of its connections; None without certificates."""

    def stop(self) -> None:
        """Ask the server to stop."""

    def hurry(self) -> None:
        """Cut short the drain."""

    def notice(self) -> None:
        """Wake the accept loop."""

    def let_go(self) -> None:
        """Close a forked child's copies of the listeners."""


class ServerProcess:
    """The signals and the reports of a server while `Server.run` is under way.

    `turn` is for the accept loop, the others are for the thread that runs the server.
    """

    def __init__(self, server: ServerOfProcess) -> None:
        self._server = server
        self._service = service_from_environment(server)
        self._sighup: SighupHandler | None = None

    def handling_signals(self, wakeup: WakeUp) -> AbstractContextManager[object]:
        """Handle signals for the time of the context; Python allows that in the main thread alone."""
        server = self._server
        # In any thread: a forked child that kept the listeners open would keep their port.
        server.engine.on_child = server.let_go
        if threading.current_thread() is not threading.main_thread():
            return nullcontext()
        acts: dict[signal.Signals, Callable[[], None]] = dict.fromkeys(
            (signal.SIGINT, signal.SIGTERM), self._on_stop_signal
        )
        self._sighup = SighupHandler(server.stop, server.notice, self._reloadable())
        if self._sighup.is_needed:
            acts[signal.SIGHUP] = self._sighup
        signals = HandledSignals(acts, wakeup.signal_fileno())
        server.engine.on_child = partial(self._become_a_child, signals)
        return signals

    def _on_stop_signal(self) -> None:
        # The second one is from an operator who does not want to wait for the drain.
        if self._server.is_stopping:
            self._server.hurry()
        self._server.stop()

    def _reloadable(self) -> Reloadable | None:
        # With Type=notify-reload systemd waits for our READY=1, even where there is nothing to read.
        if self._service is not None:
            return self._service
        tls = self._server.tls
        return tls if tls is not None and tls.can_reload else None

    def _become_a_child(self, signals: HandledSignals) -> None:
        # The signals first: one that comes in between would stop the child's copy of the server.
        signals.leave_to_the_parent()
        self._server.let_go()

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

    def turn(self) -> None:
        """Do the work of one turn of the accept loop: reload, report, emit."""
        if self._service is not None:
            self._service.look()
        if self._sighup is not None:
            self._sighup.look()

    def note_draining(self) -> None:
        """Report to systemd, if it listens, that the drain goes on."""
        if self._service is not None:
            self._service.draining()
