"""How a `manyhands.Server` stands still, and how it comes to its end: backlog, drain, and all given back."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from . import service
from .blocking_calls import blocking
from .engines import Engine
from .listener import Listener
from .rules.address import Address
from .rules.mistakes import Mistake
from .rules.options import BY_NAME
from .servers import standing
from .servers.drain import CutOff, drain, ring
from .servers.engine_room import EngineRoom


class ServerEnd:
    """What `manyhands.Server` inherits to stand still, and to come to its end."""

    _room: EngineRoom
    _listeners: list[Listener]
    _thread: threading.Thread | None
    _failure: BaseException | None
    _drain_timeout: float
    _is_running = False
    _is_stopping = False
    _is_in_a_hurry = False
    _is_suspended = False
    _seconds_to_drain: float | None = None
    _run_has_ended: threading.Event
    _runner = 0
    _cut_off: list[CutOff]
    service: service.Service | None

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""
        raise NotImplementedError

    @property
    def addresses(self) -> list[Address]:
        """Where the server listens."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask the server to stop; return at once."""
        raise NotImplementedError

    def reload(self) -> bool:
        """Read the certificates again."""
        raise NotImplementedError

    # Standing still

    def suspend(self) -> None:
        """Accept nobody until `resume`: the kernel's backlog holds who calls, and who is connected goes on.

        Thread-safe, from handlers too, but for forked ones (`RuntimeError`). Before the server listens, it
        has it begin that way. A handler's `self.server.suspend()` concerns the one address that was called.
        """
        self._stand_still(is_to=True)

    def resume(self) -> None:
        """Accept connections again, on all addresses, after `suspend`. Thread-safe."""
        self._stand_still(is_to=False)

    def _stand_still(self, *, is_to: bool) -> None:
        self._is_suspended = is_to
        for listener in self._listeners:
            standing.stand_still(listener, is_to=is_to)

    def wait_for_connections(
        self,
        n: int | None = None,
        timeout: float | None = None,
        *,
        at_least: int | None = None,
        at_most: int | None = None,
    ) -> bool:
        """Wait until `n` connections are open, or between `at_least` and `at_most`, however shortly.

        Thread-safe, from handlers too; on fibers the others run meanwhile.

        Parameters
        ----------
        n : int, optional
            Exactly so many.
        timeout : float, optional
            Seconds; None: without end.
        at_least, at_most : int, optional
            In the place of `n`: so many or more, so many or fewer.

        Returns
        -------
        bool
            False when that has not come about in `timeout` seconds.

        Raises
        ------
        Mistake
            When it is not said how many to wait for, or in two ways.
        """
        if (n is None) == (at_least is None and at_most is None):
            raise Mistake("wait_for_connections takes n, or at_least and at_most")
        least, most = (at_least, at_most) if n is None else (n, n)
        return blocking(self._room.books.wait_for, least, most, timeout)

    # The end

    def drain(self, timeout: float | None = None) -> list[CutOff]:
        """Stop and drain in `timeout` seconds, as `close` does; while `run` is under way, have it do so.

        Parameters
        ----------
        timeout : float, optional
            Seconds that the conversations get; None: the server's `drain_timeout`.

        Returns
        -------
        list of CutOff
            The conversations that were cut off, and what they were doing.

        Raises
        ------
        RuntimeError
            When a handler calls it, for whose end it would wait, or the thread that is in `run`.
        Mistake
            When `timeout` is no time.
        """
        if timeout is not None:
            BY_NAME["drain_timeout"].as_served().check(timeout)
        standing.refuse_a_handler(*self._listeners)
        self._seconds_to_drain = timeout
        if not self._is_running:
            self.stop()
            return self._finish()
        if self._runner == threading.get_ident():
            raise RuntimeError("this thread runs the server: call stop(), and `run` drains")
        has_ended = self._run_has_ended
        self.stop()
        has_ended.wait()
        return self._cut_off

    def close(self) -> list[CutOff]:
        """Stop, drain, and give everything back, as leaving the context does. Once more does no harm.

        The conversations under way get `drain_timeout` seconds to come to their end, `hurry` permitting;
        an exception meanwhile, such as a `KeyboardInterrupt`, cuts them off.

        Returns
        -------
        list of CutOff
            The conversations that were cut off, and what they were doing.

        Raises
        ------
        RuntimeError
            When a handler calls it, for whose end it would wait, or while `run` is under way, which closes
            the server itself: there, `stop` is enough.
        Exception
            Whatever ended the accept loop.
        """
        standing.refuse_a_handler(*self._listeners)
        if self._is_running:
            raise RuntimeError(
                "the server is being served: call stop(), and it closes when it has drained"
            )
        self.stop()
        return self._finish()

    @contextmanager
    def _marked_as_running(self) -> Iterator[None]:
        self._runner, self._run_has_ended = threading.get_ident(), threading.Event()
        self._is_running, self.service = True, service.of_environment(self)
        try:
            yield
        finally:
            self._is_running, self.service = False, None
            self._run_has_ended.set()

    def _finish(self) -> list[CutOff]:
        """Stop listening, so that nobody calls in vain; drain; and be as new."""
        self._cut_off = []
        self.stop()
        ring(self._room)
        try:
            self._leave_the_loop()
            self._close_listeners(socket.SOCK_STREAM)
            self._cut_off = drain(self._room, self._time_to_drain(), self._hurries, self._join)
            failure = self._failure
        except BaseException:
            # A second Ctrl-C where nobody handles signals, for one: nobody waits any longer.
            self.engine.cut_off()
            raise
        finally:
            self._close_listeners()
            self._thread = self._failure = self._seconds_to_drain = None
            self._is_stopping = self._is_in_a_hurry = self._room.books.is_draining = False
        if failure is not None:
            raise failure
        return self._cut_off

    def _time_to_drain(self) -> float:
        own = self._seconds_to_drain
        return self._drain_timeout if own is None else own

    def _leave_the_loop(self) -> None:
        """Take the engine over from the accept loop: it belongs to one thread at a time."""
        if self.engine.name == "sequential":
            return  # which serves in the loop, and ends with it
        if self._thread is not None:
            self._thread.join()
        try:
            if self._failure is None:
                for listener in self._listeners:
                    standing.serve_backlog(listener, self.engine, self._is_over_at_once)
        except Exception as failure:  # noqa: BLE001 - what `handle_error` raises ends the service, as in the loop
            self._failure = failure

    def _join(self, timeout: float) -> bool:
        if self._thread is None or self.engine.name != "sequential":
            return self.engine.join(timeout)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _is_over_at_once(self) -> bool:
        return self._is_in_a_hurry

    def _hurries(self) -> bool:
        if self.service is not None:
            self.service.draining()
        return self._is_in_a_hurry

    def _close_listeners(self, kind: socket.SocketKind | None = None) -> None:
        """Close the listeners of one kind, or all.

        The socket of datagrams is the one that their answers go out on, so it outlasts the drain.
        """
        for listener in self._listeners:
            if kind in {None, listener.socket_type}:
                listener.server_close()
            else:
                listener.stop_receiving()
        if kind is None:
            self._listeners = []
            bell, self._room.bell = self._room.bell, None
            if bell is not None:
                bell.close()
