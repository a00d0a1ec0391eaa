"""A port that cannot be had: the error is the system's, and beside it stands what is in the way."""

import contextlib
import errno
import os
import pickle
import re
import socket
import socketserver as standard
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, socketserver
from manyhands.listening import proc_net
from manyhands.listening.port_in_use import what_holds
from tests.support import Echo, Program, call, everything, wait_until

HERE = ("127.0.0.1", 0)

ADVICE = r"it had not set SO_REUSEADDR \(allow_reuse_address\), so wait, or choose another port"


def serve_nothing(*_: object) -> None:
    """Say nothing."""


class Six(socketserver.TCPServer):
    address_family = socket.AF_INET6


class Careful(socketserver.TCPServer):
    allow_reuse_address = False


def refusal(address: Any, kind: Any = socketserver.TCPServer) -> OSError:
    with pytest.raises(OSError, match="cannot listen on") as caught:
        kind(address, serve_nothing).server_close()
    return caught.value


def said(address: Any, kind: Any = socketserver.TCPServer) -> str:
    return str(refusal(address, kind))


@contextlib.contextmanager
def served(count: int = 1, kind: Any = standard.TCPServer) -> Iterator[tuple[Any, list[Any]]]:
    """Have a server, which ends, close connections first; yield its address and its clients, still open."""
    with contextlib.ExitStack() as stack:
        with kind(HERE, serve_nothing) as server:
            clients = [stack.enter_context(call(server.server_address)) for _ in range(count)]
            for client in clients:
                server.handle_request()
                everything(client)
        yield server.server_address, clients


@contextlib.contextmanager
def left_in_time_wait(count: int = 1, kind: Any = standard.TCPServer) -> Iterator[Any]:
    with served(count, kind) as (address, clients):
        for client in clients:
            client.close()
        yield address


# The error


@pytest.mark.parametrize(
    ("address", "kind", "number"),
    [
        ((), socketserver.TCPServer, errno.EADDRINUSE),
        ((), socketserver.UDPServer, errno.EADDRINUSE),
        (("203.0.113.1", 0), socketserver.TCPServer, errno.EADDRNOTAVAIL),
        ("{}/missing/a.sock", socketserver.UnixStreamServer, errno.ENOENT),
        ("{}/missing/a.sock", socketserver.UnixDatagramServer, errno.ENOENT),
        ("{}", socketserver.UnixStreamServer, errno.EADDRINUSE),
    ],
)
def test_the_error_is_the_system_s_and_its_text_says_more(
    address: Any, kind: Any, number: int, tmp_path: Path
) -> None:
    with kind(HERE, serve_nothing) if address == () else contextlib.nullcontext() as taken:
        if address == ():
            address = taken.server_address
        elif isinstance(address, str):
            address = address.format(tmp_path)
        error = refusal(address, kind)
    assert (error.errno, error.strerror) == error.args == (number, os.strerror(number))
    assert error.filename is None
    assert type(error).__name__ == type(OSError(number, "")).__name__
    assert isinstance(error, type(OSError(number, "")))
    assert str(error).startswith(f"[Errno {number}] {os.strerror(number)}: cannot listen on ")


def test_the_error_of_a_server_is_the_same() -> None:
    with socket.create_server(HERE) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            Server(Echo, f"tcp://127.0.0.1:{port}").listen()
    assert caught.value.args == (errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def test_the_error_can_be_sent_to_another_process() -> None:
    with socket.create_server(HERE) as taken:
        error = refusal(taken.getsockname())
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.args) == (str(error), error.args)


# What is in the way


def test_a_port_that_a_server_of_the_standard_library_has_left_is_kept_for_some_time() -> None:
    with left_in_time_wait() as address:
        assert re.search(
            # Others may be there: the kernel gives a port again that clients of other tests have had.
            r"\(kept for \d\d s more by \d+ connections? to 127\.0\.0\.1:.+ in TIME_WAIT, of a client or a "
            rf"server that has ended; {ADVICE}\)$",
            said(address),
        )


def test_of_many_connections_some_are_named() -> None:
    with left_in_time_wait(5) as address:
        named = re.search(
            r"by (\d+) connections to (127\.0\.0\.1:\d+, ){3}(\d+) more peers in TIME_WAIT, ",
            said(address),
        )
    assert named is not None
    count, others = int(named[1]), int(named[3])
    # A client of another program may have got the port meanwhile, for its own end.
    assert count >= 5
    assert others == count - 3


