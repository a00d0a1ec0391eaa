"""Ports: back at once after a restart, and errors that say what is in the way (rows 10 and 12)."""

import contextlib
import errno
import os
import socket
import socketserver as standard
import subprocess
import sys
import textwrap
from types import ModuleType
from typing import Any

import pytest

from manyhands import socketserver
from manyhands.listening.proc_net import entries_in
from tests.support import Echo, call, everything, hear, python, serving

HERE = ("127.0.0.1", 0)


def linger_in_time_wait(server: Any) -> Any:
    """Serve one connection that the server closes first; return the port that it leaves behind."""
    with server:
        peer = call(server.server_address)
        server.handle_request()
        everything(peer)  # the server's end is closed now, and keeps the port for a minute
        peer.close()
    return server.server_address


def serve_nothing(*_: object) -> None:
    """Say nothing."""


def test_a_restarted_server_gets_its_port_back() -> None:
    address = linger_in_time_wait(socketserver.TCPServer(HERE, serve_nothing))
    with serving(socketserver.TCPServer(address, serve_nothing)):
        assert hear(address) == b""


def test_a_restarted_server_of_the_standard_library_is_refused_its_port() -> None:
    address = linger_in_time_wait(standard.TCPServer(HERE, serve_nothing))  # type: ignore[arg-type]  # serves
    with pytest.raises(OSError, match="in use"):
        standard.TCPServer(address, serve_nothing)  # type: ignore[arg-type]  # see above


def test_a_class_that_says_no_is_honoured_and_told_why(module: ModuleType) -> None:
    class Careful(module.TCPServer):  # type: ignore[name-defined,misc]  # a class of either module
        allow_reuse_address = False

    address = linger_in_time_wait(Careful(HERE, serve_nothing))
    with pytest.raises(OSError, match="in use") as caught:
        Careful(address, serve_nothing)
    if module is socketserver:
        assert "a server that has ended; allow_reuse_address takes it back" in str(caught.value)


def test_two_servers_cannot_share_a_port_by_default() -> None:
    with (
        socketserver.TCPServer(HERE, serve_nothing) as first,
        pytest.raises(OSError, match="in use"),
    ):
        socketserver.TCPServer(first.server_address, serve_nothing)


def test_the_error_names_the_address_and_this_process() -> None:
    with (
        socketserver.TCPServer(HERE, serve_nothing) as first,
        pytest.raises(OSError, match="in use") as caught,
    ):
        socketserver.TCPServer(first.server_address, serve_nothing)
    assert caught.value.errno == errno.EADDRINUSE
    port = first.server_address[1]
    assert f"cannot listen on 127.0.0.1:{port} (held by process {os.getpid()}, this one" in str(
        caught.value
    )


