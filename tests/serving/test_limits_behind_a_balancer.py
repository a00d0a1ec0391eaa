"""Limits of addresses go by the client that the PROXY header announces."""

from typing import Any

import pytest

from manyhands.proxy import encode_v2
from tests.connections.proxy_kit import CLIENT, SERVICE, V2, balanced, say
from tests.support import call, everything, read_line

from .admission_kit import Hold, leave, wait_for_balance

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

OTHER = encode_v2(("192.0.2.7", 4711), SERVICE)


def test_the_announced_client_is_denied_and_the_balancer_is_not(engine: str) -> None:
    with balanced(engine, Hold, deny=CLIENT[0]) as server:
        assert say(server.server_address, V2) == b""
        assert say(server.server_address, OTHER) == b"in\n"
        wait_for_balance(server.connections, refused_denied=1, peer_closed=1)


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_each_announced_address_has_connections_of_its_own(engine: str) -> None:
    with (
        balanced(engine, Hold, max_connections_per_ip=1) as server,
        call(server.server_address) as first,
        call(server.server_address) as second,
        call(server.server_address) as other,
    ):
        first.sendall(V2)
        assert read_line(first) == b"in\n"
        second.sendall(V2)
        assert everything(second) == b""
        other.sendall(OTHER)
        assert read_line(other) == b"in\n"
        leave(first)
        leave(other)
        wait_for_balance(server.connections, refused_full_for_address=1, handler_returned=2)


def test_no_client_gets_past_the_rules_by_the_handler_for_the_overflow(engine: str) -> None:
    def overflow(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"served")

    limits = {"max_connections": 1, "when_full": staticmethod(overflow), "allow": "192.0.2.7"}
    with (
        balanced(engine, Hold, **limits) as server,
        call(server.server_address) as first,
    ):
        first.sendall(OTHER)
        assert read_line(first) == b"in\n"
        if engine != "sequential":  # which accepts no client meanwhile
            assert say(server.server_address, V2) == b""
        leave(first)
        refused = {} if engine == "sequential" else {"refused_full": 1}
        wait_for_balance(server.connections, handler_returned=1, **refused)
