"""`BaseServer`: the accept loop and the chain of hooks, for any kind of listener."""

import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from manyhands.config.options import check_access, has_options
from manyhands.connections.socket_classes import Unopened
from manyhands.connections.tls_handshake import NEVER_TLS, send_secrets_at_once
from manyhands.dropin.own_names import yields_to_others
from manyhands.model.connection_states import Reason
from manyhands.runtime.caller import is_in_the_hub
from manyhands.runtime.error_reports import report
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving import accept_loop
from manyhands.serving.core import OwnCore, ServerCore, core_of
from manyhands.serving.handle_request import handle_request
from manyhands.serving.request_hooks import refuse_own_handler, shut_down
from manyhands.serving.serve_loops import ShutDown
from manyhands.serving.served_connection import tell

if TYPE_CHECKING:
    from _socket import _Address
    from socket import socket as Socket  # noqa: N812 - the class has an attribute `socket`

    from manyhands.config.keywords import BaseServerOptions
    from manyhands.connections.rooms import Member
    from manyhands.serving.drain import CutOff

    Request = Socket | tuple[bytes, Socket]
else:
    # What editors and type checkers know of the options, which the decorator sets.
    BaseServerOptions = object
    # So that `typing.get_type_hints` finds all names, of a program's subclasses too.
    _Address = Socket = Request = CutOff = Member = Any


_Value = TypeVar("_Value")


class _FromCore(Generic[_Value]):
    """An attribute that is the core's. Programs may have one of that name themselves, which then counts."""

    def __init__(self, read: Callable[[ServerCore], _Value]) -> None:
        self._read = read

    @overload
    def __get__(self, server: None, kind: type) -> Self: ...
    @overload
    def __get__(self, server: object, kind: type) -> _Value: ...
    def __get__(self, server: object, kind: type) -> Self | _Value:
        return self if server is None else self._read(core_of(server))


