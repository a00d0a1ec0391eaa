"""Sockets that are given: their descriptors tell what they are; what cannot be served is said."""

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyhands.listening import inherited_sockets
from manyhands.listening.endpoints import endpoints
from manyhands.listening.inherited_sockets import duplicate
from manyhands.model.addresses import parse
from manyhands.model.usage_errors import Mistake
from tests.support import open_descriptors


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def refusal(address: str) -> str:
    with pytest.raises(Mistake) as caught:
        endpoints(parse(address))
    return str(caught.value)


def test_family_kind_and_address_are_the_socket_s_own(
    listening: socket.socket, tmp_path: Path
) -> None:
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as sixth,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as on_a_path,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract,
    ):
        datagrams.bind(("127.0.0.1", 0))
        on_a_path.bind(str(tmp_path / "x.sock"))
        on_a_path.listen()
        abstract.bind(f"\0{tmp_path}")
        for ours in (listening, sixth, datagrams, on_a_path, abstract):
            (found,) = endpoints(parse(f"fd://{ours.fileno()}"))
            assert (found.family, found.kind) == (ours.family, ours.type)
            assert found.address == ours.getsockname()
            assert (found.descriptor, found.is_tls) == (ours.fileno(), False)
    (found,) = endpoints(parse(f"tls+fd://{listening.fileno()}"))
    assert found.is_tls


def test_what_is_no_socket_that_can_be_served_is_told_in_a_sentence(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with (
        one,
        other,
        (tmp_path / "file").open("w") as file,
        socket.socket() as bound_only,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sequence,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as netlink,
    ):
        bound_only.bind(("127.0.0.1", 0))
        for wrong, sentence in (
            (file, "is no socket"),
            (one, "is a connection, not a listening socket (systemd's Accept= must be no)"),
            (bound_only, "is a socket that does not listen"),
            (unbound, "is a datagram socket that is not bound to an address"),
            (nameless, "is a datagram socket that is not bound to an address"),
            (sequence, "is a socket neither for streams nor for datagrams"),
            (netlink, "is a socket of neither IP nor Unix"),
        ):
            number = wrong.fileno()
            assert refusal(f"fd://{number}") == (
                f"cannot listen on fd://{number}: descriptor {number} {sentence}"
            )


def test_a_number_that_is_not_open_is_told() -> None:
    with socket.socket() as closed:
        number = closed.fileno()
    assert refusal(f"fd://{number}") == (
        f"cannot listen on fd://{number}: descriptor {number} is not open (Bad file descriptor)"
    )
    assert "is not open" in refusal("fd://2147483647")


def test_tls_on_datagrams_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        number = datagrams.fileno()
        assert refusal(f"tls+fd://{number}") == (
            f"cannot listen on tls+fd://{number}: descriptor {number} is a socket for datagrams, and TLS "
            "needs a stream"
        )


def test_a_look_leaves_no_descriptor_and_programs_that_are_started_do_not_inherit_it(
    listening: socket.socket,
) -> None:
    listening.set_inheritable(True)
    before = open_descriptors()
    endpoints(parse(f"fd://{listening.fileno()}"))
    assert open_descriptors() == before
    assert not listening.get_inheritable()


def test_a_duplicate_is_of_its_own_and_does_not_wait_for_a_client_that_another_took(
    listening: socket.socket,
) -> None:
    with duplicate(listening.fileno()) as ours:
        assert ours.fileno() not in {-1, listening.fileno()}
        assert fcntl.fcntl(ours.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with pytest.raises(BlockingIOError):
            ours.accept()
    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, listening: socket.socket) -> socket.socket:
    """Have this process told of one socket by systemd's variables, under the number that it has here."""
    monkeypatch.setattr(inherited_sockets.systemd, "FIRST", listening.fileno())
    monkeypatch.setattr(inherited_sockets, "_read", ())
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "web")
    return listening


def test_systemd_s_sockets_are_found_by_name_or_all_of_them_and_more_than_once(
    told: socket.socket,
) -> None:
    for address in ("systemd://web", "systemd://", "systemd://web"):
        (found,) = endpoints(parse(address))
        assert found.descriptor == told.fileno()


def test_the_variables_go_when_they_have_been_read(told: socket.socket) -> None:
    endpoints(parse("systemd://web"))
    assert [name for name in os.environ if name.startswith("LISTEN_")] == []


def test_a_descriptor_by_its_number_leaves_the_variables_alone(told: socket.socket) -> None:
    endpoints(parse(f"fd://{told.fileno()}"))
    assert os.environ["LISTEN_FDS"] == "1"


def test_a_socket_of_systemd_s_that_cannot_be_served_is_told_by_its_name(
    told: socket.socket,
) -> None:
    told.detach()  # closed by the test's end, whatever it is now
    number = inherited_sockets.systemd.FIRST
    with Path(os.devnull).open("rb") as no_socket:
        os.dup2(no_socket.fileno(), number)
    assert refusal("systemd://") == (
        f"cannot listen on systemd://: descriptor {number} (web) is no socket"
    )
    os.close(number)


def test_without_the_variables_the_error_says_what_sets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inherited_sockets, "_read", ())
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    assert re.fullmatch(
        r"cannot listen on systemd://web: this process was given no sockets, for LISTEN_FDS is not set: .*",
        refusal("systemd://web"),
    )
