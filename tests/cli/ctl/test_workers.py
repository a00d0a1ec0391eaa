"""`manyhands ctl` with a server that has workers."""

from pathlib import Path
from typing import Any

import pytest

from manyhands.cli import main
from tests.control.fleet_kit import supervised

from .conftest import Ctl
from .test_verbs import STATUS, connection, page


def worker(number: int, **changes: object) -> dict[str, Any]:
    return {
        "number": number,
        "pid": 100 + number,
        "generation": 7,
        "state": "serving",
        "open": 1200,
        "begun": 56_789,
        "age": 61.2,
        "restarts": 0,
        **changes,
    }


TABLE = [
    "WORKER  PID  GENERATION  STATE      OPEN   BEGUN       AGE  RESTARTS",
    "     1  101           7  serving   1,200  56,789  1 m 01 s         0",
    "     2  102           6  draining  1,200  56,789  1 m 01 s         3",
]

WORKERS = [worker(1), worker(2, generation=6, state="draining", restarts=3)]


def test_workers_are_a_table(ctl: Ctl) -> None:
    ctl.answer({"workers.list": {"generation": 7, "items": WORKERS}})
    assert ctl.says("workers").splitlines() == TABLE
    ctl.answer_next({"workers.list": {"generation": 7, "items": []}})
    assert ctl.says("workers") == "there is no worker\n"


def test_workers_are_replaced_and_counted_and_the_outcome_is_said(ctl: Ctl) -> None:
    ctl.answer({"workers.restart": {"restarted": True}, "workers.scale": lambda asked: asked})
    assert ctl.says("workers", "restart") == "all workers have been replaced\n"
    assert ctl.says("workers", "restart", "2") == "worker 2 has been replaced\n"
    assert ctl.says("workers", "scale", "8") == "8 workers serve\n"
    assert ctl.asked == [
        ("workers.restart", {}),
        ("workers.restart", {"worker": 2}),
        ("workers.scale", {"count": 8}),
    ]


def test_a_reload_says_which_generation_serves(ctl: Ctl) -> None:
    ctl.answer({"reload": {"reloaded": True, "what": "generation 8", "generation": 8}})
    assert ctl.says("reload") == "reloaded: generation 8\n"


def test_the_status_has_the_workers_and_says_which_did_not_answer(ctl: Ctl) -> None:
    ctl.answer({"status": {**STATUS, "workers": WORKERS, "generation": 7, "missing": [2]}})
    lines = ctl.says("status").splitlines()
    assert "generation  7" in lines
    assert lines[-4:] == [*TABLE, "worker 2 has not answered: what it knows is missing"]


def test_connections_have_their_worker_and_are_chosen_by_it(ctl: Ctl) -> None:
    found = page(connection(1, worker=2), missing=[1, 3])
    ctl.answer({"connections.list": found})
    headings, line, _, missing = ctl.says("connections", "--worker", "2").splitlines()
    assert dict(zip(headings.split(), line.split(), strict=False))["ID"] == "1"
    assert "WORKER" in headings
    assert missing == "workers 1, 3 have not answered: what they know is missing"
    assert ctl.asked == [("connections.list", {"where": {"worker": 2}})]


def test_to_close_what_a_worker_that_does_not_answer_has_is_a_failure(ctl: Ctl) -> None:
    ctl.answer({"connections.close": {"closed": ["1"], "gone": [], "missing": [2]}})
    assert ctl.says("close", "1", "2", status=1).startswith("closed 1\n")


def test_stacks_say_which_worker_they_are_of(ctl: Ctl) -> None:
    item = {"id": "1", "peer": "x", "handler": "Echo", "stack": [], "pid": 71, "worker": 2}
    threads = [
        {"name": "main", "ident": 5, "stack": [], "worker": 2},
        {"name": "main", "ident": 6, "stack": []},
    ]
    ctl.answer({"stacks": {"items": [item], "total": 1, "threads": threads, "missing": []}})
    headings = [line for line in ctl.says("stacks").splitlines() if not line.startswith(" ")]
    assert headings == [
        "1 x Echo, worker 2, process 71",
        "thread 5 main, worker 2",
        "thread 6 main",
    ]


def test_a_real_supervisor_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with supervised(tmp_path, 1) as fleet:
        fleet.fleet.members[0].call()
        for words in (["status"], ["connections"], ["workers"], ["stacks"], ["reload"]):
            assert main(["ctl", "--control", fleet.place, *words]) == 0
        assert main(["ctl", "--control", fleet.place, "workers", "restart", "9"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "manyhands: there is no worker 9; there is 1\n"
    assert "reloaded: generation 1" in printed.out
