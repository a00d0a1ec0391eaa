"""A host name (SNI) that is no ASCII fails the handshake, and its bytes are nowhere."""

import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, events
from manyhands.logs import take_over
from manyhands.testing import call, everything, socket_address, wait_until
from tests.support import Authority, Echo

NAME = b"password=\xffhunter2"


def client_hello(name: bytes) -> bytes:
    """Return the first flight of a handshake of TLS 1.2 (RFC 5246, section 7.4.1.2) that asks for `name`."""
    named = struct.pack("!BH", 0, len(name)) + name
    extensions = struct.pack("!HHH", 0, len(named) + 2, len(named)) + named
    extensions += (
        struct.pack("!HH", 10, 4) + b"\0\2\0\x1d" + struct.pack("!HH", 13, 4) + b"\0\2\4\3"
    )
    body = b"\3\3" + os.urandom(32) + b"\0" + b"\0\2\xc0\x2b" + b"\1\0"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + struct.pack("!H", len(message)) + message


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_no_log_has_the_bytes_of_a_name(  # noqa: PLR0913, PLR0917 - fixtures
    is_taken_over: bool,
    authority: Authority,
    tmp_path: Path,
    seen: list[events.Event],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    pairs = [authority.write(tmp_path, name) for name in ("a.example", "b.example")]
    end = take_over() if is_taken_over else lambda: None
    try:
        certfiles, keyfiles = ([str(file) for file in files] for files in zip(*pairs, strict=True))
        address = "tls://127.0.0.1:0"
        with Server(Echo, address, certfile=certfiles, keyfile=keyfiles) as server:
            with call(socket_address(server.addresses[0])) as peer:
                peer.sendall(client_hello(NAME))
                everything(peer)
            wait_until(lambda: server.connections.balance == (1, 0, 1))
    finally:
        end()
    assert [type(event) for event in seen] == [events.HandshakeFailed]
    assert "hunter" not in str(seen)
    assert unraisable == []
    assert "hunter" not in caplog.text


def test_what_else_cannot_be_raised_is_reported_as_ever(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda given: unraisable.append(given.exc_type))
    pairs = [authority.write(tmp_path, name) for name in ("a.example", "b.example")]
    certfiles, keyfiles = ([str(file) for file in files] for files in zip(*pairs, strict=True))

    class Broken:
        def __del__(self) -> None:
            raise KeyError

    with Server(Echo, "tls://127.0.0.1:0", certfile=certfiles, keyfile=keyfiles):
        Broken()
    assert unraisable == [KeyError]
