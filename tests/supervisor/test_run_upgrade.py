"""An upgrade of `manyhands run --workers`: another program takes the supervisor's process over."""

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from manyhands.control.client import Refused
from tests.supervisor.kit import idle_timeout_of
from tests.supervisor.run_command import HANDLER, running
from tests.support.waiting import wait_until

PROGRAM = (
    HANDLER
    + """
if __name__ == "__main__":
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pid) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
"""
)


def test_callers_stay_and_the_books_go_on(tmp_path: Path) -> None:
    with running(tmp_path, PROGRAM, "--reload-drain", "stay") as run, ExitStack() as stack:
        before = [stack.enter_context(run.call()) for _ in range(4)]
        asked = [each.ask() for each in before]
        run.upgrade()
        assert run.status()["pid"] == run.program.pid
        # Those of before are where they were, and new ones are with new workers.
        assert [each.ask() for each in before] == asked
        assert run.asked() not in asked
        wait_until(lambda: run.status()["books"]["open"] == 4)
        books = run.status()["books"]
        assert books["accepted"] == 5
        run.program.send(signal.SIGTERM)
        assert run.program.wait() == 0


def test_new_code_serves_after_it_and_can_be_upgraded_again(tmp_path: Path) -> None:
    with running(tmp_path, PROGRAM) as run:
        for word in ("4711", "4712"):
            file = tmp_path / "old_server.py"
            file.write_text(PROGRAM.replace("os.getpid()", word))
            run.upgrade()
            assert run.asked() == int(word)


def test_a_deadline_that_an_operator_has_set_holds_in_new_workers_too(tmp_path: Path) -> None:
    with running(tmp_path, PROGRAM) as run:
        run.client.call("limits.set", values={"idle_timeout": 420})
        for _ in range(2):
            run.upgrade()
            with run.call() as caller:
                assert idle_timeout_of(caller, run.client) == 420


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (PROGRAM.replace("import os", "import nothing_of_this_name"), "the program ended before"),
        (
            PROGRAM.replace(
                "        print(",
                "        socketserver.TCPServer(('127.0.0.1', 0), Pid)\n        print(",
            ),
            "the program binds further addresses than before: start it anew",
        ),
        ("", "the program ended before it served, with the status 0"),
    ],
)
def test_a_program_that_would_not_do_leaves_the_old_one(
    tmp_path: Path, changed: str, why: str
) -> None:
    with running(tmp_path, PROGRAM) as run, run.call() as caller:
        asked = caller.ask()
        file = tmp_path / "old_server.py"
        file.write_text(changed)
        with pytest.raises(Refused, match=why):
            run.client.request("upgrade", timeout=60)
        assert caller.ask() == asked
        file.write_text(PROGRAM)
        run.upgrade()
        assert run.asked() != asked


def test_sigusr2_asks_for_it(tmp_path: Path) -> None:
    with running(tmp_path, PROGRAM, "--log", "text") as run:
        before = {run.asked() for _ in range(4)}
        run.program.send(signal.SIGUSR2)
        lines = iter(run.program.error_line, "")
        assert any("has taken over" in line for line in lines)
        wait_until(lambda: run.asked() not in before)
