"""Lists of networks, and the addresses in them."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.model.networks import Networks
from manyhands.model.usage_errors import Mistake

NETWORKS = Networks.parse(("10.0.0.0/8", "2001:db8::/32", "192.0.2.1"))


@pytest.mark.parametrize(
    "client_address",
    [
        ("10.0.0.0", 1),
        ("10.255.255.255", 1),
        ("192.0.2.1", 1),
        ("::ffff:10.1.2.3", 1, 0, 0),
        ("2001:db8::", 1, 0, 0),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 1, 0, 0),
        ("2001:db8::1%eth0", 1, 0, 3),
    ],
)
def test_a_client_of_a_network_is_in_the_list(client_address: object) -> None:
    assert client_address in NETWORKS


@pytest.mark.parametrize(
    "client_address",
    [
        ("9.255.255.255", 1),
        ("11.0.0.0", 1),
        ("192.0.2.0", 1),
        ("192.0.2.2", 1),
        ("0.0.0.0", 1),
        ("255.255.255.255", 1),
        ("2001:db7:ffff::", 1, 0, 0),
        ("2001:db9::", 1, 0, 0),
        ("::10.1.2.3", 1, 0, 0),
        ("::", 1, 0, 0),
    ],
)
def test_any_other_client_is_not(client_address: object) -> None:
    assert client_address not in NETWORKS


@pytest.mark.parametrize("client_address", ["", b"", "10.1.2.3", None, ("a.host", 1), ()])
def test_a_client_without_an_ip_address_is_in_no_network(client_address: object) -> None:
    assert client_address not in Networks.parse(("0.0.0.0/0", "::/0"))


def test_no_networks_hold_no_address() -> None:
    assert not Networks()
    assert ("10.1.2.3", 1) not in Networks()
    assert Networks.parse(()) == Networks()


def test_every_ipv6_address_is_no_ipv4_address_and_the_other_way_round() -> None:
    assert ("10.1.2.3", 1) not in Networks.parse("::/0")
    assert ("::ffff:10.1.2.3", 1, 0, 0) not in Networks.parse("::/0")
    assert ("2001:db8::1", 1, 0, 0) not in Networks.parse("0.0.0.0/0")


def test_a_network_written_as_ipv6_shows_ipv4_is_an_ipv4_network() -> None:
    assert Networks.parse("::ffff:10.0.0.0/104") == Networks.parse("10.0.0.0/8")
    assert ("10.1.2.3", 1) in Networks.parse("::ffff:0:0/96")
    assert ("10.1.2.3", 1) not in Networks.parse("::fffe:0:0/95")


def test_one_text_may_have_several_networks_and_shows_them_again() -> None:
    networks = Networks.parse("10.0.0.0/8,2001:DB8::/32 , 192.0.2.1/32")
    assert networks == NETWORKS
    assert str(networks) == "10.0.0.0/8, 2001:db8::/32, 192.0.2.1"
    assert Networks.parse(str(networks)) == networks
    assert hash(networks) == hash(NETWORKS)
    assert len(networks) == 3


def test_a_netmask_is_a_prefix_too() -> None:
    assert Networks.parse("10.0.0.0/255.0.0.0") == Networks.parse("10.0.0.0/8")


WRITTEN = "networks are written 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("10.0.0.0/33", "/33 must be a whole number from /0 to /32"),
        ("2001:db8::/x", "/x must be a whole number from /0 to /128"),
        ("::/9\n\0", r"/9\n\x00 must be a whole number from /0 to /128"),
        ("fe80::1%eth0", "a network has no scope; leave out the '%'"),
        ("localhost", WRITTEN),
        ("10.0/8", WRITTEN),
        ("10.0.0.0/8/8", WRITTEN),
        (167772160, "networks are texts, as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1"),
    ],
)
def test_what_is_no_network_is_refused_in_a_sentence(entry: str, why: str) -> None:
    with pytest.raises(Mistake) as mistake:
        Networks.parse(("192.0.2.1", entry))
    assert str(mistake.value) == f"{entry!r} is not a network: {why}"


@pytest.mark.parametrize(
    ("entry", "first", "network", "address"),
    [
        ("10.1.2.3/8", 8, "10.0.0.0/8", "10.1.2.3"),
        ("2001:db8::1/32", 32, "2001:db8::/32", "2001:db8::1"),
    ],
)
def test_of_an_address_with_a_prefix_it_is_said_what_may_be_meant(
    entry: str, first: int, network: str, address: str
) -> None:
    with pytest.raises(Mistake) as mistake:
        Networks.parse(entry)
    assert str(mistake.value) == (
        f"{entry!r} is not a network: the address has bits set after its first {first}; "
        f"the network is {network}, the one address {address}"
    )


# An empty variable in a start script must not admit every client.
@pytest.mark.parametrize("text", ["", " ", "10.0.0.0/8,", ","])
def test_an_empty_entry_is_a_mistake(text: str) -> None:
    with pytest.raises(Mistake, match="is not a network"):
        Networks.parse(text)


v4_networks = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.ip_addresses(v=4),
    st.integers(0, 32),
)
v6_networks = st.builds(
    lambda address, prefix: IPv6Network((address, prefix), strict=False),
    st.ip_addresses(v=6),
    st.integers(0, 128),
)


@given(st.lists(v4_networks | v6_networks, max_size=20), st.data())
def test_a_look_up_agrees_with_ipaddress(
    networks: list[IPv4Network | IPv6Network], data: st.DataObject
) -> None:
    edges = [
        ip_address(int(edge) + step)
        for network in networks
        for edge in (network.network_address, network.broadcast_address)
        for step in (-1, 0, 1)
        if 2**32 <= int(edge) + step < 2**128 or (network.version == 4 and int(edge) + step >= 0)
    ]
    address = data.draw(st.ip_addresses() | st.sampled_from(edges or [ip_address("192.0.2.1")]))
    real = getattr(address, "ipv4_mapped", None) or address
    expected = any(real in _as_ipv4_where_mapped(network) for network in networks)
    assert ((str(address), 1) in Networks.parse(map(str, networks))) is expected


def _as_ipv4_where_mapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if network.version == 6 and network.subnet_of(IPv6Network("::ffff:0:0/96")):
        mapped = int(network.network_address) & 0xFFFFFFFF
        return ip_network((mapped, network.prefixlen - 96))
    return network
