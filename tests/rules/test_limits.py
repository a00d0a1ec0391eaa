"""What admission limits."""

from typing import Any

import pytest

from manyhands.admission.limits import Limits
from manyhands.model.networks import Networks, ip_of
from manyhands.model.usage_errors import Mistake

SOME = Networks.parse("10.0.0.0/8, 2001:db8::/32")
ONE = Networks.parse("10.0.0.1")


def denied(limits: Limits, client_address: object) -> bool:
    return limits.denies(client_address, ip_of(client_address))


def test_nothing_is_limited_until_somebody_asks_for_it() -> None:
    assert Limits().pace is None
    assert Limits().pace_per_ip is None
    assert not denied(Limits(), ("192.0.2.1", 1))


def test_deny_keeps_out_whom_it_has() -> None:
    assert denied(Limits(deny=SOME), ("10.1.2.3", 1))
    assert denied(Limits(deny=SOME), ("::ffff:10.1.2.3", 1, 0, 0))
    assert not denied(Limits(deny=SOME), ("192.0.2.1", 1))


def test_allow_keeps_out_whom_it_has_not() -> None:
    assert not denied(Limits(allow=SOME), ("2001:db8::1", 1, 0, 0))
    assert denied(Limits(allow=SOME), ("192.0.2.1", 1))


def test_deny_wins_over_allow() -> None:
    assert denied(Limits(allow=ONE, deny=SOME), ("10.0.0.1", 1))
    assert not denied(Limits(allow=SOME, deny=ONE), ("10.0.0.2", 1))


@pytest.mark.parametrize("client_address", ["", b"", "/run/client.sock", None])
def test_neither_concerns_a_unix_socket(client_address: object) -> None:
    assert not denied(Limits(allow=SOME, deny=SOME), client_address)


def test_who_has_a_host_that_is_no_ip_address_is_not_among_those_that_are_allowed() -> None:
    assert denied(Limits(allow=SOME), ("a.host", 1))
    assert not denied(Limits(deny=SOME), ("a.host", 1))


def test_a_rate_has_a_burst() -> None:
    limits = Limits(max_rate=10.0, rate_burst=50, max_rate_per_ip=2.0)
    assert limits.pace is not None
    assert (limits.pace.rate, limits.pace.burst) == (10.0, 50)
    assert limits.pace_per_ip is not None
    assert (limits.pace_per_ip.rate, limits.pace_per_ip.burst) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"max_connections": 0},
            "max_connections must be a whole number of at least 1, or None, not 0",
        ),
        ({"rate_burst": 1.5}, "rate_burst must be a whole number of at least 1, or None, not 1.5"),
        (
            {"max_rate": 0},
            "max_rate must be a number per second from 0.00001 to 1000000, or None, not 0",
        ),
        ({"ipv6_prefix": 129}, "ipv6_prefix must be a whole number from 1 to 128, not 129"),
        ({"ipv6_prefix": None}, "ipv6_prefix must be a whole number from 1 to 128, not None"),
    ],
)
def test_a_limit_that_does_not_fit_is_named_in_a_sentence(
    wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Mistake) as mistake:
        Limits(**wrong)
    assert str(mistake.value) == sentence
