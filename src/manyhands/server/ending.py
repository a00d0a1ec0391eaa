"""How a `manyhands.Server` comes to its end: the backlog served, the drain, and everything given back."""

import socket
import threading
import time
from typing import TYPE_CHECKING

from manyhands.config.options import SERVER_OPTIONS
from manyhands.connections.conversation import current
from manyhands.engines import Engine
from manyhands.model.connection_states import Reason
from manyhands.server.listener import Listener
from manyhands.server.run import Run
from manyhands.serving import suspend
from manyhands.serving.core import EngineRoom
from manyhands.serving.drain import LOOK_AGAIN, CutOff, cut_off, drain, leave_behind, ring

if TYPE_CHECKING:
    from manyhands.server.systemd import Service

LAST_TURN = 0.5
"""Seconds that the accept loop gets to end, however little time there is: it takes milliseconds, unless
something holds it up."""


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
            SERVER_OPTIONS["drain_timeout"].check(timeout)
        self._refuse_a_handler()
        run = self._run
        if run.runner == threading.get_ident():
            raise RuntimeError("this thread runs the server: call stop(), and `run` drains")
        if timeout is not None:
            run.seconds_to_drain = timeout
        run.stop()
        return self._finish(run) if run.runner is None else run.outcome()

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
        run = self._run
        if run.runner is not None:
            raise RuntimeError(
                "the server is being served: call stop(), and it closes when it has drained"
            )
        return self._finish(run)

    def _refuse_a_handler(self) -> None:
        # Be it one that an earlier run has left behind.
        served = current()
        if served is not None and getattr(served.server, "owner", None) is self:
            suspend.refuse_a_handler(served.server)

    def _finish(self, run: Run) -> list[CutOff]:
        """Bring a run to its end, unless somebody else does; return who was cut off."""
        claim = object()
        try:
            run.claim_the_end(claim)
            if run.is_ended_by(claim):
                run.stop()
                run.is_draining = True
                ring(self._room)
                self._drain(run)
        except BaseException:
            # A second Ctrl-C where nobody handles signals, for one: nobody waits any longer.
            if run.is_ended_by(claim):
                run.cut_off = cut_off(self._room)
                leave_behind(self._room)
            raise
        finally:
            if run.is_ended_by(claim):
                self._be_as_new(run)
        return run.outcome()

    def _be_as_new(self, run: Run) -> None:
        try:
            self._close_listeners()
        finally:
            self._room.books.is_draining = False
            self._run = Run()
            run.note_end()

    def _drain(self, run: Run) -> None:
        """Stop listening, so that nobody calls in vain; then wait for the conversations."""
        began, timeout = time.monotonic(), run.seconds_to_drain
        if timeout is None:
            timeout = self.drain_timeout
        if self.engine.name != "sequential":  # which serves in the loop, and ends with it
            self._leave_the_loop(run, began + LAST_TURN, began + timeout)
        self._close_listeners(socket.SOCK_STREAM)
        run.cut_off = drain(
            self._room,
            timeout,
            lambda: self._hurries(run),
            lambda most: self._join(run, most),
            began,
        )
        if run.thread is not None and run.thread.is_alive():
            self._turn_away_who_comes_too_late()

    def _leave_the_loop(self, run: Run, earliest: float, deadline: float) -> None:
        """Take the engine over from the accept loop: it belongs to one thread at a time.

        Give up on one that is held up at the deadline, or in a hurry, but not before `earliest`.
        """
        thread = run.thread
        while thread is not None and thread.is_alive():
            now = time.monotonic()
            if now >= earliest and (run.is_in_a_hurry or now >= deadline):
                return
            thread.join(LOOK_AGAIN)
        try:
            if run.failure is None:
                for listener in self._listeners:
                    suspend.serve_backlog(listener, self.engine, lambda: run.is_in_a_hurry)
        except Exception as failure:  # noqa: BLE001 - what `handle_error` raises ends the service, as in the loop
            run.failure = failure

    def _turn_away_who_comes_too_late(self) -> None:
        """End what the accept loop has in hand, which something holds up: its handler will not begin."""
        for connection in self._room.books.snapshot():
            connection.close(Reason.CUT_OFF)

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
