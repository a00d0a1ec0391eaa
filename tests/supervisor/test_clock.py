"""The clock on the wall jumps: nothing that waits, or has waited, goes by it."""

import time
from pathlib import Path

import pytest

from manyhands.control.client import Client
from tests.supervisor.kit import kill
from tests.supervisor.programs import service
from tests.support.waiting import wait_until

DAY = 86_400

JUMPING = """
    wall = time.time

    def jumped():
        try:
            with open("jump") as file:
                return wall() + float(file.read() or 0)
        except OSError:
            return wall()

    time.time = jumped
    server = Server(
        Pid, ("127.0.0.1", 0), workers=2, control="control", idle_timeout=600, worker_timeout=30
    )
"""
"""All of its processes have the clock that the test sets."""


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
def test_a_clock_that_jumps_ends_nothing_and_holds_nothing_up(jump: int, tmp_path: Path) -> None:
    with service(tmp_path, JUMPING) as program, program.call() as caller:
        served_by = caller.ask()
        with Client(str(tmp_path / "control")) as client:
            (tmp_path / "jump").write_text(str(jump))
            began = time.monotonic()
            assert caller.ask() == served_by
            [victim] = program.workers(2) - {served_by}
            kill(victim)
            program.wait_for("WorkerDied ")
            wait_until(lambda: len(program.workers(2)) == 2)
            told = client.call("status")
            assert 0 <= told["uptime"] < DAY / 2
            assert all(0 <= each["age"] < DAY / 2 for each in told["workers"])
            [row] = [
                each
                for each in client.call("connections.list")["items"]
                if each["peer"].endswith(f":{caller.socket.getsockname()[1]}")
            ]
            assert 0 <= row["age"] < DAY / 2
            assert caller.ask() == served_by
            client.request("reload", timeout=60)
            program.wait_for("Reloaded ")
        # No deadline was overdue, and no worker was found to hang.
        assert time.monotonic() - began < 600
        told_meanwhile = [program.line() for _ in range(100) if program.has_line()]
        assert not [line for line in told_meanwhile if line.startswith("WorkerHung")]
