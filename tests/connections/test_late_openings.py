"""Deadlines of connections that are opened late: a slow handshake, or a PROXY header that takes its time."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from manyhands.model.connection_states import Reason
from manyhands.serving.reaper import Expiry
from manyhands.testing import call, everything, wait_until
from tests.support import Authority, Echo, secured, server_class, serving

from .proxy_kit import V1

SHORT = 0.1
"""Seconds: a deadline that passes within a test."""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """What each look at a connection has returned."""
    returned: list[float | None] = []
    look = Expiry.look

    def note(expiry: Expiry, *arguments: Any) -> float | None:
        wait = look(expiry, *arguments)
        # The reaper of another test's server may look a last time, at none.
        if expiry._registry:
            returned.append(wait)
        return wait

    monkeypatch.setattr(Expiry, "look", note)
    return returned


@contextlib.contextmanager
def handling_requests(server: Any) -> Iterator[Any]:
    """Have a thread handle one request, and no more."""
    with server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield server
        thread.join()


@contextlib.contextmanager
def serving_without_interval(server: Any) -> Iterator[Any]:
    """Serve by a loop that wakes only for clients."""
    with serving(server, None):
        yield server


WAYS = pytest.mark.parametrize("serve", [handling_requests, serving_without_interval])

WITH_A_SWEEP = pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])


def drop_in(engine: str, **attributes: Any) -> Any:
    kind = server_class(engine)
    return type(kind.__name__, (kind,), {"idle_timeout": SHORT, **attributes})(
        ("127.0.0.1", 0), Echo
    )


def wait_for_two_looks(looks: list[float | None]) -> None:
    """Wait until the reaper has looked at a connection that is not open, and come back once more."""
    wait_until(lambda: len(looks) >= 2)
    assert None not in looks


@WAYS
@WITH_A_SWEEP
def test_a_client_is_idle_after_a_slow_handshake(
    engine: str, serve: Callable[..., Any], looks: list[float | None], authority: Authority
) -> None:
    with serve(secured(drop_in(engine), authority)) as server:
        registry = server.connections
        with call(server.server_address) as plain:
            wait_for_two_looks(looks)
            context = authority.client_context()
            with context.wrap_socket(plain, server_hostname="localhost") as peer:
                assert everything(peer) == b""
        wait_until(lambda: registry.closed == {Reason.IDLE: 1})


@WAYS
@WITH_A_SWEEP
def test_a_client_is_idle_after_a_slow_proxy_header(
    engine: str, serve: Callable[..., Any], looks: list[float | None]
) -> None:
    with serve(drop_in(engine, proxy_protocol=True)) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            wait_for_two_looks(looks)
            peer.sendall(V1)
            assert everything(peer) == b""
        wait_until(lambda: registry.closed == {Reason.IDLE: 1})
