"""How a `manyhands.Server` comes to its end: the backlog served, the drain, and everything given back."""

import socket
import threading
import time
from typing import TYPE_CHECKING

from .engines import Engine
from .listener import Listener
from .rules.options import BY_NAME
from .server_run import Run
from .servers import standing
from .servers.conversation import current
from .servers.drain import LOOK_AGAIN, CutOff, cut_off, drain, leave_behind, ring
from .servers.engine_room import EngineRoom

if TYPE_CHECKING:
    from .service import Service


class ServerEnd:
    """What `manyhands.Server` inherits to come to its end."""

    _room: EngineRoom
    _run: Run
    _listeners: list[Listener]
    drain_timeout: float
    service: "Service | None"

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask the server to stop; return at once. `run`, `close` or leaving the context then drains.

        Whoever has connected by then is still served. Called before the server serves, it has the next
        `run` or `start` stop at once, so that no signal that comes early is lost.
        """
        self._run.stop()

    def hurry(self) -> None:
        """Cut short the drain that is, or will be, under way."""
        self._run.is_in_a_hurry = True

    def drain(self, timeout: float | None = None) -> list[CutOff]:
        """Stop and drain in `timeout` seconds, as `close` does; while `run` is under way, have it do so.

        A drain that is under way already keeps the time that it has, and is waited for.

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
        self._refuse_a_handler()
        run = self._run
        if run.runner == threading.get_ident():
            raise RuntimeError("this thread runs the server: call stop(), and `run` drains")
        if timeout is not None:
            run.seconds_to_drain = timeout
        run.stop()
        if run.runner is None:
            return self._finish()
        run.wait()
        return run.cut_off

    def close(self) -> list[CutOff]:
        """Stop, drain, and give everything back, as leaving the context does. Once more does no harm.

        The conversations under way get `drain_timeout` seconds to come to their end, `hurry` permitting;
        an exception meanwhile, such as a `KeyboardInterrupt`, cuts them off. While another thread does the
        same, it waits for that.

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
        self._refuse_a_handler()
        if self._run.runner is not None:
            raise RuntimeError(
                "the server is being served: call stop(), and it closes when it has drained"
            )
        return self._finish()

    def _refuse_a_handler(self) -> None:
        # Be it one that an earlier run has left behind.
        served = current()
        if served is not None and getattr(served.server, "owner", None) is self:
            standing.refuse_a_handler(served.server)

    def _be_as_new(self, run: Run) -> None:
        self._run = Run()
        run.note_end()

    def _finish(self) -> list[CutOff]:
        """Bring the run to its end, unless another thread does, which is then waited for."""
        run = self._run
        if not run.claims_the_end():
            run.wait()
            return run.cut_off
        try:
            run.stop()
            run.is_draining = True
            ring(self._room)
            self._drain(run)
        except BaseException:
            # A second Ctrl-C where nobody handles signals, for one: nobody waits any longer.
            run.cut_off = cut_off(self._room)
            leave_behind(self._room)
            raise
        finally:
            self._close_listeners()
            self._room.books.is_draining = False
            if run.runner is None:
                self._be_as_new(run)
        if run.failure is not None:
            raise run.failure
        return run.cut_off

    def _drain(self, run: Run) -> None:
        """Stop listening, so that nobody calls in vain; then wait for the conversations."""
        began, timeout = time.monotonic(), run.seconds_to_drain
        if timeout is None:
            timeout = self.drain_timeout
        if self.engine.name != "sequential":  # which serves in the loop, and ends with it
            self._leave_the_loop(run, began + timeout)
        self._close_listeners(socket.SOCK_STREAM)
        run.cut_off = drain(
            self._room,
            timeout,
            lambda: self._hurries(run),
            lambda most: self._join(run, most),
            began,
        )

    def _leave_the_loop(self, run: Run, deadline: float) -> None:
        """Take the engine over from the accept loop: it belongs to one thread at a time."""
        thread = run.thread
        while thread is not None and thread.is_alive():
            if run.is_in_a_hurry or time.monotonic() >= deadline:
                return  # a hook of the program's holds it up
            thread.join(LOOK_AGAIN)
        try:
            if run.failure is None:
                for listener in self._listeners:
                    standing.serve_backlog(listener, self.engine, lambda: run.is_in_a_hurry)
        except Exception as failure:  # noqa: BLE001 - what `handle_error` raises ends the service, as in the loop
            run.failure = failure

    def _join(self, run: Run, timeout: float) -> bool:
        if run.thread is None or self.engine.name != "sequential":
            return self.engine.join(timeout)
        run.thread.join(timeout)
        return not run.thread.is_alive()

    def _hurries(self, run: Run) -> bool:
        if self.service is not None:
            self.service.draining()
        return run.is_in_a_hurry

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
