"""Where the page may be, the names it has there, and its link."""

import socket

import pytest

from manyhands.model.addresses import parse
from manyhands.model.usage_errors import Mistake
from manyhands.web.addresses import link, names_of, refuse_unsafe
from manyhands.web.guards import LOOPBACK_NAMES, Hosts

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
        ("tcp://127.0.0.2:80", [], [*LOCAL, "127.0.0.2"]),
        ("unix:///run/page", ["status.example.org"], ["status.example.org", *LOCAL]),
        ("tls://192.0.2.1:443", [], ["192.0.2.1"]),
        ("tls://[::]:443", ["status.example.org"], ["status.example.org"]),
    ],
)
def test_its_names_are_those_of_its_address_and_those_that_were_given(
    address: str, given: list[str], names: list[str]
) -> None:
    assert names_of([parse(address)], given) == names


NAME = "status.example.org"


@pytest.mark.parametrize(
    ("addresses", "given", "bound", "host"),
    [
        (["tcp://127.0.0.1:0"], [NAME], "tcp://127.0.0.1:8010", "http://127.0.0.1:8010"),
        (["tcp://127.0.0.2:8010"], [], "tcp://127.0.0.2:8010", "http://127.0.0.2:8010"),
        (["tls://127.0.0.2:8010"], [], "tls://127.0.0.2:8010", "https://127.0.0.2:8010"),
        (["tcp://localhost:8010"], [], "tcp://127.0.0.1:8010", "http://localhost:8010"),
        (["tcp://[::1]:8010"], [], "tcp://[::1]:8010", "http://[::1]:8010"),
        (["tls://192.0.2.1:8443"], [NAME], "tls://192.0.2.1:8443", f"https://{NAME}:8443"),
        (["tls://192.0.2.1:8443"], [], "tls://192.0.2.1:8443", "https://192.0.2.1:8443"),
        (["tls://[::]:0"], [NAME], "tls://[::]:8443", f"https://{NAME}:8443"),
        (
            ["tcp://127.0.0.1:80", "tls://192.0.2.1:443"],
            [],
            "tls://192.0.2.1:443",
            "https://192.0.2.1:443",
        ),
        (["tcp://127.0.0.1:80", "tls://:443"], [NAME], "tcp://127.0.0.1:80", "http://127.0.0.1:80"),
    ],
)
def test_the_link_has_a_name_that_the_page_lets_in(
    addresses: list[str], given: list[str], bound: str, host: str
) -> None:
    parsed = [parse(each) for each in addresses]
    assert link(parse(bound), parsed, given, "T") == f"{host}/#t=T"
    assert Hosts(names_of(parsed, given)).has(host.partition("://")[2])


def test_the_name_of_a_machine_is_in_the_link_and_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Debian has it in /etc/hosts, as 127.0.1.1."""
    resolved = socket.getaddrinfo("127.0.1.1", 8010, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: resolved)
    address = parse("tcp://vm.example:8010")
    assert link(parse("tcp://127.0.1.1:8010"), [address], [], "T") == "http://vm.example:8010/#t=T"
    assert Hosts(names_of([address], [])).has("vm.example:8010")


def test_a_unix_socket_has_no_link() -> None:
    address = parse("unix:///run/page")
    assert link(address, [address], [], "T") is None
