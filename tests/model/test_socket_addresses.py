"""What is read of the address of a socket: its IP address, and the key that limits count by."""

import json
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.model.socket_addresses import (
    IPV6_PREFIX,
    address_key,
    address_of_plain,
    client_ip,
    plain_address,
)


def test_an_ipv4_client_has_the_host_of_its_pair() -> None:
    assert client_ip(("192.0.2.1", 50000)) == (32, int(IPv4Address("192.0.2.1")))


@pytest.mark.parametrize("host", ["fe80::1", "fe80::1%eth0", "fe80::1%2"])
def test_a_scope_is_no_part_of_an_ipv6_address(host: str) -> None:
    assert client_ip((host, 50000, 0, 2)) == (128, int(IPv6Address("fe80::1")))


@pytest.mark.parametrize("host", ["::ffff:192.0.2.1", "::ffff:c000:201", "::FFFF:192.0.2.1"])
def test_an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client(host: str) -> None:
    assert client_ip((host, 50000, 0, 0)) == client_ip(("192.0.2.1", 50000))


@pytest.mark.parametrize("host", ["::192.0.2.1", "64:ff9b::192.0.2.1", "::ffff:0:192.0.2.1"])
def test_other_addresses_with_an_ipv4_address_in_them_are_ipv6(host: str) -> None:
    assert client_ip((host, 50000, 0, 0)) == (128, int(IPv6Address(host)))


@pytest.mark.parametrize(
    "client_address",
    [
        "",
        b"",
        b"\0abstract",
        "/run/x.sock",
        # A client may bind its Unix socket to any path, one that reads like an address too.
        "192.0.2.1",
        None,
        (),
        (None, 1),
        (b"192.0.2.1", 1),
        (3, 1234),
        ("can0",),
        ("00:11:22:33:44:55", 1),
        ("localhost", 1),
        ("1.2.3", 1),
        ("192.0.2.1\0", 1),
        ("1.2.3.\udc80", 1),
        ("::1::", 1),
        ["192.0.2.1", 1],
    ],
)
def test_an_address_that_is_no_ip_address_has_no_ip(client_address: object) -> None:
    assert client_ip(client_address) is None


@given(st.ip_addresses())
def test_every_address_is_read_as_ipaddress_reads_it(address: IPv4Address | IPv6Address) -> None:
    real = getattr(address, "ipv4_mapped", None) or address
    assert client_ip((str(address), 1)) == (real.max_prefixlen, int(real))
    if address.version == 6:
        assert client_ip((address.exploded, 1)) == (real.max_prefixlen, int(real))


@given(st.text() | st.from_regex(r"[0-9a-f:.%]*", fullmatch=True))
def test_no_host_whatever_it_is_raises(host: str) -> None:
    client_ip((host, 1))


def key(client_address: object, ipv6_prefix: int = IPV6_PREFIX) -> int | None:
    return address_key(client_ip(client_address), ipv6_prefix)


def test_an_ipv4_address_counts_by_itself() -> None:
    assert key(("192.0.2.1", 1)) == key(("192.0.2.1", 2))
    assert key(("192.0.2.1", 1)) != key(("192.0.2.2", 1))
    assert key(("::ffff:192.0.2.1", 1, 0, 0)) == key(("192.0.2.1", 1))


def test_an_ipv6_address_counts_with_its_network() -> None:
    here, there = ("2001:db8:0:1::1", 1, 0, 0), ("2001:db8:0:1:ffff::2", 1, 0, 0)
    assert key(here) == key(there)
    assert key(here) != key(("2001:db8:0:2::1", 1, 0, 0))
    assert key(here, 48) == key(("2001:db8:0:2::1", 1, 0, 0), 48)
    assert key(here, 128) != key(there, 128)


@pytest.mark.parametrize("client_address", ["", b"", None, ("a.host", 1)])
def test_a_client_without_an_ip_address_is_not_counted_by_address(client_address: object) -> None:
    assert key(client_address) is None


@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(1, 128))
def test_no_ipv4_address_shares_a_key_with_an_ipv6_network(
    fourth: IPv4Address, sixth: IPv6Address, prefix: int
) -> None:
    if sixth.ipv4_mapped is None:
        assert key((str(fourth), 1), prefix) != key((str(sixth), 1), prefix)


@pytest.mark.parametrize(
    "address",
    [("192.0.2.1", 1), ("fe80::1", 1, 0, 2), "", "/run/\udcff.sock", b"\0name", b"\0\xff\0", None],
)
def test_any_address_goes_through_json(address: object) -> None:
    assert address_of_plain(json.loads(json.dumps(plain_address(address)))) == address
