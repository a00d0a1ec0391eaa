"""What a process of a program is as a worker: its servers are dealt what they serve."""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from manyhands.connections.tls_handshake import is_tls, tls_terms_of
from manyhands.hub.member import HubMember
from manyhands.launcher.request_turns import RequestTurns
from manyhands.launcher.stop_signal import StopSignal
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.caller import is_main_thread
from manyhands.runtime.sockets import unix_socket
from manyhands.runtime.worker_number import be_worker
from manyhands.serving.controls import controls_of
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.serve_loops import process_watch
from manyhands.workers.dealt_books import DealtAdmission, DealtRegistry
from manyhands.workers.dealt_socket import DealtSocket
from manyhands.workers.dealt_tls_socket import DealtTLSSocket
from manyhands.workers.hand_over import WorkerHandOver, hand_over_of
from manyhands.workers.lane_socket import LaneSocket
from manyhands.workers.link import Link
from manyhands.workers.records import Lane
from manyhands.workers.share import Share
from manyhands.workers.shared_page import SharedPage, Slot
from manyhands.workers.stacks import tell_when_asked

DRAIN_TIMEOUT = 30.0
"""Seconds that connections get at a drain where the supervisor has not said."""


class ProgramWorker:
    """A worker of a program.

    Parameters
    ----------
    share
        What it was given.
    servers
        The program's servers by the positions of their listeners.
    first
        The one that is the first to be served.
    stop_signal
        The handler of SIGTERM.
    is_served_by_loop
        Whether that is by `serve_forever`, and not by `handle_request`.
    """

    def __init__(
        self,
        share: Share,
        servers: Mapping[int, Any],
        first: Any,
        stop_signal: StopSignal,
        *,
        is_served_by_loop: bool,
    ) -> None:
        be_worker(share.number)
        self._servers = list(servers.values())
        self._turns = RequestTurns()
        slot = SharedPage(share.page).slot(share.slot)
        self._link = Link(share.link, slot.ended)
        self._stop_signal = stop_signal
        stop_signal.act = self._on_stop_signal
        self._drain_timeout = float(share.options.get("drain_timeout", DRAIN_TIMEOUT))
        # Before the supervisor knows of the worker: a drain may come before the loop begins.
        self._main_thread_serves = is_main_thread()
        self._was_told = False
        """Whether its end is the supervisor's, or an operator's, and not the program's."""

        self._has_returned = False
        """Whether what the program called last to serve has returned, and has not raised."""

        self._has_drained = self._is_ending = False
        tell_when_asked(share.stacks)
        for position, (endpoint, _) in enumerate(share.listeners):
            served = servers.get(position)
            if served is None:
                os.close(endpoint.descriptor)  # of another generation, which has bound more
            elif endpoint.kind == socket.SOCK_DGRAM:
                timeout = served.socket.gettimeout()
                served.socket.close()
                served.socket = LaneSocket(fileno=endpoint.descriptor)
                served.socket.settimeout(timeout)
            else:
                self._have_dealt(served, position, endpoint, slot)
        self._adjust(share.options, first)
        for _, descriptor in share.spares:
            os.close(descriptor)  # a program has one socket for each of its servers
        self._link.on_lanes = partial(self._read_lanes, servers)
        engine = core_of(first).engines.of(first).name
        self._hand_over = self._made_hand_over(share, servers, engine)
        self._link.on_drain = self._drain
        self._link.on_hurry = partial(self._drain, 0.0)
        self._link.begin()
        self._heed_signals()
        self._open_control(share, first)
        hub = HubMember(core_of(first), share.hub.encode("latin-1"), share.number)
        hub.start()
        hub.wait_until_connected()
        _count_turns(first, slot)
        atexit.register(self._end)
        resumes = self._hand_over is not None
        self._link.tell_ready({"engine": engine, "turns": is_served_by_loop, "resumes": resumes})

    # What it serves

    @staticmethod
    def _adjust(options: Mapping[str, Any], server: Any) -> None:
        """Change what operators have changed, as they do: of the server that they ask about."""
        controls = controls_of(server)
        values = {name: value for name, value in options.items() if name in controls.adjustable}
        with contextlib.suppress(Mistake):  # the program's own class refuses
            controls.adjust(values)

    def _have_dealt(self, server: Any, position: int, endpoint: Any, slot: Slot) -> None:
        listening = server.socket
        name, timeout = listening.getsockname(), listening.gettimeout()
        what = endpoint.descriptor, endpoint.family, name, position, slot, self._link
        if is_tls(listening):
            server.socket = DealtTLSSocket(*what)
            server.socket.speak(tls_terms_of(listening))
        else:
            server.socket = DealtSocket(*what)
        server.socket.settimeout(timeout)
        listening.close()
        registry = DealtRegistry(self._link)
        books = registry, DealtAdmission(registry, self._link)
        vars(server)["_server_core"] = ServerCore(core_of(server).engines.chosen, books=books)

    def _made_hand_over(
        self, share: Share, servers: Mapping[int, Any], engine: str
    ) -> WorkerHandOver | None:
        """Return what hands connections over; None unless all servers of the program have handlers for it."""
        handlers = [getattr(server, "RequestHandlerClass", None) for server in self._servers]
        made = hand_over_of(share.hand_overs, handlers, engine, self._link.tell_end)
        if made is None:
            return None
        self._link.on_hand_over, self._link.on_keep = made.ask, made.keep
        for position, server in servers.items():
            made.note_listener(server, position)
            core = core_of(server)
            core.hand_over = made
            if isinstance(core.registry, DealtRegistry):
                core.registry.hand_over = made
        return made

    @staticmethod
    def _read_lanes(servers: Mapping[int, Any], position: int, lanes: int) -> None:
        """Read the socket for datagrams at a position, or read it no more, as the supervisor says."""
        if position in servers:
            core = core_of(servers[position])
            core.is_read_elsewhere = not lanes & Lane.OWN
            core.loops.wake()

    def handle(self, server: Any, handle_request: Callable[[Any], Any]) -> Any:
        """Serve one request of a server whose program calls for it."""
        self._has_returned = False
        result = self._turns.serve(server, handle_request)
        self._has_returned = True
        return result

    def note_serving_thread(self) -> None:
        """Note that the calling thread serves."""
        self._main_thread_serves = self._main_thread_serves or is_main_thread()

    def note_return(self) -> None:
        """Note that `serve_forever` has returned."""
        self._has_returned = True

    def _open_control(self, share: Share, server: Any) -> None:
        connection = unix_socket(socket.SOCK_STREAM, share.control)
        if process_watch.on_begin is None:
            connection.close()
            return
        # That of the launcher would open a socket of its own.
        process_watch.on_begin = None
        from manyhands.control.sockets import control_sockets  # noqa: PLC0415 - few programs have one

        control_sockets.enter_connected(controls_of(server), connection)

    # Its end

    def _heed_signals(self) -> None:
        if not is_main_thread():
            return
        # A terminal sends these to all processes: the supervisor tells what follows.
        for number in (signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
                signal.signal(number, signal.SIG_IGN)
        self._stop_signal.note_before(self._note_told)

    def _note_told(self) -> None:
        self._was_told = True

    def _on_stop_signal(self) -> None:
        if self._has_drained:
            # Once: two drains may have the program end, and what ends does so undisturbed.
            if not self._is_ending:
                self._is_ending = True
                raise SystemExit(0)
            return
        # Not here: a signal handler takes no lock.
        threading.Thread(target=self._leave, daemon=True).start()

    def _leave(self) -> None:
        self._link.tell_leaving()
        self._drain(None)

    def _drain(self, seconds: float | None) -> None:
        """Drain all servers; the program goes on after its `serve_forever` then."""
        self._was_told = True
        for each in self._servers:
            # Without a time the supervisor goes on, and has the clients back that this worker ends.
            core_of(each).spreads_closings = seconds is None
        given = self._drain_timeout if seconds is None else seconds
        drains = [
            threading.Thread(target=partial(_quietly, each.drain, given), daemon=True)
            for each in self._servers
            if each not in self._turns and hasattr(each, "drain")
        ]
        self._turns.end(given)
        for thread in drains:
            thread.start()
        threading.Thread(target=self._end_program, args=(drains, given), daemon=True).start()

    def _end_program(self, drains: list[threading.Thread], seconds: float) -> None:
        """Have the program come to its end where its main thread does not serve, and may wait for ever."""
        for thread in drains:
            thread.join()
        if self._turns:
            self._turns.has_left.wait(seconds)
        if self._main_thread_serves:
            return
        self._has_drained = True
        if not self._stop_signal.is_handled:
            self._say_goodbye()  # for nothing of the program runs any more
        os.kill(os.getpid(), signal.SIGTERM)

    def _end(self) -> None:
        """Tell that the program has come to its end; was it by itself, then that is the end of all."""
        if self._has_returned and not self._was_told and getattr(sys, "last_value", None) is None:
            self._link.tell_stop()
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        if self._hand_over is not None:
            self._hand_over.wait_until_sent()
        self._link.tell_gone()


def _quietly(drain: Callable[[float], object], seconds: float) -> None:
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        drain(seconds)


def _count_turns(server: Any, slot: Slot) -> None:
    """Have each turn of a server's accept loop counted."""
    act = server.service_actions

    def service_actions() -> None:
        slot.note_turn()
        act()

    server.service_actions = service_actions
