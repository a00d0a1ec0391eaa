"""Where the page may be, the names it has there, and its link."""

import pytest

from manyhands.model.addresses import parse
from manyhands.model.usage_errors import Mistake
from manyhands.web.addresses import link, names_of, refuse_unsafe
from manyhands.web.guards import LOOPBACK_NAMES

LOCAL = list(LOOPBACK_NAMES)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:80",
        "tcp://127.9.9.9:80",
        "tcp://[::1]:80",
        "tcp://localhost:80",
        "unix:///run/page",
        "tls://192.0.2.1:443",
        "tls://:443",
    ],
)
def test_where_no_network_hears_it_in_clear_it_may_be(address: str) -> None:
    refuse_unsafe(parse(address))


@pytest.mark.parametrize(
    "address",
    [
        "tcp://192.0.2.1:80",
        "tcp://:80",
        "tcp://0.0.0.0:80",
        "tcp://[::]:80",
        "tcp://[2001:db8::1]:80",
        "udp://127.0.0.1:80",
        "unix-datagram:///run/page",
        "fd://3",
        "tls+fd://3",
        "systemd://web",
    ],
)
def test_elsewhere_it_may_not(address: str) -> None:
    with pytest.raises(Mistake, match="the page is not served on"):
        refuse_unsafe(parse(address))


@pytest.mark.parametrize(
    ("address", "given", "names"),
    [
        ("tcp://127.0.0.1:80", [], LOCAL),
        ("tcp://127.0.0.1:80", ["status.example.org"], ["status.example.org", *LOCAL]),
        ("unix:///run/page", ["status.example.org"], ["status.example.org", *LOCAL]),
        ("tls://192.0.2.1:443", [], ["192.0.2.1"]),
        ("tls://[::]:443", ["status.example.org"], ["status.example.org"]),
    ],
)
def test_its_names_are_those_of_its_address_and_those_that_were_given(
    address: str, given: list[str], names: list[str]
) -> None:
    assert names_of([parse(address)], given) == names


@pytest.mark.parametrize(
    ("address", "names", "url"),
    [
        ("tcp://127.0.0.1:8010", ["proxy.example.org", *LOCAL], "http://127.0.0.1:8010/#t=T"),
        ("tcp://[::1]:8010", LOCAL, "http://[::1]:8010/#t=T"),
        ("tls://192.0.2.1:8443", ["status.example.org"], "https://status.example.org:8443/#t=T"),
        ("tls://[::]:8443", ["status.example.org"], "https://status.example.org:8443/#t=T"),
        ("tls://192.0.2.1:8443", ["192.0.2.1"], "https://192.0.2.1:8443/#t=T"),
    ],
)
def test_the_link_has_a_name_that_the_page_lets_in(
    address: str, names: list[str], url: str
) -> None:
    assert link(parse(address), names, "T") == url


def test_a_unix_socket_has_no_link() -> None:
    assert link(parse("unix:///run/page"), LOCAL, "T") is None