@has_options
class BaseServer(BaseServerOptions):
    """The base class of all servers: owns the accept loop; handler classes own what is said on a connection.

    Parameters
    ----------
    server_address
        Where to listen, in the form that `socket.socket.bind` takes for the family.
    RequestHandlerClass
        Called with ``(request, client_address, server)`` for each connection: a handler class, or anything
        callable that way, such as a function or a `functools.partial` that brings state along.

    Raises
    ------
    Mistake
        When the class has `allow`, `deny` or `proxy_trusted` with a mistake in its networks: the server
        would serve clients that it must not.

    Notes
    -----
    Thread-safety: `shutdown` may be called from any thread, from handlers and from signal handlers; all
    else is for the thread that serves, or for before and after.
    """

    timeout: float | None = None
    """Seconds that `handle_request` waits before it calls `handle_timeout`; `serve_forever` ignores it."""

    server_address: _Address
    RequestHandlerClass: Callable[[Any, Any, Self], Any]
    socket: Socket

    connections = _FromCore(ServerCore.detailed_registry)
    """The open connections by their numbers, a live view, and how many ended, by the reason: `Registry`."""

    draining = _FromCore(lambda core: core.is_draining)
    """Whether the server drains: a handler then had better come to an end. Handlers' processes see it too."""

    exchange = _FromCore(lambda core: core.exchange)
    """What the server's handlers, and the program, tell each other by subjects: `manyhands.Exchange`."""

    _engine_choice = "sequential"
    _server_core = OwnCore()

    # Class attributes serve classes that do not call __init__.
    __is_shut_down: threading.Event

    def __init__(
        self, server_address: "_Address", RequestHandlerClass: Callable[[Any, Any, Self], Any]
    ) -> None:
        check_access(self)
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass
        self.__is_shut_down = ShutDown()
        self.__shutdown_request = False
        load_for_serving(self)

    # Programs write `_BaseServer__shutdown_request = True` from handlers and signal handlers, as a stop that
    # cannot deadlock: so the write itself has to wake the loop. Others read it from the instance's
    # dictionary: so it is kept there, under its own name.
    @property
    def __shutdown_request(self) -> bool:
        return bool(vars(self).get(_STOP_FLAG, False))

    @__shutdown_request.setter
    def __shutdown_request(self, stop: bool) -> None:
        vars(self)[_STOP_FLAG] = stop
        if stop:
            core_of(self).loops.stop()

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
        Mistake
            When `allow`, `deny` or `proxy_trusted` is a list of networks with a mistake in it.

        Notes
        -----
        An exception in a hook is reported through `handle_error`, and the service goes on; what
        `handle_error` itself raises ends it.

        Several threads may call this at the same time. Each then accepts connections, but for those of a
        server on fibers, which share one accept loop; `shutdown` ends them all.
        """
        check_access(self)
        core = self._server_core
        core.begin(self)
        loops = core.loops
        with WakeUp() as wakeup:
            with loops.lock:
                self.__is_shut_down.clear()
                loops.add(wakeup)
            try:
                loop = accept_loop.AcceptLoop([self], self.__stop_flag())
                engine = core.engines.of(self)
                engine.run(partial(self.__serve, loop, wakeup, poll_interval), loop.stop)
            finally:
                # Before the end is told: a program that waits for it may start anew the thread object whose
                # last step this is.
                wakeup.close()
                with loops.lock:
                    # First the event: a signal handler that calls `shutdown` just here would wait for it.
                    if len(loops.threads) <= 1:
                        self.__shutdown_request = False
                        self.__is_shut_down.set()
                    loops.remove(wakeup)

    def __stop_flag(self) -> Callable[[], object]:
        """Return what reads the flag, as cheaply as can be: the loop asks several times a turn."""
        if getattr(type(self), _STOP_FLAG, None) is vars(BaseServer)[_STOP_FLAG]:
            return partial(vars(self).get, _STOP_FLAG)
        # A class has put something of its own in its place.
        return partial(getattr, self, _STOP_FLAG, False)

    def __serve(
        self, loop: accept_loop.AcceptLoop, wakeup: WakeUp, poll_interval: float | None
    ) -> None:
        # The engine may have the loop run in another thread than the one that waits for it.
        self._server_core.loops.runs_here(wakeup)
        loop.run(wakeup, poll_interval)

    def shutdown(self) -> None:
        """Stop `serve_forever`, and wait until it has returned.

        Called from the serving thread itself (a signal handler, or a handler of a sequential server) or
        from a forked handler, it asks for the stop and returns at once. Before `serve_forever`, it makes
        the next `serve_forever` return at once. In a process that the program forked itself, it concerns
        that copy of the server alone.
        """
        self.__ask_to_stop()
        loops = self._server_core.loops
        # Before `serve_forever` there is nothing to wait for. A loop of the program's own clears the event.
        has_begun = loops.threads or getattr(self.__is_shut_down, "was_cleared", True)
        if has_begun and loops.may_be_waited_for() and not is_in_the_hub():
            self.__is_shut_down.wait()

    def __ask_to_stop(self) -> None:
        self.__shutdown_request = True
        # Again, for classes that put a plain attribute of their own in the flag's place.
        core_of(self).loops.stop()

    def suspend(self) -> None:
        """Accept no connection until `resume`: new clients wait in the kernel's backlog, the others go on.

        Thread-safe, from handlers too, but for forked ones (`RuntimeError`). `handle_request` takes no
        notice of it.
        """
        self.__set_suspended(True)

    def resume(self) -> None:
        """Accept connections again, at once, after `suspend`. Thread-safe."""
        self.__set_suspended(False)

    def __set_suspended(self, value: bool) -> None:
        self._server_core.set_suspended(self, value)
        self._wake_loops()

    def drain(self, timeout: float = 30.0) -> "list[CutOff]":
        """Stop serving; let the connections end, and cut off those that go on after `timeout` seconds.

        Then nothing is left to do but `server_close`. See ``docs/server.md`` for what handlers are told.

        Returns
        -------
        list of CutOff
            The connections that were cut off, and what their handlers were doing.

        Raises
        ------
        RuntimeError
            When a handler calls it: it would wait for itself.
        """
        refuse_own_handler(self)
        # Few programs call it; the others do not pay for the import.
        from manyhands.serving.drain import drain_drop_in  # noqa: PLC0415

        stop_and_wait = partial(BaseServer.shutdown, self)
        return drain_drop_in(self, self.__ask_to_stop, stop_and_wait, timeout)

    def _wake_loops(self) -> None:
        self._server_core.loops.wake()

    @yields_to_others
    def tell(self, room: str, data: Any, but: Any = None) -> int:
        """Send a piece of data to all members of a room, whole. Never waits for one of them.

        Of one sender each member gets the pieces in their order, each at most once, and none from before it
        has joined. A member that does not read is closed, or misses pieces that are counted: see the option
        `when_behind`. The others notice nothing of it. Thread-safe, in fibers too; not for
        signal handlers, nor for finalizers (`__del__`).

        Parameters
        ----------
        room
            The name of the room, which handlers join by their `join`.
        data : bytes-like
        but : handler or Connection, optional
            The member that is not told: the sender, as a rule.

        Returns
        -------
        int
            How many members are told.

        Raises
        ------
        Mistake
            When it is text, or longer than the option `outbox` allows: no member gets it then.
        """
        return tell(self, room, data, but)

    @yields_to_others
    def members(self, room: str) -> "list[Member]":
        """Return the members of a room, in the order in which they have joined. Thread-safe."""
        return core_of(self).rooms.members(room)

    def service_actions(self) -> None:
        """Do regular work: after connections, and each `poll_interval` of `serve_forever`. A hook."""

    def handle_request(self) -> Any:
        """Serve one connection; wait for it no longer than `timeout` or the socket's own timeout.

        Returns
        -------
        object
            What `handle_timeout` returned, when no client called in time; else None, unless the program
            overrides `_handle_request_noblock`: then what that returned.
        """
        return handle_request(self)

    def _handle_request_noblock(self) -> None:
        """Serve one connection of a socket that is known to be readable."""
        core = self._server_core
        try:
            request, client_address, refusal = core.next_request(self)
        except BaseException as error:  # noqa: BLE001 - a hook's failure must not end the service
            core.unserved.lose(self, error)
            return
        if refusal is not None:
            core.turn_away(self, request, client_address, refusal)
            return
        admission = core.admission
        try:
            if (
                self.verify_request(request, client_address)
                if self.proxy_protocol is not True
                else self.__trusts(request, client_address)
            ):
                self.process_request(request, client_address)
                if admission.arriving and id(request) in admission.arriving:
                    admission.note_taken_elsewhere(request)
                return
        except Exception as error:  # noqa: BLE001 - whatever the hooks raise is handle_error's
            core.unserved.refuse(self, request, client_address, error)
        except BaseException:
            admission.withdraw(request, Reason.REFUSED_BY_HOOK)
            self.shutdown_request(request)
            raise
        else:
            admission.withdraw(request, Reason.REFUSED_BY_HOOK)
            shut_down(self, request, client_address)

    def __trusts(self, request: Any, client_address: Any) -> bool:
        return self._server_core.admission.trusts(self, request, client_address)

    def fileno(self) -> int:
        """Return the listening socket's descriptor."""
        descriptor: int = self.socket.fileno()
        return descriptor

    def get_request(self) -> tuple[Any, Any]:
        """Return the next request and its client's address. A hook; stream and datagram servers differ."""
        raise NotImplementedError

    def handle_timeout(self) -> Any:
        """Do what is due when `handle_request` waited in vain. A hook."""

    def verify_request(self, request: "Request", client_address: Any) -> bool:  # noqa: ARG002 - a hook
        """Tell whether to serve this request; False closes it unserved. A hook."""
        return True

    def process_request(self, request: "Request", client_address: Any) -> None:
        """Serve the request here and now. A hook; the mix-ins have an engine do it."""
        self._server_core.serve_here(self, request, client_address)

    def server_close(self) -> None:
        """Give back what the server holds; a loop that still serves it ends. A hook."""
        self._wake_loops()
        self._server_core.close(self, joined=self._engine_choice)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one request: make the handler, which serves it in its constructor.

        Without a handler, when the client fails its TLS handshake, or does not begin with a PROXY header
        where one is due.
        """
        kind: Any = self.RequestHandlerClass
        if type(request) in NEVER_TLS:
            # A datagram, or a connection in clear: there is nothing to open. On fibers it is of another type.
            kind(request, client_address, self)
            return
        # Opened by now, unless a process_request of the program's own brought the request here.
        if isinstance(request, Unopened):
            request, client_address = self._server_core.open_late(self, request, client_address)
            if request is None:
                return
        send_secrets_at_once(request, self)
        new: Any = getattr(kind, "__new__", None)
        init: Any = getattr(kind, "__init__", None)
        # A function's, and no mock's: that would be called without the handler.
        is_plain = type(kind) is type and new is _PLAIN_NEW and type(init) is FunctionType
        if not is_plain:
            kind(request, client_address, self)
            return
        # What calling the class does, but without the stack that a call through C takes: with thousands of
        # fibers, each keeps a copy of its own.
        result = init(new(kind), request, client_address, self)
        if result is not None:
            raise TypeError(f"__init__() should return None, not {type(result).__name__!r}")

    def shutdown_request(self, request: "Request") -> None:
        """End one request: say so to the client, then close. A hook."""
        self.close_request(request)

    def close_request(self, request: "Request") -> None:
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


def load_for_serving(server: BaseServer) -> None:
    """Load what a server will serve with, as its attributes say now. For the time when it is made, and bound.

    By its first client the program may have another root (chroot(2)), or be another user that may not read
    the modules' files.

    Raises
    ------
    MissingExtra
        When the server's engine needs what is not installed.
    """
    # Each line is for those servers alone that need it: the others do not pay for the import.
    engine = getattr(type(server), "engine", None)  # a program's own attribute may have that name
    if engine == "fibers" or "processes" in (engine, server._engine_choice):
        core_of(server).engines.of(server)
    if server.proxy_protocol is True:
        import manyhands.connections.proxy_reader  # noqa: PLC0415
    if "ssl" in sys.modules:
        import manyhands.dropin.starttls  # noqa: F401, PLC0415


_STOP_FLAG = "_BaseServer__shutdown_request"
"""The standard library's own name, which programs write."""

_PLAIN_NEW: Any = object.__new__
