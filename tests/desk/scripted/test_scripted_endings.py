"""How a desk whose operator is a script comes to its end."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.desk.kit import MANYHANDS, PATIENCE, Caller, Desk, environment, running

from .kit import endings


def test_the_end_of_the_input_leaves_the_desk_open_for_those_on_the_line(desk: Desk) -> None:
    with desk.call() as talking, desk.call() as listening, desk.call() as late:
        listening.socket.shutdown(socket.SHUT_WR)
        desk.shows("only listens")
        desk.process.stdin.close()
        assert listening.hears().startswith("desk: you have stopped talking")
        assert listening.hears() == ""  # no caller is left to answer
        late.socket.shutdown(socket.SHUT_WR)
        assert late.hears().startswith("desk: you have stopped talking")
        assert late.hears() == ""
        talking.says("still here\nbyebye\n")
        assert talking.hears() == "byebye"
        desk.shows("still here$")
        assert desk.ends() == 0
    assert desk.output[-1] == "the desk is closed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_the_desk_politely(desk: Desk, tmp_path: Path, number: int) -> None:
    with desk.call() as caller:
        caller.says("hello\n")
        desk.shows("hello$")
        desk.process.send_signal(number)
        assert [caller.hears(), caller.hears()] == ["desk: the desk is closing", ""]
        assert desk.ends() == 0
    assert desk.output[-1] == "the desk is closed"
    assert endings(tmp_path) == ["the desk closed"]


def test_when_the_reader_of_the_output_goes_the_desk_closes_politely(tmp_path: Path) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    with running(command, tmp_path) as process:
        invitation = list(iter(process.stdout.readline, b"/help says what you can do\n"))
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", invitation[0])[1])
        process.stdout.close()
        with Caller(("127.0.0.1", port)) as caller:
            assert caller.hears() == "desk: the desk is closing"
        assert process.wait(PATIENCE) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""


def test_callers_in_the_backlog_are_told_that_the_desk_closes(desk: Desk, tmp_path: Path) -> None:
    # A desk that has no time just now: its callers connect, and wait in the kernel's backlog.
    desk.process.send_signal(signal.SIGSTOP)
    waiting = [desk.call() for _ in range(50)]
    desk.process.send_signal(signal.SIGTERM)
    desk.process.send_signal(signal.SIGCONT)
    for caller in waiting:
        with caller:
            assert [caller.hears(), caller.hears()] == ["desk: the desk is closing", ""]
    assert desk.ends() == 0
    assert endings(tmp_path) == ["the desk closed"] * 50


def test_an_order_that_is_unfinished_when_the_desk_is_stopped_is_not_carried_out(
    desk: Desk,
) -> None:
    with desk.call() as caller:
        desk.shows("has called in")
        desk.enters("/list\nhalf a sent", end="")
        desk.shows("you are answering$")
        desk.process.send_signal(signal.SIGTERM)
        assert caller.hears() == "desk: the desk is closing"


def test_an_order_that_is_unfinished_at_the_end_of_the_input_is_carried_out(desk: Desk) -> None:
    with desk.call() as caller:
        desk.shows("has called in")
        desk.process.stdin.write(b"/list\nlast words")
        desk.process.stdin.close()
        assert caller.hears() == "last words"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_desk_is_open_ends_it_as_shells_say(
    tmp_path: Path, number: signal.Signals
) -> None:
    """And one more, whenever it comes, is no failure."""
    program = """if True:
        import os, sys
        from manyhands.cli import command
        from manyhands.desk import environment

        def transcript_file(given, name=sys.argv.pop(1)):
            os.kill(os.getpid(), int(name))
            return given

        environment.transcript_file = transcript_file
        command()
    """
    words = ["chat", "--bind", "127.0.0.1:0", "--transcript", str(tmp_path / "t.sqlite")]
    command = [sys.executable, "-c", program, str(int(number)), *words]
    done = subprocess.run(
        command, capture_output=True, env=environment(tmp_path), timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (128 + number, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_more_while_the_desk_comes_to_its_end_is_no_failure(
    tmp_path: Path, number: signal.Signals
) -> None:
    program = """if True:
        import atexit, os, sys
        from manyhands.cli import command

        number = int(sys.argv.pop(1))

        class Output:
            def __getattr__(self, name):
                return getattr(sys.__stdout__, name)

            def write(self, text):
                sys.__stdout__.write(text)
                if "is closed" in text:
                    os.kill(os.getpid(), number)

        sys.stdout = Output()
        command()
    """
    words = ["chat", "--bind", "127.0.0.1:0", "--transcript", str(tmp_path / "t.sqlite")]
    command = [sys.executable, "-c", program, str(int(number)), *words]
    done = subprocess.run(
        command,
        input=b"/quit\n",
        capture_output=True,
        env=environment(tmp_path),
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
