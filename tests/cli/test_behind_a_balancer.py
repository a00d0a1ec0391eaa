"""`manyhands serve` and `manyhands run` behind a balancer, under gevent's patches too."""

import re
from pathlib import Path
from typing import Any

import pytest

from manyhands.proxy import encode_v2
from tests.support import Authority, Program, call, everything

CLIENT, SERVICE = ("192.0.2.1", 56324), ("192.0.2.2", 443)
HEADER = encode_v2(CLIENT, SERVICE)

WORDS = ("--proxy-protocol", "--proxy-trusted", "10.0.0.0/8, ::1", "--proxy-trusted", "127.0.0.1")

HANDLER = """
from socketserver import StreamRequestHandler

class Tell(StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        self.wfile.write(repr(self.client_address).encode())
"""

PROGRAM = """
from socketserver import ThreadingTCPServer
from tell import Tell

with ThreadingTCPServer(("127.0.0.1", 0), Tell) as server:
    print("listening on tcp://127.0.0.1:%d" % server.server_address[1], flush=True)
    server.serve_forever()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tell.py").write_text(HANDLER, encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path


def address_of(program: Program) -> Any:
    found = re.fullmatch(r"listening on \w+://127.0.0.1:(\d+)", program.line())
    assert found
    return "127.0.0.1", int(found[1])


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_program_that_knows_nothing_of_it_has_its_clients(folder: Path, engine: str) -> None:
    words = ["-m", "manyhands", "run", "--engine", engine, *WORDS, "program.py"]
    with Program(words, folder) as program, call(address_of(program)) as peer:
        peer.sendall(HEADER + b"hello\n")
        assert everything(peer) == repr(CLIENT).encode()


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_handler_has_its_clients_over_tls(
    folder: Path, engine: str, authority: Authority
) -> None:
    certfile, keyfile = map(str, authority.write(folder, "localhost"))
    words = ["-m", "manyhands", "serve", "tell:Tell", "--engine", engine, *WORDS]
    words += ["--bind", "tls://127.0.0.1:0", "--certfile", certfile, "--keyfile", keyfile]
    with Program(words, folder) as program, call(address_of(program)) as plain:
        plain.sendall(HEADER)
        context = authority.client_context()
        with context.wrap_socket(plain, server_hostname="localhost") as peer:
            peer.sendall(b"hello\n")
            assert everything(peer) == repr(CLIENT).encode()


def test_a_peer_that_is_not_trusted_is_named(folder: Path) -> None:
    words = ["-m", "manyhands", "serve", "tell:Tell", "--bind", "tcp://127.0.0.1:0"]
    words += ["--proxy-protocol", "--proxy-trusted", "10.0.0.0/8"]
    with Program(words, folder) as program:
        with call(address_of(program)) as peer:
            assert everything(peer) == b""
        program.send(15)
        assert program.wait() == 0
        assert "proxy_trusted" in program.errors()
