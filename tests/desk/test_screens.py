"""The plain screen, whose output may not be read."""

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyhands.desk.screens import PlainScreen, notice
from tests.desk.kit import wait_for
from tests.support.workers import Worker

LINE = "x" * 1000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(read_end)


def test_what_the_server_tells_waits_for_no_output(pipe: tuple[int, int], worker: Worker) -> None:
    read_end, write_end = pipe
    with open(write_end, "w", encoding="utf-8") as output, PlainScreen(read_end, output) as screen:  # noqa: PTH123 - a descriptor
        for _ in range(200):
            worker.do(screen.tell, [notice(LINE)])
        waiting = worker.spawn(screen.show, [notice(LINE)] * 200, 1)
        worker.spawn(screen.show, [notice(LINE)], 1)
        worker.do(screen.tell, [notice("the last")])
        read = bytearray()

        def has_all() -> bool:
            read.extend(os.read(read_end, 65536))
            return read.count(b"\n") == 402

        wait_for(has_all, lambda: f"{read.count(10)} lines")
        waiting.result(20)


def test_input_that_cannot_be_read_is_its_end_and_is_told(tmp_path: Path) -> None:
    page = io.StringIO()
    with (
        (tmp_path / "page").open("w") as only_written,
        PlainScreen(only_written.fileno(), page) as screen,
    ):
        assert screen.attend(lambda line: True)
    assert page.getvalue() == "-- standard input cannot be read: Bad file descriptor\n"


def test_input_that_another_program_was_quicker_to_read_has_not_ended() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, PlainScreen(ours.fileno(), io.StringIO()) as screen:
        ours.setblocking(False)
        assert screen._read() is None
        theirs.sendall(b"hello")
        assert screen._read() == b"hello"
