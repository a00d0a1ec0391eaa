"""`BaseServer`: the connection loop and the hook chain, for any kind of listener."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from manyhands.connections.socket_classes import Unopened
from manyhands.engines import Engine
from manyhands.listening.bind import describe
from manyhands.model.accept_errors import Backoff
from manyhands.model.connection_states import Reason
from manyhands.runtime.caller import is_in_the_hub
from manyhands.runtime.error_reports import report
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving import accept_failures, accept_loop, handle_request, proxy_trust, suspend
from manyhands.serving.core import OwnBooks, OwnDraining, OwnRoom, opened, override
from manyhands.serving.loops import Loops, ShutDown

if TYPE_CHECKING:
    from manyhands.serving.drain import CutOff


class BaseServer:
    """The base class of all servers: owns the connection loop; handler classes own the conversation.

    Parameters
    ----------
    server_address
        Where to listen, in the form that `socket.socket.bind` takes for the family.
    RequestHandlerClass
        Called with ``(request, client_address, server)`` for each connection: a handler class, or anything
        callable that way, such as a function or a `functools.partial` that brings state along.

    Notes
    -----
    Thread-safety: `shutdown` may be called from any thread, from handlers and from signal handlers; all
    else is for the thread that serves, or for before and after.
    """

    timeout: float | None = None
    """Seconds that `handle_request` waits before it calls `handle_timeout`; `serve_forever` ignores it."""

    engine: str | None
    """The engine by name, whatever the class's mix-in chose; unset or None: as the mix-in chose.

    Set it on the class. (An instance attribute of this name is the program's own, and is not looked at. Nor
    is there a default: programs ask whether they have set theirs yet.)
    """

    handshake_timeout: float | None = 10.0
    """Seconds for the whole TLS handshake, where the listening socket is a TLS one; None: no end."""

    proxy_protocol: bool = False
    """Whether each connection must begin with a PROXY header, which tells who the client is. `verify_request`
    is then called by the worker, afterwards. (Values other than True are the program's own.)"""

    proxy_trusted: Any = "127.0.0.0/8, ::1"
    """Whose headers count: networks, in one text or several. Others are refused; on a Unix socket nobody."""

    idle_timeout: float | None = None
    """Seconds for which nothing may be received on a connection, whatever is sent; None: for ever."""

    write_timeout: float | None = None
    """Seconds for which a client may acknowledge nothing of what waits for it; None: for ever."""

    max_age: float | None = None
    """Seconds for which a connection may be open, give or take a tenth; None: for ever."""

    # As `engine`: unset or None is no limit, and programs may have attributes of these names themselves.
    max_connections: int | None
    max_connections_per_ip: int | None
    max_rate: float | None
    max_rate_per_ip: float | None
    rate_burst: int | None
    rate_burst_per_ip: int | None
    allow: str | Sequence[str] | None
    deny: str | Sequence[str] | None
    refusal: str | bytes | None

    ipv6_prefix: int = 64
    """Bits of the network of an IPv6 client that counts as one address."""

    when_full: Any = "wait"
    """What becomes of who calls at `max_connections`: ``"wait"``, ``"refuse"``, or a handler for those."""

    server_address: Any
    RequestHandlerClass: Callable[[Any, Any, Any], Any]
    socket: Any

    connections = OwnBooks()
    """The open connections by their numbers, a live view, and how many ended, by the reason: `Books`."""

    draining = OwnDraining()
    """Whether the server drains: a handler then had better come to an end. Handlers' processes see it too."""

    _engine_choice = "sequential"
    _engine_room = OwnRoom()
    _stands_still = False

    # Class attributes serve classes that do not call __init__.
    __backoff: Backoff | None = None
    __is_shut_down: threading.Event

    def __init__(
        self, server_address: Any, RequestHandlerClass: Callable[[Any, Any, Any], Any]
    ) -> None:
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass
        self.__is_shut_down = ShutDown()
        self.__shutdown_request = False

    # Programs write `_BaseServer__shutdown_request = True` from handlers and signal handlers, as a stop that
    # cannot deadlock: so the write itself has to wake the loop. Others read it from the instance's
    # dictionary: so it is kept there, under its own name.
    @property
    def __shutdown_request(self) -> bool:
        return bool(vars(self).get("_BaseServer__shutdown_request", False))

    @__shutdown_request.setter
    def __shutdown_request(self, stop: bool) -> None:
        vars(self)["_BaseServer__shutdown_request"] = stop
        if stop:
            self.__ask_loop_to_stop()

    def __ask_loop_to_stop(self) -> None:
        for waker in Loops.of(self).wakers:
            waker.ask_to_stop()

    def server_activate(self) -> None:
        """Make the bound socket a listening one. A hook."""

    def serve_forever(self, poll_interval: float | None = 0.5) -> None:
        """Serve connections, each in the server's engine, until `shutdown`.

        Parameters
        ----------
        poll_interval
            Seconds between two calls of `service_actions` when nothing happens. Stopping does not wait for
            it.

        Raises
        ------
        ValueError
            When the listening socket is closed, or the server has drained.

        Notes
        -----
        An exception in a hook is reported through `handle_error`, and the service goes on; what
        `handle_error` itself raises ends it.

        Several threads may call this at the same time. Each then accepts connections, but for those of a
        server on fibers, which share one accept loop; `shutdown` ends them all.
        """
        loops = Loops.of(self)
        with WakeUp() as waker:
            with loops.lock:
                self.__is_shut_down.clear()
                loops.add(waker)
            try:
                loop = accept_loop.AcceptLoop([self], lambda: self.__shutdown_request)
                engine = self._engine_of_next_request()
                engine.run(partial(self.__serve, loop, waker, poll_interval), loop.stop)
            finally:
                # Before the end is told: who waits for that may start a thread object anew whose run this is
                # the last step of.
                waker.close()
                self.__note_end(waker)

    def __serve(
        self, loop: accept_loop.AcceptLoop, waker: WakeUp, poll_interval: float | None
    ) -> None:
        # The engine may have the loop run in another thread than the one that waits for it.
        Loops.of(self).runs_here(waker)
        loop.run(waker, poll_interval)

    def __note_end(self, waker: WakeUp) -> None:
        loops = Loops.of(self)
        with loops.lock:
            # First the event: a signal handler that calls `shutdown` just here would wait for it.
            if loops.count() <= 1:
                self.__shutdown_request = False
                self.__is_shut_down.set()
            loops.remove(waker)

    def shutdown(self) -> None:
        """Stop `serve_forever`, and wait until it has returned.

        Called from the serving thread itself (a signal handler, or a handler of a sequential server) or
        from a forked handler, it asks for the stop and returns at once. Before `serve_forever`, it makes
        the next `serve_forever` return at once. In a process that the program forked itself, it concerns
        that copy of the server alone.
        """
        self.__ask_to_stop()
        if self.__has_somebody_to_wait_for():
            self.__is_shut_down.wait()

    def __ask_to_stop(self) -> None:
        self.__shutdown_request = True
        # Again, for classes that put a plain attribute of their own in the flag's place.
        self.__ask_loop_to_stop()

    def __has_somebody_to_wait_for(self) -> bool:
        loops = Loops.of(self)
        if not loops.count():
            # A loop of the program's own clears the event when it begins.
            was_cleared = getattr(self.__is_shut_down, "was_cleared", True)
            return was_cleared and not loops.of_the_original
        return not loops.is_one_here() and not is_in_the_hub()

    def suspend(self) -> None:
        """Accept nobody until `resume`: the kernel's backlog holds who calls, and who is connected goes on.

        Thread-safe, from handlers too, but for forked ones (`RuntimeError`). `handle_request` takes no
        notice of it.
        """
        suspend.stand_still(self, is_to=True)

    def resume(self) -> None:
        """Accept connections again, at once, after `suspend`. Thread-safe."""
        suspend.stand_still(self, is_to=False)

    def drain(self, timeout: float = 30.0) -> "list[CutOff]":
        """Stop serving; let the conversations end, and cut off those that go on after `timeout` seconds.

        Then nothing is left to do but `server_close`. See ``docs/server.md`` for what handlers are told.

        Returns
        -------
        list of CutOff
            Who was cut off, and what they were doing.

        Raises
        ------
        RuntimeError
            When a handler calls it: it would wait for itself.
        """
        suspend.refuse_a_handler(self)
        stop_and_wait = partial(BaseServer.shutdown, self)
        return suspend.drain_drop_in(self, self.__ask_to_stop, stop_and_wait, timeout)

    def _wake_loops(self) -> None:
        for waker in Loops.of(self).wakers:
            waker.wake()

    def service_actions(self) -> None:
        """Do regular work: after connections, and each `poll_interval` of `serve_forever`. A hook."""

    def handle_request(self) -> Any:
        """Serve one connection; wait for it no longer than `timeout` or the socket's own timeout.

        Returns
        -------
        object
            What `handle_timeout` returned, when nobody called in time.
        """
        timeouts = [t for t in (self.socket.gettimeout(), self.timeout) if t is not None]
        deadline = time.monotonic() + min(timeouts) if timeouts else None
        if not handle_request.wait_for_request(self, deadline):
            return self.handle_timeout()
        self._handle_request_noblock()
        # Who serves one request looks next at what came of it, as often as not.
        engine = self._engine_room.latest
        if engine is not None:
            engine.let_begin()
        # A program that calls this in a loop must not spin while accepting is impossible.
        rest = self._seconds_to_rest(time.monotonic())
        time.sleep(handle_request.seconds_left(deadline, rest) or 0.0)
        return None

    def _handle_request_noblock(self) -> None:
        """Serve one connection of a socket that is known to be readable."""
        door = self._engine_room.door
        try:
            request, client_address, refusal = Loops.of(self).next_request(self, door)
        except Exception as error:  # noqa: BLE001 - a hook's failure must not end the service
            accept_failures.lose_client(self, error)
            return
        self.__accept_succeeded()
        if refusal is not None:
            accept_failures.turn_away(self, request, client_address, refusal)
            return
        try:
            is_welcome = self.verify_request if self.proxy_protocol is not True else self.__trusts
            if is_welcome(request, client_address):
                self.process_request(request, client_address)
                if id(request) in door.coming:
                    door.let_go(request)
                return
        except Exception as error:  # noqa: BLE001 - whatever the hooks raise is handle_error's
            accept_failures.refuse(self, request, client_address, error)
        except BaseException:
            door.withdraw(request, Reason.REFUSED_BY_HOOK)
            self.shutdown_request(request)
            raise
        else:
            door.withdraw(request, Reason.REFUSED_BY_HOOK)
            accept_failures.shut_down(self, request, client_address)

    def __accept_succeeded(self) -> None:
        if self.__backoff is not None and self.__backoff.since is not None:
            accept_failures.note_success(self)

    def __trusts(self, request: Any, client_address: Any) -> bool:
        return proxy_trust.is_welcome(self, request, client_address)

    @property
    def _accept_backoff(self) -> Backoff:
        if self.__backoff is None:
            self.__backoff = Backoff()
        return self.__backoff

    def _seconds_to_rest(self, now: float) -> float:
        """Return the seconds for which accepting is of no use: no descriptor, or no worker, can be had."""
        backoff, room_backoff = self.__backoff, self._engine_room.backoff
        if (backoff is None or backoff.since is None) and room_backoff.since is None:
            return 0.0
        return self._accept_backoff.resting(now) or room_backoff.resting(now)

    def _describe_listener(self) -> str:
        return describe(self.server_address)

    def fileno(self) -> int:
        """Return the listening socket's descriptor."""
        descriptor: int = self.socket.fileno()
        return descriptor

    def get_request(self) -> tuple[Any, Any]:
        """Return the next request and its client's address. A hook; stream and datagram servers differ."""
        raise NotImplementedError

    def handle_timeout(self) -> Any:
        """Do what is due when `handle_request` waited in vain. A hook."""

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - a hook
        """Tell whether to serve this request; False closes it unserved. A hook."""
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the request here and now. A hook; the mix-ins have an engine do it."""
        self._engine_room.start(self, "sequential", request, client_address)

    def _engine_of_next_request(self) -> Engine:
        """Return the engine that the next connection goes to, set up as the server's attributes say now."""
        engine: Engine = self._engine_room.engine(self, override(self) or self._engine_choice)
        return engine

    def server_close(self) -> None:
        """Give back what the server holds; a loop that still serves it ends. A hook."""
        self._wake_loops()
        self._engine_room.close(self, but=self._engine_choice)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one request: make the handler, which serves it in its constructor.

        Without a handler, when the client fails its TLS handshake, or does not begin with a PROXY header
        where one is due.
        """
        # Opened by now, unless a process_request of the program's own brought the request here.
        if isinstance(request, Unopened):
            request, client_address = opened(self, request, client_address)
            if request is None:
                return
        kind: Any = self.RequestHandlerClass
        new: Any = getattr(kind, "__new__", None)
        if type(kind) is type and new is _PLAIN_NEW:
            # What calling the class does, but without the stack that a call through C takes: with
            # thousands of fibers, each keeps a copy of its own.
            new(kind).__init__(request, client_address, self)
        else:
            kind(request, client_address, self)

    def shutdown_request(self, request: Any) -> None:
        """End one request: say so to the client, then close. A hook."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Close one request. A hook."""

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - a hook
        """Report the exception that is being handled; by default as a traceback on stderr. A hook.

        `request` and `client_address` are None when the exception did not concern one request.
        """
        report(client_address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.server_close()


_PLAIN_NEW: Any = object.__new__
