"""`manyhands top` in a real terminal."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.console.conftest import Serve, Serving
from tests.desk.kit import MANYHANDS, PATIENCE, Person, wait_for
from tests.server.test_sighup import AT_A_TERMINAL
from tests.support import is_closed_by_server
from tests.support.processes import state_of

_LEFT_AS_IT_WAS = b"\x1b[?1049l"
"""What gives back the screen that was there before."""


def top(serving: Serving, home: Path, *arguments: str, columns: int = 120) -> Person:
    command = [*MANYHANDS, "top", "--control", serving.control, "--interval", "0.1", *arguments]
    return Person(command, home, columns, rows=24)


def leave(person: Person) -> None:
    """Have a person leave, as most do."""
    person.types("q")
    assert person.leaves() == 0


@pytest.fixture
def serving(serve: Serve) -> Serving:
    """A server with three clients."""
    serving = serve()
    for _ in range(3):
        serving.call()
    return serving


def test_a_person_looks_closes_a_connection_and_leaves(serve: Serve, tmp_path: Path) -> None:
    serving = serve()
    anna, mallory = serving.call("anna"), serving.call("\x1b]2;owned\x07[red]王")
    with top(serving, tmp_path, columns=160) as person:
        person.sees("open 2   accepted 2")
        person.sees(r"@\x1b]2;owned\x07[red]王")
        assert b"\x1b]2;owned" not in person.received
        person.types("\x1b[B")
        person.types("\r")
        person.sees("connection 2")
        person.sees("in Echo.handle")
        person.types("x")
        person.sees("Close connection 2?")
        person.types("y")
        person.sees("connection 2 is closed")
        assert is_closed_by_server(mallory)
        person.sees("open 1   accepted 2   closed 1")
        leave(person)
        assert _LEFT_AS_IT_WAS in person.received
    anna.sendall(b"still here\n")
    assert anna.recv(11) == b"still here\n"


def test_ctrl_c_leaves(serving: Serving, tmp_path: Path) -> None:
    with top(serving, tmp_path) as person:
        person.sees("3 connections")
        person.types("\x03")
        assert person.leaves() == 0
        assert _LEFT_AS_IT_WAS in person.received


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_the_terminal_as_it_was(
    serving: Serving, tmp_path: Path, number: signal.Signals
) -> None:
    with top(serving, tmp_path) as person:
        person.sees("3 connections")
        person.child.kill(number)
        assert person.leaves() == 128 + number
        assert _LEFT_AS_IT_WAS in person.received


@contextmanager
def at_a_terminal(serving: Serving) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Look at a server on a terminal that nobody reads after this; yield its other end, and the process."""
    terminal, screen = os.openpty()
    words = ["-c", AT_A_TERMINAL, os.ttyname(screen), *MANYHANDS[1:], "top", "--interval", "0.1"]
    command = [sys.executable, *words, "--control", serving.control]
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        command, stdin=screen, stdout=screen, stderr=screen, env=variables, start_new_session=True
    ) as process:
        os.close(screen)
        try:
            seen = b""
            while b"quit" not in seen:
                seen += os.read(terminal, 65_536)
            yield terminal, process
        finally:
            process.kill()


def test_a_terminal_that_is_closed_ends_it(serving: Serving) -> None:
    with at_a_terminal(serving) as (terminal, process):
        os.close(terminal)
        assert process.wait(PATIENCE) == -signal.SIGHUP


def test_a_terminal_that_takes_nothing_is_not_waited_for(serving: Serving) -> None:
    with at_a_terminal(serving) as (terminal, process):
        # Whatever changes on the screen fills what the kernel keeps for it.
        wait_for(lambda: _waits_for_its_terminal(process.pid), lambda: "it to be stuck")
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        os.close(terminal)


def _waits_for_its_terminal(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/wchan")
    return any(
        "n_tty_write" in each.read_text() or "wait_woken" in each.read_text() for each in threads
    )


def test_without_colours_none_is_sent(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def colours(received: bytes) -> set[bytes]:
        """Return the parameters of SGR that choose a colour, but for the terminal's own (39 and 49)."""
        chosen = re.findall(rb"\x1b\[([\d;]*)m", received)
        own = {b"0", b"1", b"2", b"7", b"39", b"49", b""}
        return {each for parameters in chosen for each in parameters.split(b";")} - own

    with top(serving, tmp_path) as person:
        person.sees("q quit")
        wait_for(lambda: colours(person.received), lambda: "a colour")
        leave(person)
    monkeypatch.setenv("NO_COLOR", "1")
    with top(serving, tmp_path) as person:
        person.sees("q quit")
        person.types("x")
        person.sees("Close connection")
        # The row under the cursor stands out all the same.
        assert b"\x1b[7;" in person.received
        person.types("n")
        # A key that comes while the dialog is taken away is the dialog's.
        person.sees_no("Close connection")
        leave(person)
        assert colours(person.received) == set()


def test_it_begins_with_the_filter_and_the_order_that_are_given(
    serve: Serve, tmp_path: Path
) -> None:
    serving = serve()
    for name in ("anna", "bob", "annabel"):
        serving.call(name)
    with top(serving, tmp_path, "--filter", "anna", "--sort=-id") as person:
        person.sees("2 connections, 3 open  by id, falling  filter anna")
        person.sees("@annabel ")
        text = person.sees("@anna ")
        assert text.index("@annabel ") < text.index("@anna ")
        leave(person)


def test_a_server_that_is_killed_and_started_anew_is_followed(
    serving: Serving, tmp_path: Path
) -> None:
    with top(serving, tmp_path) as person:
        person.sees(f"process {serving.program.pid}")
        serving.kill()
        person.sees("no server listens at")
        person.sees("3 connections")
        serving.start_anew()
        serving.call()
        person.sees(f"process {serving.program.pid}")
        person.sees("1 connection ")
        # The last line comes last to a terminal: it may still say that no server listens.
        person.sees("has been started anew")
        leave(person)


def test_it_goes_on_after_it_was_stopped_for_a_while(serving: Serving, tmp_path: Path) -> None:
    with top(serving, tmp_path) as person:
        person.sees("3 connections")
        person.types("\x1a")
        wait_for(lambda: state_of(person.child.pid) == "T", lambda: "it to stop")
        os.kill(person.child.pid, signal.SIGCONT)
        serving.call()
        person.sees("4 connections")
        leave(person)
