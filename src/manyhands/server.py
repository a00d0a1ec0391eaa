"""`manyhands.Server`: several listeners on one engine, with signals and drain."""

import inspect
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from .binding.endpoints import endpoints
from .drain import CutOff, drain
from .engines import Engine, ProcessesEngine
from .listener import Listener, bound_address, listen
from .rules.address import Address, parse
from .rules.mistakes import Mistake
from .rules.options import BY_NAME
from .servers.accept_loop import AcceptLoop
from .servers.engine_room import EngineRoom
from .servers.waker import Waker

OPTIONS = (
    "engine",
    "max_threads",
    "max_children",
    "request_queue_size",
    "allow_reuse_port",
    "max_packet_size",
    "handshake_timeout",
    "drain_timeout",
    "unlink_on_close",
)
"""The keywords of `Server`, from the table of options."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

POLL_INTERVAL = 0.5
"""Seconds between two looks at the workers where none has reported; stopping does not wait for it."""


class Server:
    """Serves one handler on any number of addresses, until it is told to stop; then drains.

    Parameters
    ----------
    handler
        A handler class, or anything callable with ``(request, client_address, server)``.
    *addresses
        Where to listen: ``tcp://127.0.0.1:8008``, ``udp://[::1]:53``, ``unix:///run/echo.sock``,
        ``unix-datagram:///run/log.sock``. A host of ``""`` or ``[::]`` takes IPv4 and IPv6.
    **options
        ``engine="threads"``, ``max_threads``, ``max_children``, ``request_queue_size``,
        ``allow_reuse_port``, ``max_packet_size`` (bytes), ``handshake_timeout``, ``drain_timeout``
        (seconds), ``unlink_on_close``: see ``docs/options.md``.

    Raises
    ------
    Mistake
        When an address, an option or the handler does not fit.

    Notes
    -----
    `stop` and `hurry` may be called from any thread and from signal handlers; all else belongs to the
    thread that made the server.
    """

    def __init__(
        self, handler: Callable[[Any, Any, Any], Any], *addresses: str | Address, **options: Any
    ) -> None:
        self._handler = handler
        self._addresses = [a if isinstance(a, Address) else parse(a) for a in addresses]
        self._options = _checked(options)
        self._drain_timeout: float = self._options.pop("drain_timeout")
        _check_handler(handler, self._addresses)
        self._room = EngineRoom()
        self._listeners: list[Listener] = []
        self._loop_waker: Waker | None = None
        self._run_waker: Waker | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        # Plain flags: a signal handler must not wait for a lock that the interrupted code may hold.
        self._is_stopping = False
        self._is_in_a_hurry = False

    @property
    def addresses(self) -> list[Address]:
        """Where the server listens, with the ports that it got; empty when it does not listen."""
        return [bound_address(listener) for listener in self._listeners]

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""
        return self._room.engine(self._listeners[0], self._options["engine"])

    def listen(self) -> None:
        """Bind every address. Called by `run` and `start`, unless it was called before.

        Raises
        ------
        OSError
            When an address cannot be had; the text says what holds it. Then none is held.
        """
        if self._listeners:
            return
        try:
            for address in self._addresses:
                for endpoint in endpoints(address):
                    listener = listen(endpoint, self._handler, self._room, self._options)
                    self._listeners.append(listener)
        except BaseException:
            self._close_listeners()
            raise

    def run(self) -> list[CutOff]:
        """Serve until SIGINT or SIGTERM, then drain; a second signal ends the drain at once.

        For programs: call it in the main thread.

        Returns
        -------
        list of CutOff
            The conversations that were cut off.

        Raises
        ------
        OSError
            See `listen`.
        Exception
            Whatever ended the accept loop, such as an exception that `handle_error` raised.
        """
        self.listen()
        with Waker() as self._run_waker, self._signals():
            if isinstance(self.engine, ProcessesEngine):
                # A process that forks had better have no second thread.
                self.engine.on_child = self._become_a_child
                self._serve()
            else:
                self.start()
                self._run_waker.wait()
            return self._finish()

    def start(self) -> None:
        """Serve in a thread of the server's own, until `stop`. For embedding.

        Raises
        ------
        OSError
            See `listen`.
        """
        self.listen()
        self.engine.on_child = self._let_go_of_listeners
        # A daemon: a sequential server may be in the middle of a conversation that does not end.
        self._thread = threading.Thread(target=self._serve, name="manyhands-accept", daemon=True)
        self._thread.start()

    def _become_a_child(self) -> None:
        _leave_signals_to_the_parent()
        self._let_go_of_listeners()

    def _let_go_of_listeners(self) -> None:
        """Close a child's copies: while one is open the port answers, though nobody accepts."""
        for listener in self._listeners:
            if listener.socket_type == socket.SOCK_STREAM:
                listener.socket.close()

    def stop(self) -> None:
        """Ask the server to stop; return at once. `run` then drains, and so does leaving the context."""
        self._is_stopping = True
        for waker in (self._loop_waker, self._run_waker):
            if waker is not None:
                waker.wake()

    def hurry(self) -> None:
        """Cut short the drain that is, or will be, under way."""
        self._is_in_a_hurry = True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._finish()

    def _serve(self) -> None:
        try:
            with Waker() as self._loop_waker:
                loop = AcceptLoop(self._listeners, lambda: self._is_stopping)
                loop.run(self._loop_waker, POLL_INTERVAL)
        except BaseException as failure:  # noqa: BLE001 - `_finish` raises it, in the thread that runs the server
            self._failure = failure
        finally:
            # Without listeners, or on a forked handler's word, the loop ends by itself.
            self.stop()

    def _finish(self) -> list[CutOff]:
        """Stop listening, so that nobody calls in vain, then drain."""
        engine = self.engine
        if self._thread is not None and engine.name != "sequential":
            # An engine belongs to one thread at a time: the loop's, then the drain's.
            self._thread.join()
        self._close_listeners()
        cut_off = drain(engine, self._drain_timeout, lambda: self._is_in_a_hurry)
        if self._thread is not None:
            self._thread.join(timeout=POLL_INTERVAL)
        self._thread, self._is_stopping, self._is_in_a_hurry = None, False, False
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return cut_off

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.server_close()
        self._listeners = []

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the hook's form
            if self._is_stopping:
                self.hurry()
            self.stop()

        before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave_signals_to_the_parent() -> None:
    """Have a child go on when a terminal or a supervisor signals the whole group: the parent drains."""

    def take_no_notice(number: int, frame: FrameType | None) -> None:
        """Do nothing; SIG_IGN would be inherited by programs that the handler starts."""

    for number in _SIGNALS:
        signal.signal(number, take_no_notice)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise Mistake(f"{unknown[0]!r} is no option of Server; these are: {', '.join(OPTIONS)}")
    for name, value in options.items():
        BY_NAME[name].check(value)
    return {name: BY_NAME[name].default_for(served=True) for name in OPTIONS} | options


def _check_handler(handler: object, addresses: list[Address]) -> None:
    if not addresses:
        raise Mistake("a server needs an address to listen on, such as tcp://127.0.0.1:8008")
    name = getattr(handler, "__name__", repr(handler))
    if not callable(handler) or not _takes_a_request(handler):
        raise Mistake(
            f"{name} is no handler: it must be a class derived from BaseRequestHandler, or callable "
            "with (request, client_address, server)"
        )
    # By name: the standard library's handler classes serve here as well, and are as particular.
    kinds = [kind.__name__ for kind in getattr(handler, "__mro__", ())]
    for address in addresses:
        is_stream = address.scheme in {"tcp", "unix"}
        wrong = "DatagramRequestHandler" if is_stream else "StreamRequestHandler"
        if wrong in kinds:
            raise Mistake(f"{name} is a {wrong}, which cannot serve {address}")


def _takes_a_request(handler: Callable[..., object]) -> bool:
    try:
        inspect.signature(handler).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:  # a callable written in C tells nothing
        return True
    return True
