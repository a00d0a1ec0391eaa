"""Which connections end when all places are taken, with real clients; a balancer tells their addresses."""

import http.client
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from manyhands.server import Server
from manyhands.testing import call, everything, socket_address, wait_until
from manyhands.web.eviction import FREED, LOOK, MOST_CONNECTIONS, SOON, Eviction
from tests.support import Echo
from tests.support.waiting import PATIENCE

from .kit import HERE, TOKEN, page_of, watched

FEW, MANY = "192.0.2.1", "192.0.2.2"
"""Client addresses."""

CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "connections.list"}).encode()
RIGHT = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


def test_while_others_wait_places_are_freed_again_and_again_soon() -> None:
    with (
        Server(Echo, HERE, max_connections=MOST_CONNECTIONS, idle_timeout=None) as server,
        ExitStack() as stack,
    ):
        connections = server.connections
        eviction = Eviction(lambda: connections)
        assert eviction.look() == LOOK > SOON
        address = socket_address(server.addresses[0])
        clients = [stack.enter_context(call(address)) for _ in range(MOST_CONNECTIONS + FREED)]
        for first in (0, FREED):
            # More than there are places: the ones before have ended.
            wait_until(lambda first=first: connections.accepted == MOST_CONNECTIONS + first)
            assert eviction.look() == SOON
            for oldest in clients[first : first + FREED]:
                assert everything(oldest) == b""
        assert connections.wait_for(at_most=MOST_CONNECTIONS - 1, timeout=PATIENCE)
        assert eviction.look() == LOOK


def test_many_clients_at_one_address_drive_out_none_at_another_and_none_with_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.web.http_connection.KEEP_ALIVE", 2 * PATIENCE)
    with watched(tmp_path), page_of(tmp_path, proxy_protocol=True) as page, ExitStack() as stack:

        def client(ip: str) -> http.client.HTTPConnection:
            peer = stack.enter_context(call(socket_address(page.addresses[0])))
            peer.settimeout(PATIENCE)
            peer.sendall(f"PROXY TCP4 {ip} 192.0.2.9 1 2\r\n".encode())
            connection = http.client.HTTPConnection("localhost")
            connection.sock = peer
            # It is to show whether this very one is still there.
            connection.auto_open = 0
            return connection

        def is_answered(connection: http.client.HTTPConnection) -> bool:
            if connection is known:
                connection.request("POST", "/calls", CALL, RIGHT)
            else:
                connection.request("GET", "/")
            with connection.getresponse() as response:
                return response.status == 200 and bool(response.read())

        known, elsewhere = client(MANY), client(FEW)
        # All places but one are taken, by clients whose addresses the server has read.
        others = [client(MANY) for _ in range(MOST_CONNECTIONS - 3)]
        assert all(map(is_answered, [known, elsewhere, *others]))
        client(MANY)
        assert everything(others[0].sock) == b""
        assert is_answered(elsewhere)
        assert is_answered(known)
