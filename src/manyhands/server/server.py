"""`manyhands.Server`: several listeners on one engine, with signals and drain."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from operator import attrgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Never, Self, Unpack

from manyhands.config.options import checked
from manyhands.connections.registry import Books
from manyhands.engines import Engine, ProcessesEngine
from manyhands.model.addresses import Address, address_of
from manyhands.runtime.wakeup import Bell, Waker
from manyhands.server import systemd
from manyhands.server.ending import ServerEnd
from manyhands.server.handler_check import check_handler, described
from manyhands.server.hang_up import HangUp
from manyhands.server.listener import Listener, bound_address, is_open, listen_on
from manyhands.server.option_attributes import OptionValues, has_option_attributes, settled
from manyhands.server.run import Run
from manyhands.server.signals import HandledSignals
from manyhands.server.standing import ServerStanding
from manyhands.server.tls import ServerTLS, server_tls
from manyhands.serving.accept_loop import AcceptLoop
from manyhands.serving.core import EngineRoom
from manyhands.serving.drain import CutOff
from manyhands.serving.suspend import refuse_a_copy

if TYPE_CHECKING:
    import ssl

    from manyhands.config.keywords import ServerAttributes, ServerOptions
else:
    # What editors and type checkers know of the attributes, which the decorator makes.
    ServerAttributes = object

POLL_INTERVAL = 0.5
"""Seconds between two looks at the workers where none has reported; stopping does not wait for it."""


@has_option_attributes(attrgetter("_options"))
class Server(ServerStanding, ServerEnd, ServerAttributes):
    """Serves one handler on any number of addresses, until it is told to stop; then drains.

    Parameters
    ----------
    handler
        A handler class, or anything callable with ``(request, client_address, server)``.
    *addresses
        Where to listen: ``tcp://127.0.0.1:8008``, ``tls://[::]:8443``, ``udp://[::1]:53``,
        ``unix:///run/echo.sock``, ``unix-datagram:///run/log.sock``, ``fd://3``, ``systemd://web``; or a
        pair ``("127.0.0.1", 8008)``, which is TCP. A host of ``""`` or ``[::]`` takes IPv4 and IPv6.
    ssl_context
        The context that ``tls://`` connections are made with, in the place of ``certfile`` and what
        belongs to it; the program keeps it up to date.
    **options
        ``engine="threads"``, ``idle_timeout=60`` and so on: see the list below, and ``docs/options.md``. They
        are attributes too. Those that are adjustable may be set at any time, and hold from the next
        connection on; deadlines hold for the connections that are open as well, half a second later at the
        most. The others are settled here.

    Raises
    ------
    Mistake
        When an address, an option, a certificate or the handler does not fit.

    Notes
    -----
    `stop`, `hurry` and `is_stopping` may be used in any thread, in handlers (forked ones too) and in signal
    handlers; `reload`, `suspend`, `resume`, `wait_for_connections`, `drain`, `close` and the options in any
    thread; all else belongs to the thread that made the server. A handler's
    `server` is the listener that its client called: `self.server.shutdown()` is `stop`, and
    `self.server.server_close()` closes that one address.
    """

    def __init__(
        self,
        handler: Callable[[Any, Any, Any], Any],
        *addresses: str | tuple[str, int] | Address,
        ssl_context: "ssl.SSLContext | None" = None,
        **options: "Unpack[ServerOptions]",
    ) -> None:
        self._handler = handler
        self._addresses = [address_of(each) for each in addresses]
        self._options = OptionValues(
            {**checked(options), "ssl_context": ssl_context},
            lambda name: refuse_a_copy(f"set {name} of the server", *self._listeners),
            self._note_change,
        )
        check_handler(handler, self._addresses)
        self._tls = server_tls(self._addresses, options, ssl_context)
        self._room = EngineRoom()
        self._room.books.are_detailed = True
        self._room.door.source = self
        self._listeners: list[Listener] = []
        self._run = Run()
        self.service: systemd.Service | None = None
        """What tells systemd of the server while `run` is under way; None where nobody wants to hear."""

        self.hang_up: HangUp | None = None
        """What SIGHUP does while `run` is under way in the main thread; None before that."""

    @property
    def addresses(self) -> list[Address]:
        """Where the server listens, with the ports that it got; empty when it does not listen."""
        return [bound_address(listener) for listener in self._listeners if is_open(listener)]

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""
        settings = SimpleNamespace(**self._options, daemon_threads=True)
        return self._room.engine(settings, self._options["engine"])

    @engine.setter
    def engine(self, engine: Never) -> Never:
        raise settled("engine", engine)

    @property
    def connections(self) -> Books:
        """The open connections of all listeners, a live view, and why the others ended. Thread-safe."""
        return self._room.books

    @property
    def tls(self) -> ServerTLS | None:
        """What its TLS connections are made with; None of a server without certificates."""
        return self._tls

    @property
    def current_run(self) -> Run:
        """The run that is under way, or the next one. For the server's own listeners."""
        return self._run

    @property
    def is_stopping(self) -> bool:
        """Whether the server has been asked to stop, and has not come to its end yet."""
        return self._run.is_stopping

    def listen(self) -> None:
        """Bind every address. Called by `run` and `start`, unless it was called before.

        Raises
        ------
        Mistake
            When a host has no address, or what should be a given socket cannot be served.
        OSError
            When an address cannot be had; the text says what holds it. Then none is held.
        """
        if self._listeners:
            return
        try:
            if isinstance(self.engine, ProcessesEngine):
                self._room.bell = Bell()
            self._listeners.extend(
                listen_on(self._addresses, self._handler, self._room, self._options, self)
            )
            for listener in self._listeners:
                vars(listener)["_stands_still"] = self._run.is_suspended
        except BaseException:
            self._close_listeners()
            raise

    def run(self, announce: Callable[[], object] = lambda: None) -> list[CutOff]:
        """Serve until SIGINT or SIGTERM, or until `stop`; then drain. A second signal cuts the drain short.

        For programs: call it in the main thread. In another one it leaves signals alone, which Python
        handles in the main thread only, and serves until `stop`. On a server that `start` or a ``with``
        has started, it waits for that end and drains.

        Parameters
        ----------
        announce
            Called when every address is bound and a signal would end the server gracefully: whoever
            waits for a word of the program before it sends one should get it from here.

        Returns
        -------
        list of CutOff
            The conversations that were cut off.

        Raises
        ------
        OSError
            See `listen`.
        RuntimeError
            When another `run` is under way, or a handler of the server calls this.
        Exception
            Whatever ended the accept loop, such as an exception that `handle_error` raised; or `announce`.
        """
        self._refuse_a_handler()
        run = self._run
        if run.runner is not None:
            raise RuntimeError(
                "the server is running already: `run` can be called again when it has returned"
            )
        if run.is_being_ended():
            return run.outcome()
        self.listen()
        with self._marked_as_running(run), run.waker() as waker, self._signals(waker):
            try:
                announce()
                with systemd.told(self.service):
                    self._serve_until_stopped(run, waker)
            finally:
                cut_off = self._finish(run)
        return cut_off

    @contextmanager
    def _marked_as_running(self, run: Run) -> Iterator[None]:
        run.runner = threading.get_ident()
        own = self.service = systemd.of_environment(self)
        try:
            yield
        finally:
            # Perhaps it has failed before it served.
            self._finish(run)
            run.runner = None
            if self.service is own:
                self.service = None

    def _serve_until_stopped(self, run: Run, waker: Waker) -> None:
        if run.thread is None and isinstance(self.engine, ProcessesEngine):
            # A process that forks had better have no second thread.
            self._serve(run)
            return
        if run.thread is None:
            self._start_thread(run)
        while not run.is_stopping:
            waker.wait()
            waker.drain()

    def start(self) -> None:
        """Serve in a thread of the server's own, until `stop`. For embedding.

        A server that was told to stop, and not closed yet, is closed first, which waits for its
        conversations (see `close`); then it starts anew.

        Raises
        ------
        OSError
            See `listen`.
        RuntimeError
            When the server is serving already, when a handler of it calls this, or when no thread can be had.
        """
        self._refuse_a_handler()
        run = self._run
        if run.thread is not None and run.is_stopping and run.runner is None:
            self._finish(run)
            run = self._run
        if run.is_under_way:
            raise RuntimeError("the server is serving already: stop it before it is started again")
        self.listen()
        self.engine.on_child = self._let_go_of_listeners
        try:
            self._start_thread(run)
        except BaseException:
            self._close_listeners()
            raise

    def _start_thread(self, run: Run) -> None:
        # A daemon: a sequential server may be in the middle of a conversation that does not end.
        thread = threading.Thread(
            target=self._serve, args=(run,), name="manyhands-accept", daemon=True
        )
        thread.start()
        run.thread = thread

    def _become_a_child(self, signals: HandledSignals) -> None:
        signals.leave_to_the_parent()
        self._let_go_of_listeners()

    def _let_go_of_listeners(self) -> None:
        """Close a child's copies: while one is open the port answers, though nobody accepts."""
        for listener in self._listeners:
            if listener.socket_type == socket.SOCK_STREAM:
                listener.socket.close()

    def reload(self) -> bool:
        """Read the certificates again; who is connected stays, who calls from now on is shown the new ones.

        Returns
        -------
        bool
            False when they cannot be used: an event says why, and the old ones are kept.
        """
        return self._tls is None or self._tls.reload()

    def _note_change(self) -> None:
        self._room.door.look_soon()
        self.notice()

    def notice(self) -> None:
        """Have the accept loop look at its listeners again. A listener calls it when it has been closed."""
        self._run.wake()

    def __repr__(self) -> str:
        where = ", ".join(map(str, self.addresses)) or "no address yet"
        run = self._run
        serving = "serving" if run.is_under_way else "not serving"
        state = "stopping" if run.is_under_way and run.is_stopping else serving
        return f"<Server of {described(self._handler)} on {where}: {state}, {len(self.connections)} open>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _serve(self, run: Run) -> None:
        try:
            with run.waker() as waker:
                loop = AcceptLoop(self._listeners, lambda: run.is_stopping)
                turns = partial(loop.run, waker, systemd.poll_interval(POLL_INTERVAL))
                self.engine.run(turns, loop.stop)
        except BaseException as failure:  # noqa: BLE001 - `_finish` raises it, in the thread that runs the server
            run.failure = failure
        finally:
            # Without listeners, or on a forked handler's word, the loop ends by itself.
            run.stop()

    def _signals(self, waker: Waker) -> AbstractContextManager[object]:
        self.engine.on_child = self._let_go_of_listeners
        if threading.current_thread() is not threading.main_thread():
            return nullcontext()
        act: dict[signal.Signals, Callable[[], None]] = dict.fromkeys(
            (signal.SIGINT, signal.SIGTERM), self._on_stop_signal
        )
        self.hang_up = HangUp(self.stop, self.notice, self._reloadable())
        if self.hang_up.is_wanted:
            act[signal.SIGHUP] = self.hang_up
        signals = HandledSignals(act, waker.signal_fileno())
        self.engine.on_child = partial(self._become_a_child, signals)
        return signals

    def _on_stop_signal(self) -> None:
        if self.is_stopping:
            self.hurry()
        self.stop()

    def _reloadable(self) -> "ServerTLS | systemd.Service | None":
        # A manager may ask for a reload where there is nothing to read, and waits for the answer.
        if self.service is not None:
            return self.service
        return self._tls if self._tls is not None and self._tls.can_reload else None
