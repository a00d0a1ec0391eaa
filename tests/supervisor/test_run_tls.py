"""Programs under `manyhands run --workers` that wrap their listening socket for TLS."""

import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.supervisor.run_command import HANDLER, OURS, Running, running, started
from tests.support.certificates import Authority
from tests.support.tls import ask_secretly
from tests.support.waiting import wait_until

PROGRAM = (
    HANDLER
    + """
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("site.pem", "site.key")

{server}
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""
)

WRAPPED = """
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pid) as server:
    server.socket = context.wrap_socket(server.socket, server_side=True)
"""

WRAPPED_BEFORE_IT_IS_BOUND = """
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pid, bind_and_activate=False) as server:
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.server_bind()
    server.server_activate()
"""

ACCEPTED_BY_A_HOOK = """
class Server(socketserver.ThreadingTCPServer):
    def get_request(self):
        return self.socket.accept()

with Server(("127.0.0.1", 0), Pid) as server:
    server.socket = context.wrap_socket(server.socket, server_side=True)
"""


@contextmanager
def served(
    folder: Path, authority: Authority, server: str = WRAPPED, *words: str
) -> Iterator[Running]:
    authority.write(folder, "localhost")
    with running(folder, PROGRAM.format(server=server), *words) as run:
        yield run


def asked(run: Running, authority: Authority) -> int:
    return int(ask_secretly(("127.0.0.1", run.port), authority).split()[0])


@pytest.mark.parametrize("server", [WRAPPED, WRAPPED_BEFORE_IT_IS_BOUND, ACCEPTED_BY_A_HOOK])
def test_its_connections_speak_tls_in_all_workers(
    tmp_path: Path, authority: Authority, server: str
) -> None:
    with served(tmp_path, authority, server) as run:
        wait_until(lambda: len({asked(run, authority) for _ in range(2)}) == 2)
        os.kill(victim := asked(run, authority), signal.SIGKILL)
        wait_until(lambda: all(asked(run, authority) != victim for _ in range(2)))


def test_those_of_our_classes_by_our_names_do_too(tmp_path: Path, authority: Authority) -> None:
    authority.write(tmp_path, "localhost")
    text = PROGRAM.format(server=WRAPPED).replace("import socketserver", OURS)
    with running(tmp_path, text) as run:
        wait_until(lambda: len({asked(run, authority) for _ in range(2)}) == 2)


def test_on_fibers_they_do_too(tmp_path: Path, authority: Authority) -> None:
    with served(tmp_path, authority, WRAPPED, "--engine", "fibers") as run:
        wait_until(lambda: len({asked(run, authority) for _ in range(2)}) == 2)


def test_a_client_that_does_not_shake_hands_holds_up_nobody(
    tmp_path: Path, authority: Authority
) -> None:
    with served(tmp_path, authority) as run, run.call(), run.call():
        wait_until(lambda: len({asked(run, authority) for _ in range(2)}) == 2)


def test_a_reload_brings_the_certificate_that_is_on_disk(
    tmp_path: Path, authority: Authority
) -> None:
    with served(tmp_path, authority) as run:
        another = Authority()
        another.write(tmp_path, "localhost")
        with pytest.raises(ssl.SSLError):
            asked(run, another)
        # The program has a copy of the listening socket for a while, and wraps it as well.
        run.client.request("reload", timeout=60)
        assert asked(run, another)
        run.program.send(signal.SIGTERM)
        assert run.program.wait() == 0


def test_a_socket_of_another_kind_is_refused_in_a_sentence(tmp_path: Path) -> None:
    text = (
        HANDLER
        + """
class Wrapped:
    def __init__(self, inner):
        self.inner = inner
    def __getattr__(self, name):
        return getattr(self.inner, name)

with socketserver.TCPServer(("127.0.0.1", 0), Pid) as server:
    server.socket = Wrapped(server.socket)
    server.serve_forever()
"""
    )
    with started(tmp_path, text) as program:
        assert program.wait() == 3
        assert program.errors() == (
            "manyhands: the workers cannot serve: the listening socket of TCPServer is a __main__.Wrapped, "
            "which workers cannot share: wrap it with ssl.SSLContext.wrap_socket\n"
        )
