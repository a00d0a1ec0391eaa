"""The caller's side of the desk, on a server."""

import io
import os
from collections.abc import Iterator

import pytest

from manyhands import Reason, Server
from manyhands.desk.call_handler import CallHandler, Terms
from manyhands.desk.desk_here import DeskHere
from manyhands.desk.reception import Reception
from manyhands.desk.screens import PlainScreen
from manyhands.desk.steps import StepRunner
from manyhands.desk.switchboard import Switchboard
from manyhands.desk.transcript import Transcript
from manyhands.desk.transcript_file import IN_MEMORY
from manyhands.desk.transcript_writer import TranscriptWriter
from manyhands.testing import serving, wait_until
from tests.desk.kit import ENGINES

Desk = tuple[CallHandler, Switchboard]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk without an operator, and its switchboard."""
    switchboard = Switchboard()
    keyboard = os.open(os.devnull, os.O_RDONLY)
    with (
        PlainScreen(keyboard, io.StringIO()) as screen,
        Transcript(IN_MEMORY) as transcript,
        TranscriptWriter(transcript, screen) as writer,
    ):
        reception = Reception(switchboard, writer, screen, Terms())
        here = DeskHere(reception, StepRunner(writer, screen))
        yield CallHandler(here, Terms()), switchboard
    os.close(keyboard)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_waits_for_a_caller_and_a_caller_that_does_not_read_are_in_the_books(
    desk: Desk, engine: str
) -> None:
    handler, switchboard = desk
    with serving(handler.serve, engine=engine, outbox=50_000) as under_test:
        server: Server = under_test.server
        with under_test.connect():
            wait_until(lambda: switchboard.calls)
            (call,), (connection,) = switchboard.calls, server.connections.values()
            while not connection.waiting:
                assert call.connection.say("x" * 999)
            while call.connection.say("x" * 999):
                pass
            wait_until(lambda: not server.connections)
        assert server.connections.closed == {Reason.DID_NOT_READ: 1}
        assert switchboard.calls == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_line_that_is_longer_than_what_may_wait_arrives_where_the_caller_reads(
    desk: Desk, engine: str
) -> None:
    handler, switchboard = desk
    with (
        serving(handler.serve, engine=engine, outbox=50_000) as under_test,
        under_test.connect() as caller,
    ):
        wait_until(lambda: switchboard.calls)
        (call,) = switchboard.calls
        line = "x" * 900_000
        assert call.connection.say(line)
        assert caller.makefile().readline() == line + "\n"