def test_the_error_names_another_process_and_its_command() -> None:
    program = """
        import socket, sys
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), "the-holder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        with pytest.raises(OSError, match=rf"held by process {holder.pid} \(.*python"):
            socketserver.TCPServer(("127.0.0.1", port), serve_nothing)
        holder.communicate("")


@pytest.mark.parametrize("is_connected", [False, True])
def test_a_held_udp_port_is_never_blamed_on_a_server_that_has_ended(is_connected: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(HERE)
        if is_connected:
            holder.connect(("127.0.0.1", 9))
        with pytest.raises(OSError, match="in use") as caught:
            socketserver.UDPServer(holder.getsockname(), serve_nothing)
    assert "held by" in str(caught.value)


def test_a_port_that_is_bound_but_not_listened_on_is_held() -> None:
    with socket.socket() as holder:
        holder.bind(HERE)
        with pytest.raises(OSError, match="in use") as caught:
            socketserver.TCPServer(holder.getsockname(), serve_nothing)
    assert "has ended" not in str(caught.value)


def test_the_error_of_listening_names_the_address_and_the_holder() -> None:
    # Both let the port be reused, so both can be bound to it.
    with (
        socketserver.TCPServer(HERE, serve_nothing, bind_and_activate=False) as first,
        socketserver.TCPServer(HERE, serve_nothing, bind_and_activate=False) as second,
    ):
        first.server_bind()
        second.server_address = first.server_address
        second.server_bind()
        first.server_activate()
        with pytest.raises(OSError, match="Address already in use") as caught:
            second.server_activate()
    assert caught.value.errno == errno.EADDRINUSE
    port = first.server_address[1]
    assert f"cannot listen on 127.0.0.1:{port} (held by process {os.getpid()}, this one" in str(
        caught.value
    )


def test_a_socket_that_cannot_listen_is_named() -> None:
    class Datagrams(socketserver.TCPServer):
        socket_type = socket.SOCK_DGRAM

    with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:\d+$") as caught:
        Datagrams(HERE, serve_nothing)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_an_address_of_no_interface_is_named() -> None:
    with pytest.raises(OSError, match=r"203\.0\.113\.1:0 \(no interface of this machine") as caught:
        socketserver.TCPServer(("203.0.113.1", 0), serve_nothing)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_privileged_port_is_named() -> None:
    # As root nothing is refused; a child without the capability is.
    finished = python(
        "-c",
        textwrap.dedent("""
        import os
        from manyhands import socketserver
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            socketserver.TCPServer(("127.0.0.1", 1), None)
        except PermissionError as error:
            print(error)
        """),
    )
    assert finished.stdout.startswith("[Errno 13] Permission denied: cannot listen on 127.0.0.1:1 ")
    assert "(ports below 1024 need CAP_NET_BIND_SERVICE)" in finished.stdout


def test_a_host_that_does_not_exist_is_the_resolver_s_error(module: ModuleType) -> None:
    with pytest.raises(socket.gaierror):
        module.TCPServer(("no-such-host.invalid", 0), serve_nothing)


@pytest.mark.parametrize("port", [65_536, "http"])
def test_a_port_that_is_none_is_the_same_error_as_ever(module: ModuleType, port: Any) -> None:
    with pytest.raises((OverflowError, TypeError)):
        module.TCPServer(("127.0.0.1", port), serve_nothing)


def option(server: Any, name: int) -> int:
    value: int = server.socket.getsockopt(socket.SOL_SOCKET, name)
    return value


def test_udp_does_not_reuse_addresses_by_default(module: ModuleType) -> None:
    with module.UDPServer(HERE, serve_nothing) as server:
        assert not option(server, socket.SO_REUSEADDR)
        with pytest.raises(OSError, match="in use"):
            module.UDPServer(server.server_address, serve_nothing)


def test_datagrams_on_a_tcp_server_class_do_not_reuse_addresses_by_default(
    module: ModuleType,
) -> None:
    class Datagrams(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        socket_type = socket.SOCK_DGRAM

        def server_activate(self) -> None:
            """Have nothing to do."""

    with Datagrams(HERE, serve_nothing) as server:
        assert not option(server, socket.SO_REUSEADDR)


@pytest.mark.parametrize("where", ["class", "instance"])
@pytest.mark.parametrize("base", ["UDPServer", "TCPServer"])
def test_datagrams_reuse_addresses_when_the_program_says_so(
    module: ModuleType, base: str, where: str
) -> None:
    class Datagrams(getattr(module, base)):  # type: ignore[misc]  # see above
        socket_type = socket.SOCK_DGRAM

        def server_activate(self) -> None:
            """Have nothing to do."""

    if where == "class":
        Datagrams.allow_reuse_address = True
    with Datagrams(HERE, serve_nothing, bind_and_activate=False) as server:
        if where == "instance":
            server.allow_reuse_address = True
        server.server_bind()
        assert option(server, socket.SO_REUSEADDR)


def test_ports_are_shared_when_the_program_says_so(module: ModuleType) -> None:
    class Shared(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        allow_reuse_port = True

    with Shared(HERE, serve_nothing) as first, Shared(first.server_address, serve_nothing):
        assert option(first, socket.SO_REUSEPORT)


def test_a_burst_of_clients_waits_in_the_backlog() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socketserver.TCPServer(HERE, Echo))
        for _ in range(200):
            peer = stack.enter_context(socket.socket())
            peer.settimeout(20)
            peer.connect(server.server_address)


def test_a_burst_overflows_the_backlog_of_the_standard_library() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(standard.TCPServer(HERE, Echo))  # type: ignore[arg-type]  # serves
        for _ in range(6):
            stack.enter_context(call(server.server_address))
        late = stack.enter_context(socket.socket())
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.connect(server.server_address)


def test_a_backlog_of_the_program_s_own_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(socketserver.TCPServer):
        request_queue_size = 7

        def server_activate(self) -> None:
            assert self.request_queue_size == 7
            super().server_activate()

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Small(HERE, Echo))
        for _ in range(8):
            stack.enter_context(call(server.server_address))
        late = stack.enter_context(socket.socket())
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.connect(server.server_address)


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F48 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1
   1: 0100007F:1F48 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 5678 1
   2: 0100007F:1F49 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9999 1
"""


def test_the_kernel_s_table_is_read_by_port() -> None:
    def found(port: int) -> list[tuple[str, str]]:
        return [(entry.state, entry.inode) for entry in entries_in(TABLE, port)]

    assert found(8008) == [("0A", "1234"), ("01", "5678")]
    assert found(8009) == [("0A", "9999")]
    assert found(80) == []
