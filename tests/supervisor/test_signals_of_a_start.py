"""Signals that come before the first workers serve are kept until they do, and end nothing."""

import os
import signal
from pathlib import Path

import pytest

from tests.supervisor.command import Shop, is_there
from tests.supervisor.programs import service
from tests.support.processes import children_of
from tests.support.terminals import AT_A_TERMINAL
from tests.support.waiting import wait_until

SLOW = "open('begun', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
"""An import that lasts as long as the test wants."""

ANSWERS = {
    signal.SIGHUP: "Reloaded",
    signal.SIGUSR1: "StacksFollow",
    signal.SIGQUIT: "StacksFollow",
    signal.SIGUSR2: "Upgraded",
}


@pytest.mark.parametrize("number", ANSWERS, ids=lambda number: number.name)
def test_what_an_operator_asks_for_meanwhile_is_done_when_they_serve(
    number: signal.Signals, tmp_path: Path
) -> None:
    served = Shop(tmp_path, first=SLOW)
    with served.program as program:
        wait_until((tmp_path / "begun").exists)
        program.send(number)
        (tmp_path / "go").touch()
        served.until_it_serves()
        served.hear(ANSWERS[number])
        assert served.word() == "one"
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_a_terminal_that_is_closed_meanwhile_ends_it(tmp_path: Path) -> None:
    terminal, screen = os.openpty()
    served = Shop(tmp_path, first=SLOW, before=("-c", AT_A_TERMINAL, os.ttyname(screen)))
    with os.fdopen(terminal, "rb", buffering=0) as held, served.program as program:
        os.close(screen)
        wait_until((tmp_path / "begun").exists)
        processes = children_of(program.pid)
        held.close()
        assert program.wait() == 0
        wait_until(lambda: not any(map(is_there, processes)))


OF_ITS_OWN = """
    import signal

    server = Server(Pid, "tcp://127.0.0.1:0", workers=2)

    def hang_up():
        if os.getpid() == server_process:
            os.kill(os.getpid(), signal.SIGHUP)

    os.register_at_fork(before=hang_up)
"""
"""It gets a signal just before its first workers, which are its copies."""


def test_so_it_is_in_a_program_that_calls_run(tmp_path: Path) -> None:
    with service(tmp_path, OF_ITS_OWN) as program:
        program.wait_for("Reloaded ")
        assert len(program.workers(2)) == 2
        program.send(signal.SIGTERM)
        assert program.wait() == 0
