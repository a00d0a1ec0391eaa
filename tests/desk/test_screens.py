"""The plain screen, whose output may not be read."""

import io
import os
import re
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyhands.desk.screens import PlainScreen, notice
from tests.desk.kit import ENGINES, MANYHANDS, PATIENCE, Caller, environment, wait_for
from tests.support.workers import Worker

LINE = "x" * 1000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(read_end)


def _read_lines(descriptor: int, count: int) -> None:
    read = 0
    while read < count:
        read += os.read(descriptor, 65536).count(b"\n")
    assert read == count


def test_what_the_server_tells_waits_for_no_output(pipe: tuple[int, int], worker: Worker) -> None:
    read_end, write_end = pipe
    with open(write_end, "w", encoding="utf-8") as output, PlainScreen(read_end, output) as screen:  # noqa: PTH123 - a descriptor
        for _ in range(200):
            worker.do(screen.tell, [notice(LINE)])
        waiting = worker.spawn(screen.show, [notice(LINE)] * 200, 1)
        worker.spawn(screen.show, [notice(LINE)], 1)
        worker.do(screen.tell, [notice("the last")])
        _read_lines(read_end, 402)
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


def _output(home: Path) -> str:
    return (home / "output").read_text()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_under_the_output_costs_lines_and_no_call(tmp_path: Path, engine: str) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    with (
        (tmp_path / "output").open("wb") as output,
        subprocess.Popen(
            [*command, "--engine", engine],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
        ) as desk,
    ):
        pattern = r"open on tcp://127\.0\.0\.1:(\d+)"
        found = wait_for(lambda: re.search(pattern, _output(tmp_path)), lambda: pattern)
        # Python ignores SIGXFSZ, so a write beyond the limit fails with EFBIG, as on a full disk.
        resource.prlimit(desk.pid, resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        with Caller(("127.0.0.1", int(found[1]))) as caller:
            for number in range(50):
                caller.says(f"{number:100}\n")
            wait_for(lambda: (tmp_path / "output").stat().st_size == 2000, lambda: "a full file")
            desk.stdin.write(b"I hear you\n")
            desk.stdin.flush()
            assert caller.hears() == "I hear you"
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(desk.pid, resource.RLIMIT_FSIZE, unlimited)
            caller.says("there is room\n")
            wait_for(lambda: "there is room\n" in _output(tmp_path), lambda: _output(tmp_path))
        desk.terminate()
        assert desk.wait(PATIENCE) == 0
        assert desk.stderr.read() == b""
    assert re.search(
        r"^-- the output could not be written \(File too large\); lines that are missing: \d+$",
        _output(tmp_path),
        re.MULTILINE,
    )


def test_an_output_that_another_program_has_made_not_wait_gets_all(
    pipe: tuple[int, int], worker: Worker
) -> None:
    read_end, write_end = pipe
    with open(write_end, "w", encoding="utf-8") as output, PlainScreen(read_end, output) as screen:  # noqa: PTH123 - a descriptor
        os.set_blocking(write_end, False)
        shown = worker.spawn(screen.show, [notice(LINE)] * 200, 1)
        _read_lines(read_end, 200)
        shown.result(20)
