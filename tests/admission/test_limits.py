"""What admission limits."""

import pytest

from manyhands.admission.admission import Limits
from manyhands.model.networks import Networks
from manyhands.model.socket_addresses import client_ip

SOME = Networks.parse("10.0.0.0/8, 2001:db8::/32")
ONE = Networks.parse("10.0.0.1")


def denied(limits: Limits, client_address: object) -> bool:
    return limits.denies(client_address, client_ip(client_address))


def test_nothing_is_limited_by_default() -> None:
    assert Limits() == Limits(allow=Networks(), deny=Networks())
    assert Limits().max_rate is Limits().max_rate_per_ip is Limits().max_connections_per_ip is None
    assert not denied(Limits(), ("192.0.2.1", 1))


def test_deny_keeps_out_the_addresses_that_it_has() -> None:
    assert denied(Limits(deny=SOME), ("10.1.2.3", 1))
    assert denied(Limits(deny=SOME), ("::ffff:10.1.2.3", 1, 0, 0))
    assert not denied(Limits(deny=SOME), ("192.0.2.1", 1))


def test_allow_keeps_out_the_addresses_that_it_has_not() -> None:
    assert not denied(Limits(allow=SOME), ("2001:db8::1", 1, 0, 0))
    assert denied(Limits(allow=SOME), ("192.0.2.1", 1))


def test_deny_wins_over_allow() -> None:
    assert denied(Limits(allow=ONE, deny=SOME), ("10.0.0.1", 1))
    assert not denied(Limits(allow=SOME, deny=ONE), ("10.0.0.2", 1))


@pytest.mark.parametrize("client_address", ["", b"", "/run/client.sock", None])
def test_neither_concerns_a_unix_socket(client_address: object) -> None:
    assert not denied(Limits(allow=SOME, deny=SOME), client_address)


@pytest.mark.parametrize("limits", [Limits(allow=SOME), Limits(deny=SOME)], ids=["allow", "deny"])
def test_a_host_whose_address_is_not_known_is_kept_out(limits: Limits) -> None:
    assert denied(limits, ("a.host", 1))
    assert denied(limits, ("",))
    assert not denied(Limits(), ("a.host", 1))


def test_no_network_denies_a_client_of_another_family() -> None:
    assert denied(Limits(allow=SOME), (3, 1024))
    assert not denied(Limits(deny=SOME), (3, 1024))
