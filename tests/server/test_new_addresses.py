"""The addresses of another program that is to take over: all of them are had at the same time, or none."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyhands.listening.endpoints import endpoints
from manyhands.model.addresses import parse
from manyhands.server.new_addresses import NewAddresses, asked_for


@pytest.fixture
def port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


@pytest.fixture
def holder(port: int) -> Iterator[socket.socket]:
    """What listens on that port."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        yield listener


def take(
    new: NewAddresses, *addresses: str, held: str = "", shares_port: bool = False, backlog: int = 5
) -> str:
    """Have these for a program that is to take over what is held; return why they cannot be had."""
    return new.take(
        asked_for(map(parse, addresses)),
        endpoints(parse(held)) if held else (),
        lambda _: shares_port,
        backlog,
    )


def fault(*addresses: str, held: str = "", shares_port: bool = False) -> str:
    """Return why these could not be had."""
    new = NewAddresses()
    why = take(new, *addresses, held=held, shares_port=shares_port)
    new.release()
    return why


def test_those_that_can_be_had_are_free_afterwards(port: int, tmp_path: Path) -> None:
    addresses = (f"tcp://127.0.0.1:{port}", f"udp://127.0.0.1:{port}", f"unix://{tmp_path}/s")
    assert fault(*addresses) == fault(*addresses) == ""
    assert list(tmp_path.iterdir()) == []


def test_until_then_nobody_else_has_them_and_clients_wait(port: int, tmp_path: Path) -> None:
    new = NewAddresses()
    path = f"{tmp_path}/s"
    assert take(new, f"tcp://127.0.0.1:{port}", f"udp://127.0.0.1:{port}", f"unix://{path}") == ""
    assert [made.getsockname() for _, made in new.sockets] == [("127.0.0.1", port), path]
    assert "Address already in use" in fault(f"tcp://127.0.0.1:{port}")
    assert fault(f"udp://127.0.0.1:{port}") == ""
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = new.sockets[0][1].accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"
    new.release()
    assert new.sockets == []
    assert fault(f"tcp://127.0.0.1:{port}", f"unix://{path}") == ""


def test_a_file_that_is_not_for_all_is_only_tried(tmp_path: Path) -> None:
    new = NewAddresses()
    assert take(new, f"unix://{tmp_path}/s?mode=0600") == ""
    assert (new.sockets, list(tmp_path.iterdir())) == ([], [])


def test_where_one_cannot_be_had_none_is(port: int, tmp_path: Path) -> None:
    new = NewAddresses()
    assert take(new, f"tcp://127.0.0.1:{port}", f"unix://{tmp_path}/no/s") != ""
    assert new.sockets == []
    assert fault(f"tcp://127.0.0.1:{port}") == ""


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
@pytest.mark.parametrize("other", ["127.0.0.1", "0.0.0.0"])
def test_two_that_do_not_go_together_are_refused(scheme: str, other: str, port: int) -> None:
    why = fault(f"{scheme}://127.0.0.1:{port}", f"{scheme}://{other}:{port}")
    assert "Address already in use" in why
    assert f"{other}:{port}" in why


def test_two_that_share_their_port_go_together(port: int) -> None:
    assert not fault(f"tcp://127.0.0.1:{port}", f"tcp://0.0.0.0:{port}", shares_port=True)


def test_two_spellings_of_one_path_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    why = fault(f"unix://{tmp_path}/s", f"unix://{tmp_path}/folder/../s")
    assert "Address already in use" in why
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


@pytest.mark.usefixtures("holder")
def test_one_that_is_held_is_had_once(port: int) -> None:
    address = f"tcp://127.0.0.1:{port}"
    assert not fault(address, held=address)
    assert "Address already in use" in fault(address, address, held=address)
    assert "Address already in use" in fault(f"tcp://0.0.0.0:{port}", held=address)
