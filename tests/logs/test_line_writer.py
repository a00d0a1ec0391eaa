"""Standard error in every state: what it does not take is counted, and told of when it takes some again."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from manyhands.logs.line_writer import LineWriter
from manyhands.logs.lines import JSONLines
from manyhands.logs.stderr_log import StderrHandler
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


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("gbk", "您好 \\U0001f600\n".encode("gbk")), ("utf-8", "您好 😀\n".encode())],
)
def test_lines_are_in_the_encoding_of_standard_error(
    encoding: str,
    written: bytes,
    writer: LineWriter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (tmp_path / "log").open("w", encoding=encoding) as log:
        direct(monkeypatch, log)
        writer.write("您好 😀\n")
    assert (tmp_path / "log").read_bytes() == written


@pytest.mark.parametrize("encoding", [None, "no such encoding", 5])
def test_a_stream_of_the_program_without_a_known_encoding_gets_utf_8(
    encoding: object, writer: LineWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("wb") as log:
        direct(monkeypatch, SimpleNamespace(fileno=log.fileno, encoding=encoding))
        writer.write("您好\n")
    assert (tmp_path / "log").read_bytes() == "您好\n".encode()


def test_json_is_utf_8_whatever_standard_error_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("w", encoding="gbk") as log:
        direct(monkeypatch, log)
        handler = StderrHandler(JSONLines(), queued=False)
        handler.handle(logging.makeLogRecord({"msg": "您好", "levelno": logging.INFO}))
        handler.close()
    assert json.loads((tmp_path / "log").read_bytes().decode())["message"] == "您好"
