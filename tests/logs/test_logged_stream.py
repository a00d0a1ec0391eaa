"""What a program prints to standard error while that is a log: whole lines, however long one is."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyhands.logs import LoggedStream
from manyhands.logs.records import LONGEST_TEXT, RecordQueue
from manyhands.logs.uncaught import LONGEST_LINE
from tests.support.waiting import PATIENCE


class Log:
    """Takes records, and keeps their texts."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, record: logging.LogRecord) -> None:
        self.texts.append(record.exc_text or record.getMessage())


@pytest.mark.parametrize("verbatim", [True, False])
def test_a_line_that_never_ends_is_shown_before_it_is_long(verbatim: bool) -> None:
    log = Log()
    stream = LoggedStream(None, log, verbatim=verbatim)
    for _ in range(3 * LONGEST_LINE):
        stream.write(".")
    assert log.texts == ["." * LONGEST_LINE] * 3


@pytest.mark.parametrize(
    ("verbatim", "shown"),
    [(True, ["one\ntwo\n", "three, \n"]), (False, ["one", "two", "three, "])],
)
def test_lines_are_shown_when_they_end(verbatim: bool, shown: list[str]) -> None:
    log = Log()
    stream = LoggedStream(None, log, verbatim=verbatim)
    for text in ("one\ntwo\nthree", ", ", "\n"):
        stream.write(text)
    assert log.texts == shown


def test_a_long_text_is_shown_as_it_is_in_pieces() -> None:
    log, text = Log(), f"{'x' * 3 * LONGEST_TEXT}\n"
    LoggedStream(None, log, verbatim=True).write(text)
    assert "".join(log.texts) == text
    assert max(map(len, log.texts)) == LONGEST_TEXT


def raised(text: str) -> logging.LogRecord:
    error = ValueError(text)
    information = ValueError, error, None
    return logging.LogRecord("x", logging.ERROR, "", 0, "an error", (), information)


def said(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.ERROR, "", 0, "%s", (text,), None)


@pytest.mark.parametrize("make", [raised, said])
def test_of_a_long_text_the_beginning_and_the_end_wait_for_the_log(
    make: Callable[[str], logging.LogRecord],
) -> None:
    log = Log()
    queue = RecordQueue(log)
    queue.put(make(f"begins {'x' * 1_000_000} ends"))
    assert queue.close(PATIENCE)
    (text,) = log.texts
    assert len(text) < LONGEST_TEXT + 100
    assert "begins" in text
    assert text.rstrip().endswith("ends")
    assert "characters left out" in text


def test_arguments_that_do_not_fit_cost_the_message_and_do_not_raise() -> None:
    log = Log()
    queue = RecordQueue(log)
    queue.put(logging.LogRecord("x", logging.ERROR, "", 0, "%d", ("no number",), None))
    assert queue.close(PATIENCE)
    assert log.texts == ["a record of x cannot be written: TypeError"]


@pytest.mark.parametrize("verbatim", [True, False])
def test_what_else_a_program_does_with_its_standard_error_is_done_to_the_stream_behind(
    verbatim: bool, tmp_path: Path
) -> None:
    log = Log()
    with (tmp_path / "errors").open("w", encoding="utf-8") as behind:
        stream: Any = LoggedStream(behind, log, verbatim=verbatim)
        stream.reconfigure(line_buffering=True)
        assert behind.line_buffering
        assert stream.name == behind.name
        assert stream.fileno() == stream.buffer.fileno() == behind.fileno()
        assert stream.buffer.raw is behind.buffer.raw
        stream.buffer.write(b"bytes\n")
        print("text", file=stream)
    assert "".join(log.texts).replace("\n", "") == "bytestext"


def test_where_there_was_no_standard_error_it_has_no_such_attribute() -> None:
    stream: Any = LoggedStream(None, Log())
    for part in (stream, stream.buffer):
        with pytest.raises(AttributeError, match="standard error has no attribute"):
            part.name  # noqa: B018
