"""What the limits per address count by."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.model.networks import address_key


def test_an_ipv4_address_counts_by_itself() -> None:
    assert address_key(("192.0.2.1", 1)) == address_key(("192.0.2.1", 2))
    assert address_key(("192.0.2.1", 1)) != address_key(("192.0.2.2", 1))
    assert address_key(("::ffff:192.0.2.1", 1, 0, 0)) == address_key(("192.0.2.1", 1))


def test_an_ipv6_address_counts_with_its_network() -> None:
    here, there = ("2001:db8:0:1::1", 1, 0, 0), ("2001:db8:0:1:ffff::2", 1, 0, 0)
    assert address_key(here) == address_key(there)
    assert address_key(here) != address_key(("2001:db8:0:2::1", 1, 0, 0))
    assert address_key(here, 48) == address_key(("2001:db8:0:2::1", 1, 0, 0), 48)
    assert address_key(here, 128) != address_key(there, 128)


@pytest.mark.parametrize("client_address", ["", b"", None, ("a.host", 1)])
def test_a_client_without_an_ip_address_is_not_counted_by_address(client_address: object) -> None:
    assert address_key(client_address) is None


@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(1, 128))
def test_no_ipv4_address_shares_a_key_with_an_ipv6_network(
    fourth: IPv4Address, sixth: IPv6Address, prefix: int
) -> None:
    if sixth.ipv4_mapped is None:
        assert address_key((str(fourth), 1), prefix) != address_key((str(sixth), 1), prefix)
