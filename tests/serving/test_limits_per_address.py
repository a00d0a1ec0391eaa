"""Limits of one address, rates, and where clients may come from: on every engine, with events and counts."""

import re
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from manyhands import Server, events, socketserver
from manyhands.config.option_types import NetworkList
from manyhands.config.options import OPTIONS, by_group
from manyhands.connections.registry import Registry
from manyhands.model.connection_states import Reason
from manyhands.model.usage_errors import Mistake
from manyhands.serving.admission_control import AdmissionControl
from tests.support import bound, everything, read_line, serving, wait_until

from .admission_kit import (
    AT_ONCE,
    REFUSAL,
    Hold,
    calling,
    enter,
    inside,
    is_refused,
    leave,
    of_kind,
    server_of,
    wait_for_balance,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

several_at_once = pytest.mark.parametrize("engine", AT_ONCE)


class Elsewhere:
    """Says that its clients call from the addresses that the test gives, one after the other."""

    hosts: list[str]

    def get_request(self) -> tuple[Any, Any]:
        request, _ = super().get_request()  # type: ignore[misc]  # the server class that this stands before
        return request, (self.hosts.pop(0), 50_000)


def test_one_address_has_so_many_connections_and_others_have_theirs(engine: str) -> None:
    with serving(
        server_of(engine, Hold, max_connections_per_ip=1, refusal=REFUSAL), 0.02
    ) as server:
        registry = server.connections
        with inside(server.server_address, 1) as peers:
            if engine == "sequential":
                # One at a time as it is; no client is refused.
                leave(peers[0])
            else:
                assert is_refused(server.server_address, REFUSAL)
                other = socket.create_connection(
                    server.server_address, timeout=20, source_address=("127.0.0.2", 0)
                )
                assert read_line(other) == b"in\n"
                leave(other)
                leave(peers[0])
        wait_until(lambda: not registry)
        leave(enter(server.server_address))
        refused = {} if engine == "sequential" else {"refused_full_for_address": 1}
        wait_for_balance(registry, handler_returned=2 if engine == "sequential" else 3, **refused)


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_what_counts_as_one_address(first: str, same: str, other: str) -> None:
    kind = server_of(
        "threads", Hold, Elsewhere, max_connections_per_ip=1, hosts=[first, same, other]
    )
    with serving(kind) as server, inside(server.server_address, 1):
        assert is_refused(server.server_address)
        leave(enter(server.server_address))


def test_a_wider_network_of_ipv6_counts_as_one_address() -> None:
    hosts = ["2001:db8:0:1::1", "2001:db8:0:2::1"]
    options = {"max_connections_per_ip": 1, "ipv6_prefix": 56, "hosts": hosts}
    kind = server_of("threads", Hold, Elsewhere, **options)
    with serving(kind) as server, inside(server.server_address, 1):
        assert is_refused(server.server_address)


@pytest.mark.parametrize("option", ["max_rate", "max_rate_per_ip"])
def test_a_burst_gets_in_and_no_more(engine: str, option: str) -> None:
    burst = option.replace("max_rate", "rate_burst")
    # One a day: in the time of a test no token comes back.
    with serving(server_of(engine, Hold, **{option: 0.00002, burst: 3}), 0.02) as server:
        for _ in range(3):
            leave(enter(server.server_address))
        for _ in range(2):
            assert is_refused(server.server_address)
        wait_for_balance(server.connections, handler_returned=3, refused_too_fast=2)


def test_one_address_that_comes_too_fast_takes_nothing_from_others() -> None:
    hosts = ["192.0.2.1"] * 3 + ["192.0.2.2"]
    options = {"max_rate_per_ip": 0.00002, "max_rate": 0.00002, "rate_burst": 2, "hosts": hosts}
    with serving(server_of("threads", Hold, Elsewhere, **options)) as server:
        leave(enter(server.server_address))
        for _ in range(2):
            assert is_refused(server.server_address)
        leave(enter(server.server_address))


@pytest.mark.parametrize(
    "lists",
    [{"deny": "127.0.0.0/8"}, {"allow": ["10.0.0.0/8", "::1"]}, {"deny": ["::1", "127.0.0.1"]}],
)
def test_a_client_from_elsewhere_is_refused(
    engine: str, lists: dict[str, Any], seen: list[events.Event]
) -> None:
    with serving(server_of(engine, Hold, refusal="über\n", **lists), 0.02) as server:
        assert is_refused(server.server_address, "über\n".encode())
        wait_for_balance(server.connections, refused_denied=1)
    [told] = of_kind(seen, events.ConnectionsRefused)
    assert told.summary.counts == {Reason.REFUSED_DENIED: 1}


def test_an_ipv4_client_of_a_listener_for_both_is_known_as_such() -> None:
    with Server(Hold, "tcp://[::]:0", deny="127.0.0.0/8") as server:
        port = bound(server)[1]
        assert is_refused(("127.0.0.1", port))
        leave(enter(("::1", port)))


def test_lists_do_not_concern_unix_sockets(tmp_path: Any) -> None:
    with Server(Hold, f"unix://{tmp_path / 'door'}", allow="192.0.2.1") as server:
        leave(enter(bound(server)))


def test_a_refusal_comes_before_any_hook_and_any_handshake(authority: Any) -> None:
    asked = []

    class Asking:
        def verify_request(self, request: Any, client_address: Any) -> bool:
            asked.append(client_address)
            return True

    server = server_of("threads", Hold, Asking, deny="127.0.0.1", refusal=REFUSAL)
    server.socket = authority.server_context().wrap_socket(server.socket, server_side=True)
    with serving(server):
        # A refusal in clear is no TLS: nothing is said.
        assert is_refused(server.server_address)
        wait_for_balance(server.connections, refused_denied=1)
    assert asked == []


def test_lists_and_limits_can_be_changed_while_serving(engine: str) -> None:
    with Server(Hold, "tcp://127.0.0.1:0", engine=engine) as server:
        leave(enter(bound(server)))
        server.deny = ["127.0.0.0/8"]
        assert is_refused(bound(server))
        server.deny = None
        leave(enter(bound(server)))
        server.max_rate = 0.00002
        leave(enter(bound(server)))
        assert is_refused(bound(server))
        with pytest.raises(Mistake, match="deny must be a list of networks"):
            server.deny = "everybody"


@several_at_once
def test_a_limit_per_address_counts_connections_that_were_there_before_it(engine: str) -> None:
    with (
        Server(Hold, "tcp://127.0.0.1:0", engine=engine) as server,
        inside(bound(server), 2) as peers,
    ):
        server.max_connections_per_ip = 2
        assert is_refused(bound(server))
        leave(peers.pop())
        wait_until(lambda: len(server.connections) == 1)
        peers.append(enter(bound(server)))
        assert is_refused(bound(server))


def test_a_list_that_is_changed_in_place_is_noticed() -> None:
    with serving(server_of("threads", deny=["192.0.2.1"])) as server:
        leave(enter(server.server_address))
        server.deny.append("127.0.0.1")
        wait_until(lambda: is_refused_or_leaves(server.server_address))


def is_refused_or_leaves(address: Any) -> bool:
    with calling(address) as peer:
        peer.sendall(b"bye\n")
        return everything(peer) == b""


class Answer(socketserver.DatagramRequestHandler):
    """Answers each datagram."""

    def handle(self) -> None:
        self.wfile.write(b"here")


@pytest.mark.parametrize(
    ("options", "served", "why"),
    [
        ({"max_rate": 0.00002, "rate_burst": 1}, 1, Reason.REFUSED_TOO_FAST),
        ({"max_rate_per_ip": 0.00002, "rate_burst_per_ip": 2}, 2, Reason.REFUSED_TOO_FAST),
        ({"deny": "127.0.0.1"}, 0, Reason.REFUSED_DENIED),
    ],
)
def test_datagrams_are_dropped_by_the_same_rules(
    options: dict[str, Any], served: int, why: Reason, seen: list[events.Event]
) -> None:
    with (
        Server(Answer, "udp://127.0.0.1:0", **options) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(20)
        for _ in range(served):
            peer.sendto(b"?", bound(server))
            assert peer.recv(10) == b"here"
        peer.sendto(b"?", bound(server))
        wait_until(lambda: of_kind(seen, events.ConnectionsRefused))
        # Datagrams are in no registry, which has connections alone.
        assert server.connections.balance == (0, 0, 0)
    [told] = of_kind(seen, events.ConnectionsRefused)
    assert re.search(
        rf"refused 1 datagram from 127.0.0.1:\d+: {re.escape(why.sentence)}", str(told)
    )


@pytest.mark.parametrize("name", [name for name in by_group("limits") if not OPTIONS[name].needs])
def test_each_limit_of_the_table_is_enough_to_have_clients_checked(name: str) -> None:
    control = AdmissionControl(Registry())
    control.follow(SimpleNamespace())
    assert not control.is_guarded
    value = "192.0.2.1" if isinstance(OPTIONS[name].kind, NetworkList) else 1
    control.follow(SimpleNamespace(**{name: value}))
    assert control.is_guarded
