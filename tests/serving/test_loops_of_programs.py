"""Programs without `serve_forever`: `handle_request`, and own loops around `_handle_request_noblock`."""

import contextlib
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest

from manyhands import events, socketserver
from manyhands.admission.refusal_log import RefusalLog, RefusalNotices
from manyhands.model.connection_states import Reason
from manyhands.serving import admission_control, core, followed_options, handle_request
from manyhands.serving.core import core_of
from manyhands.serving.reaper import ReaperTurns
from tests.support import Echo, everything, read_line, serving, wait_until
from tests.support.waiting import PATIENCE

from .admission_kit import (
    AT_ONCE,
    Hold,
    calling,
    enter,
    inside,
    is_refused,
    leave,
    of_kind,
    server_of,
)

SHORT = 0.1
"""Seconds: a deadline that passes within a test."""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@contextlib.contextmanager
def in_a_thread(act: Callable[[], object]) -> Iterator[threading.Thread]:
    """Act in a thread that has ended when the context has."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextlib.contextmanager
def own_loop(server: Any) -> Iterator[Any]:
    """Serve by a loop like those of programs that wait for other things as well."""
    inside, outside = socket.socketpair()

    def loop() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            selector.register(inside, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is inside:
                        return
                    server._handle_request_noblock()

    with server, inside, outside, in_a_thread(loop):
        try:
            yield server
        finally:
            outside.send(b".")


# One request at a time


def test_the_one_place_comes_free_though_its_client_has_vanished() -> None:
    server = server_of("processes", Echo, max_connections=1, idle_timeout=SHORT)
    with server, calling(server.server_address) as idle:
        server.handle_request()
        with (
            calling(server.server_address) as second,
            in_a_thread(server.handle_request),
        ):
            assert everything(idle) == b""
            second.sendall(b"hello\n")
            assert read_line(second) == b"hello\n"
        wait_until(lambda: server.connections.closed.get(Reason.IDLE) == 1)


def test_a_peer_that_vanished_is_ended_while_no_client_comes() -> None:
    server = server_of("processes", Echo, idle_timeout=SHORT, timeout=PATIENCE)
    with server, calling(server.server_address) as idle:
        server.handle_request()
        with in_a_thread(server.handle_request):
            assert everything(idle) == b""
            wait_until(lambda: server.connections.closed == {Reason.IDLE: 1})
            with calling(server.server_address):
                pass


def test_a_forked_handler_s_own_deadline_holds_while_no_client_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Own(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.deadlines.idle_timeout = SHORT
            self.rfile.read()

    turns: list[float | None] = []
    turn = ReaperTurns.turn
    monkeypatch.setattr(ReaperTurns, "turn", lambda *its: turns.append(turn(*its)) or turns[-1])
    server = server_of("processes", Own)
    registry = server.connections
    with server, calling(server.server_address) as idle:
        server.handle_request()
        with in_a_thread(server.handle_request):
            wait_until(lambda: turns)
            idle.sendall(b"from now on\n")
            assert everything(idle) == b""
            wait_until(lambda: registry.closed == {Reason.IDLE: 1})
            with calling(server.server_address):
                pass


def test_waiting_in_vain_for_a_place_leaves_nothing_behind() -> None:
    with (
        server_of("threads", max_connections=1, timeout=None) as server,
        calling(server.server_address) as first,
    ):
        server.handle_request()
        assert read_line(first) == b"in\n"
        server.timeout = 0.001
        for _ in range(3):
            server.handle_request()
        assert not core_of(server).admission._wakes
        leave(first)


def test_a_loop_that_ends_while_a_client_waits_leaves_nothing_behind(
    seen: list[events.Event],
) -> None:
    server = server_of("threads", max_connections=1)
    with serving(server), inside(server.server_address, 1), calling(server.server_address):
        wait_until(lambda: of_kind(seen, events.ServerFull))
        server.shutdown()
        assert not core_of(server).admission._wakes


class Keeping:
    """Keeps its connections, and serves them nowhere."""

    kept: list[Any]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.kept.append(request)


class AtLine:
    """Acts in the middle of what its thread does: when that comes to its nth line, in modules that lock."""

    MODULES = frozenset({"threading", "queue", admission_control.__name__, handle_request.__name__})

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self._left = number
        self._act = act

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_globals.get("__name__") not in self.MODULES:
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                self._act()
        return self


def test_a_wait_for_a_place_may_be_woken_at_any_moment_in_its_own_thread() -> None:
    for number in range(1, 60):
        kept: list[Any] = []
        with (
            server_of("sequential", Hold, Keeping, max_connections=1, kept=kept) as server,
            calling(server.server_address),
            calling(server.server_address),
        ):
            server.handle_request()
            # As a signal handler does that drops a connection, or the collector in its way.
            with in_a_thread(partial(traced, AtLine(number, kept.clear), server.handle_request)):
                pass
            assert len(kept) == 1
            kept.clear()


def traced(trace: Any, act: Callable[[], object]) -> None:
    sys.settrace(trace)
    act()


# Loops of their own


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_deadlines_hold_in_a_loop_of_the_program_s_own(engine: str) -> None:
    with own_loop(server_of(engine, Echo, idle_timeout=SHORT)) as server:
        with calling(server.server_address) as peer:
            assert everything(peer) == b""
        wait_until(lambda: server.connections.closed == {Reason.IDLE: 1})


def test_with_forked_handlers_a_deadline_there_holds_with_the_next_call() -> None:
    with own_loop(server_of("processes", Echo, idle_timeout=SHORT)) as server:
        registry = server.connections
        with calling(server.server_address) as idle:
            wait_until(lambda: registry)
            [connection] = registry.snapshot()
            wait_until(lambda: connection.age > 2 * SHORT)
            with calling(server.server_address):
                assert everything(idle) == b""


@pytest.mark.parametrize("engine", AT_ONCE)
def test_a_cap_set_later_holds_there(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_options, "OPTIONS_INTERVAL", 0.0)
    with (
        own_loop(server_of(engine, Echo, when_full="refuse")) as server,
        calling(server.server_address) as peer,
    ):
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
        server.max_connections = 1
        assert is_refused(server.server_address)


@pytest.mark.parametrize("engine", AT_ONCE)
def test_the_cap_holds_there_and_a_client_that_waits_is_served_later(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_options, "OPTIONS_INTERVAL", 0.0)
    with own_loop(server_of(engine, max_connections=1)) as server:
        first = enter(server.server_address)
        with calling(server.server_address) as second:
            leave(first)
            assert read_line(second) == b"in\n"
            leave(second)
        if engine == "processes":
            wait_until(lambda: server.service_actions() or not server.connections)


def test_refusals_are_told_there(seen: list[events.Event]) -> None:
    now = 100.0
    server = server_of("threads", deny="127.0.0.1")
    core_of(server).unserved.refusals = RefusalNotices(RefusalLog(lambda: now))
    with own_loop(server):
        for _ in range(3):
            assert is_refused(server.server_address)
        now += 10.0
        server.deny = None
        core_of(server).options.changed()
        with calling(server.server_address):
            wait_until(lambda: len(of_kind(seen, events.ConnectionsRefused)) == 2)


def test_where_a_loop_of_ours_serves_nothing_more_is_done_for_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attended: list[Any] = []
    monkeypatch.setattr(core.ServerCore, "attend", lambda core, server: attended.append(server))
    server = server_of("threads", Echo)
    with serving(server), calling(server.server_address) as peer:
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
    assert attended == []
    assert not core_of(server).reaper.accept_loops
