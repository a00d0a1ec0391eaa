"""An exception in any hook: reported, survived, nothing leaked, the next client served."""

import contextlib
import socketserver as standard
import threading
from types import ModuleType
from typing import Any

import pytest

from manyhands import socketserver
from tests.support import (
    ask,
    call,
    is_closed_by_server,
    left_open,
    open_descriptors,
    server_class,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture(autouse=True)
def forget_what_a_thread_s_last_step_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget it: it is threading.excepthook's, as in the standard library, and pytest's keeps it."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)


class HookError(Exception):
    """What a hook under test raises."""


LOOP_HOOKS = ["get_request", "verify_request", "process_request", "service_actions"]
WORKER_HOOKS = ["finish_request", "shutdown_request", "close_request"]
HANDLER_HOOKS = ["setup", "handle", "finish"]


class Handler(socketserver.StreamRequestHandler):
    """Echoes; a hook of it raises when the client says so."""

    def failing(self, hook: str) -> None:
        if self.server.fail == hook:
            self.server.fail = ""
            raise HookError(hook)

    def setup(self) -> None:
        super().setup()
        self.failing("setup")

    def handle(self) -> None:
        self.failing("handle")
        for line in self.rfile:
            self.wfile.write(line)

    def finish(self) -> None:
        super().finish()
        self.failing("finish")


def fragile(engine: str, hook: str, error: type[Exception], base: Any = None) -> Any:
    """Make a server class whose hook raises once, for the first connection after `fail` was set."""
    kind = base or server_class(engine)

    class Fragile(kind):  # type: ignore[misc]  # a class of the engine
        fail = ""
        reported: list[Any]

        def handle_error(self, request: Any, client_address: Any) -> None:
            self.reported.append(request)

    def raise_once(self: Any, *arguments: Any) -> Any:
        if self.fail == hook:
            self.fail = ""
            if hook == "get_request":
                connection, _ = super(Fragile, self).get_request()
                connection.close()
            raise error(hook)
        return getattr(super(Fragile, self), hook)(*arguments)

    if hook not in HANDLER_HOOKS:
        setattr(Fragile, hook, raise_once)
    Fragile.reported = []
    return Fragile


@pytest.mark.parametrize("error", [HookError, OSError, RuntimeError])
@pytest.mark.parametrize("hook", LOOP_HOOKS + WORKER_HOOKS)
def test_the_service_survives_a_hook_of_the_server(
    engine: str, hook: str, error: type[Exception]
) -> None:
    with serving(fragile(engine, hook, error)(HERE, Handler), poll_interval=0.01) as server:
        assert ask(server.server_address) == b"hello\n"
        server.fail = hook
        with call(server.server_address) as peer, contextlib.suppress(OSError):
            peer.settimeout(1)
            peer.shutdown(1)
            peer.recv(100)
        # A forked child raises for itself alone; the parent goes on in any case.
        server.fail = ""
        assert ask(server.server_address) == b"hello\n"


@pytest.mark.parametrize("hook", LOOP_HOOKS + WORKER_HOOKS)
def test_a_hook_of_the_server_that_raises_leaks_nothing(engine: str, hook: str) -> None:
    before, threads = open_descriptors(), set(threading.enumerate())
    with serving(fragile(engine, hook, HookError)(HERE, Handler), poll_interval=0.01) as server:
        for _ in range(3):
            server.fail = hook
            with call(server.server_address) as peer, contextlib.suppress(OSError):
                peer.settimeout(1)
                peer.shutdown(1)
                peer.recv(100)
            server.fail = ""
        assert ask(server.server_address) == b"hello\n"
    server.reported.clear()
    del server
    assert set(threading.enumerate()) <= threads
    assert not left_open(before)


@pytest.mark.parametrize(
    "hook", ["get_request", "verify_request", "process_request", "service_actions"]
)
def test_a_hook_of_the_loop_is_reported(engine: str, hook: str) -> None:
    with serving(fragile(engine, hook, HookError)(HERE, Handler), poll_interval=0.01) as server:
        server.fail = hook
        with call(server.server_address) as peer, contextlib.suppress(OSError):
            peer.shutdown(1)
            wait_until(lambda: server.reported)
    (request,) = server.reported
    concerns_a_connection = hook in {"verify_request", "process_request"}
    assert (request is not None) == concerns_a_connection


@pytest.mark.parametrize("hook", ["get_request", "verify_request"])
def test_the_standard_library_s_loop_dies_of_a_hook(hook: str) -> None:
    kind = fragile("sequential", hook, HookError, standard.TCPServer)
    with kind(HERE, Handler) as server, call(server.server_address):
        server.fail = hook
        with pytest.raises(HookError):
            server.serve_forever(0.01)


@pytest.mark.parametrize("hook", HANDLER_HOOKS)
def test_the_service_survives_a_handler_and_closes_its_connection(
    engine: str, hook: str, module: ModuleType
) -> None:
    kind = fragile(engine, hook, HookError, server_class(engine, module))
    before = open_descriptors()
    with serving(kind(HERE, Handler)) as server:
        server.fail = hook
        with call(server.server_address) as peer:
            peer.shutdown(1)
            assert is_closed_by_server(peer)
        server.fail = ""
        assert ask(server.server_address) == b"hello\n"
        if engine != "processes":
            wait_until(lambda: len(server.reported) == 1)
    server.reported.clear()
    assert not left_open(before)


def test_what_handle_error_raises_in_the_loop_ends_it(module: ModuleType) -> None:
    class Strict(module.TCPServer):  # type: ignore[name-defined,misc]  # a class of either module
        def handle_error(self, request: Any, client_address: Any) -> None:
            raise  # noqa: PLE0704 - programs do it to stop at the first error

    def handler(*_: object) -> None:
        raise HookError

    with Strict(HERE, handler) as server, call(server.server_address) as peer:
        with pytest.raises(HookError):
            server.serve_forever(0.01)
        if module is socketserver:
            assert is_closed_by_server(peer)


def test_what_handle_error_raises_in_a_worker_does_not_end_the_loop(
    module: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    for engine in ("threads", "processes"):

        class Strict(server_class(engine, module)):  # type: ignore[misc]  # see above
            def handle_error(self, request: Any, client_address: Any) -> None:
                raise  # noqa: PLE0704 - see above

        def handler(*_: object) -> None:
            raise HookError

        with serving(Strict(HERE, handler)) as server:
            for _ in range(2):
                with call(server.server_address) as peer:
                    assert is_closed_by_server(peer)
    capfd.readouterr()


@pytest.mark.parametrize("hook", ["server_bind", "server_activate"])
def test_a_server_that_cannot_begin_gives_its_descriptor_back(
    engine: str, module: ModuleType, hook: str
) -> None:
    kind = fragile(engine, hook, HookError, server_class(engine, module))
    kind.fail = hook
    before = open_descriptors()
    with pytest.raises(HookError):
        kind(HERE, Handler)
    assert not left_open(before)


def test_what_handle_timeout_raises_is_the_caller_s(engine: str, module: ModuleType) -> None:
    class Impatient(server_class(engine, module)):  # type: ignore[misc]  # see above
        timeout = 0.01

        def handle_timeout(self) -> None:
            raise HookError

    with Impatient(HERE, Handler) as server:
        with pytest.raises(HookError):
            server.handle_request()
        with call(server.server_address) as peer:
            peer.shutdown(1)
            server.handle_request()
            assert is_closed_by_server(peer)


def test_an_accept_that_always_raises_does_not_eat_a_processor() -> None:
    # A bug in get_request meets the same waiting client again and again.
    class Broken(socketserver.TCPServer):
        tries = 0

        def get_request(self) -> Any:
            type(self).tries += 1
            raise HookError

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing."""

    with serving(Broken(HERE, Handler)) as server, call(server.server_address):
        wait_until(lambda: Broken.tries)
        threading.Event().wait(0.5)
        assert server.tries < 100
