"""Standard error in every state: what it does not take is counted, and told of when it takes some again."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from manyhands.logs.line_writer import LineWriter
from manyhands.runtime.sockets import AT_ONCE
from tests.support.waiting import PATIENCE


@pytest.fixture
def writer() -> LineWriter:
    return LineWriter(lambda count, why: f"lost {count}: {why}\n")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def direct(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    monkeypatch.setattr(sys, "stderr", stream)


def test_a_full_disk_costs_lines_and_says_so_when_there_is_room(
    writer: LineWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full, open(tmp_path / "log", "w") as log:  # noqa: PTH123
        direct(monkeypatch, full)
        writer.write("one\n")
        writer.write("two\n")
        direct(monkeypatch, log)
        writer.write("three\n")
        writer.write("four\n")
    assert (tmp_path / "log").read_text() == "lost 2: No space left on device\nthree\nfour\n"


@pytest.mark.parametrize("closed", ["by the program", "from the start"])
def test_a_closed_stream_costs_lines(
    writer: LineWriter, closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(tmp_path / "log", "w") as log:  # noqa: PTH123
        gone = open(tmp_path / "gone", "w")  # noqa: PTH123, SIM115
        gone.close()
        direct(monkeypatch, gone if closed == "by the program" else None)
        writer.write("one\n")
        direct(monkeypatch, log)
        writer.write("two\n")
    assert (tmp_path / "log").read_text() == "lost 1: standard error is closed\ntwo\n"


def test_a_reader_that_has_gone_costs_lines(
    writer: LineWriter, pipe: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, end = pipe
    os.close(reader)
    with open(end, "w", closefd=False) as broken, open(tmp_path / "log", "w") as log:  # noqa: PTH123
        direct(monkeypatch, broken)
        writer.write("one\n")
        direct(monkeypatch, log)
        writer.write("two\n")
    assert (tmp_path / "log").read_text() == "lost 1: Broken pipe\ntwo\n"


def test_a_line_that_was_cut_off_is_ended_before_the_next(
    writer: LineWriter, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, end = pipe
    with open(end, "w", closefd=False) as stream:
        direct(monkeypatch, stream)
        # The pipe takes its beginning, and no more in time.
        writer.write("x" * 1_000_000, timeout=0.01)
        begun = len(os.read(reader, 1_000_000))
        assert AT_ONCE <= begun < 1_000_000
        writer.write("next\n")
    assert os.read(reader, 1000) == b"\nlost 1: it takes no more\nnext\n"


def test_a_pipe_that_another_program_has_made_non_blocking_gets_every_byte(
    writer: LineWriter, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, end = pipe
    os.set_blocking(end, False)
    with open(end, "w", closefd=False) as stream, ThreadPoolExecutor() as beside:
        direct(monkeypatch, stream)
        writing = beside.submit(writer.write, "x" * 300_000 + "\n")
        got = bytearray()
        while len(got) < 300_001:
            got.extend(os.read(reader, 1_000_000))
        writing.result(PATIENCE)
    assert got.endswith(b"x\n")
