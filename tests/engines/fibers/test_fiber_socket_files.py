"""Files of a fiber's socket, and what goes through it beside bytes: files, messages, descriptors."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import PATIENCE, wait_until

from .conftest import Fibers
from .kit import LARGE, Pair, is_waiting


@pytest.mark.parametrize("mode", ["rb", "rwb", "r", "rw"])
@pytest.mark.parametrize("buffering", [None, 0, 1, 100])
def test_files_of_every_mode_read(
    pair: Pair, fibers: Fibers, mode: str, buffering: int | None
) -> None:
    own, far = pair
    if buffering == 0 and "b" not in mode:
        with pytest.raises(ValueError, match="unbuffered"):
            own.makefile(mode, buffering)
        return

    def lines() -> list[Any]:
        with own.makefile(mode, buffering) as file:
            return list(file)

    reading = fibers.spawn(lines)
    far.sendall("first\nzweite mit ü\n".encode())
    far.sendall(b"without an end")
    far.shutdown(socket.SHUT_WR)
    expected = ["first\n", "zweite mit ü\n", "without an end"]
    assert reading.result(PATIENCE) == (
        [line.encode() for line in expected] if "b" in mode else expected
    )


@pytest.mark.parametrize("mode", ["wb", "w", "rwb"])
@pytest.mark.parametrize("buffering", [None, 0])
def test_files_of_every_mode_write(
    pair: Pair, fibers: Fibers, mode: str, buffering: int | None
) -> None:
    own, far = pair
    if buffering == 0 and "b" not in mode:
        return

    def write() -> None:
        with own.makefile(mode, buffering) as file:
            file.write(b"written" if "b" in mode else "written")

    fibers.do(write)
    assert far.recv(100) == b"written"


def test_a_file_keeps_the_connection_open(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    file = own.makefile("rb")
    fibers.do(own.close)
    assert own.fileno() >= 0
    far.sendall(b"line\n")
    assert fibers.do(file.readline) == b"line\n"
    fibers.do(file.close)
    assert own.fileno() == -1


def test_a_file_that_timed_out_reads_no_more_as_one_of_a_plain_socket(
    pair: Pair, fibers: Fibers
) -> None:
    own, _ = pair
    own.settimeout(0.02)
    file = own.makefile("rb")
    with pytest.raises(TimeoutError):
        fibers.do(file.read, 1)
    with pytest.raises(OSError, match="cannot read from timed out object"):
        fibers.do(file.read, 1)
    fibers.do(file.close)


def test_messages_with_descriptors_pass(fibers: Fibers) -> None:
    near, far = socket.socketpair()
    own = fibers.adopt(near)
    reader, writer = os.pipe()
    receiving = fibers.spawn(socket.recv_fds, own, 10, 1)
    wait_until(lambda: is_waiting(own))
    socket.send_fds(far, [b"x"], [writer])
    data, (received,), _, _ = receiving.result(PATIENCE)
    assert data == b"x"
    os.write(received, b"through")
    assert os.read(reader, 10) == b"through"
    fibers.do(socket.send_fds, own, [b"y"], [reader])
    assert socket.recv_fds(far, 10, 1)[0] == b"y"
    for descriptor in (reader, writer, received):
        os.close(descriptor)
    fibers.do(own.close)
    far.close()


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_a_file_is_sent(pair: Pair, fibers: Fibers, tmp_path: Path, size: int) -> None:
    own, far = pair
    (tmp_path / "file").write_bytes(LARGE[:size])
    with (tmp_path / "file").open("rb") as file:
        sending = fibers.spawn(own.sendfile, file)
        received = b""
        while len(received) < size:
            received += far.recv(65_536)
        assert sending.result(PATIENCE) == size
    assert received == LARGE[:size]


def test_reading_a_line_is_one_wait(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    far.sendall(b"one\ntwo\n")

    def two_lines() -> tuple[bytes, bytes]:
        with own.makefile("rb") as file:
            return file.readline(), file.readline()

    assert fibers.do(two_lines) == (b"one\n", b"two\n")