def test_a_client_that_has_not_closed_keeps_the_port_too() -> None:
    with served() as (address, [client]):
        own = client.getsockname()[1]
        # Until the client's kernel has acknowledged the end.
        wait_until(lambda: "FIN_WAIT1" not in said(address))
        assert re.search(
            rf"\(kept for at least \d\d s more by 1 connection to 127\.0\.0\.1:{own} in FIN_WAIT2, of a "
            rf"client or a server that has ended; {ADVICE}\)$",
            said(address),
        )


def test_a_connection_that_a_process_still_has_is_its() -> None:
    program = """
        import signal, socket
        # Without SO_REUSEADDR, with which it could get a port that earlier connections still keep; and on an
        # address from which no client of another test calls, perhaps with this port as its own.
        with socket.socket() as listener:
            listener.bind(("127.0.3.9", 0))
            listener.listen()
            print(listener.getsockname()[1], flush=True)
            connection, _ = listener.accept()
        print("closed", flush=True)
        signal.pause()
    """
    with Program(["-c", textwrap.dedent(program)]) as holder:
        address = "127.0.3.9", int(holder.line())
        with call(address) as client:
            holder.line()
            own = client.getsockname()[1]
            assert re.search(
                rf"\(kept by 1 connection to 127\.0\.0\.1:{own} in ESTABLISHED, of process {holder.pid} "
                r"\(.*\); wait until that is over, or choose another port\)$",
                said(address),
            )


def test_a_client_s_own_port_is_kept_by_its_connection() -> None:
    with socket.create_server(HERE) as listener, socket.socket() as client:
        # One that `connect` chooses may also be another connection's, to another address.
        client.bind(HERE)
        client.connect(listener.getsockname())
        text, port = said(client.getsockname()), listener.getsockname()[1]
    assert f"to 127.0.0.1:{port} in ESTABLISHED, of process {os.getpid()}, this" in text


def test_our_own_option_is_named_where_it_helps_and_not_elsewhere() -> None:
    with left_in_time_wait(kind=socketserver.TCPServer) as address:
        assert said(address, Careful).endswith(
            " of a client or a server that has ended; allow_reuse_address takes it back)"
        )
        socketserver.TCPServer(address, serve_nothing).server_close()
    with left_in_time_wait() as address:
        assert "takes it back only from a server that had set it too: wait, or" in said(
            address, Careful
        )


def test_only_sockets_on_addresses_that_overlap_are_in_the_way() -> None:
    with socket.socket() as bound_only, socket.socket() as elsewhere:
        bound_only.bind(HERE)
        port = bound_only.getsockname()[1]
        elsewhere.bind(("127.0.0.2", port))
        elsewhere.listen()
        assert said(("127.0.0.1", port)).endswith(
            "(held by another program, which is bound there and does not listen)"
        )
        assert f"(held by process {os.getpid()}, this one" in said(("", port))
        assert f"(held by process {os.getpid()}, this one" in said(("127.0.0.2", port))


def test_both_versions_of_ip_are_looked_at() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        port = both.getsockname()[1]
        assert f"(held by process {os.getpid()}, this one" in said(("127.0.0.1", port))
        assert f"(held by process {os.getpid()}, this one" in said(("localhost", port))
        assert f"(held by process {os.getpid()}, this one" in said(("::1", port), Six)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as sixth:
        assert f"(held by process {os.getpid()}, this one" in said(sixth.getsockname()[:2], Six)


def test_a_system_that_does_not_tell_gets_a_modest_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        socket.create_server(HERE) as taken,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(HERE)
        monkeypatch.setattr(proc_net, "PROC", str(tmp_path / "nothing"))
        assert said(taken.getsockname()).endswith(
            "(held by another program, or kept by connections of a server that has ended)"
        )
        assert said(datagrams.getsockname(), socketserver.UDPServer).endswith(
            "(held by another program)"
        )


def test_a_program_of_another_user_is_told_by_the_user() -> None:
    owner = proc_net.Entry(b"\x7f\0\0\1", ("0.0.0.0", 0), proc_net.LISTENING, None, 0, "1")
    assert proc_net.owner_of([owner]) == "another program, of user root"
    assert proc_net.owner_of([owner._replace(user=4_000_000)]).endswith("of user 4000000")


def test_that_no_port_is_left_is_said() -> None:
    with socket.socket() as listener:
        assert what_holds(listener, HERE).startswith("no port is free")
