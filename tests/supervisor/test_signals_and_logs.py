"""What signals mean to a server with workers, and what its log is like."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.supervisor.command import Shop, is_free, is_there, shop
from tests.supervisor.kit import ENGINES, close
from tests.support import Program, call, wait_until
from tests.support.terminals import AT_A_TERMINAL, UNDER_NOHUP

_ASKING = [signal.SIGUSR1, signal.SIGQUIT]


def _stacks(served: Shop, count: int) -> list[tuple[int, int]]:
    """Return of so many stacks whose they are, as the log tells: worker and connection.

    Each process writes by a thread of its own, so a worker's stack may come before the supervisor's word.
    """
    told: list[dict[str, Any]] = []
    while [each.get("event") for each in told].count(
        "HandlerStack"
    ) < count or "StacksFollow" not in {each.get("event") for each in told}:
        told.append(served.hear_one())
    [asked] = [each for each in told if each.get("event") == "StacksFollow"]
    assert asked["count"] == count
    assert "worker" not in asked
    stacks = [each for each in told if each.get("event") == "HandlerStack"]
    assert all("in handle" in each["stack"] for each in stacks)
    return sorted((each["worker"], each["number"]) for each in stacks)


@pytest.mark.parametrize("number", _ASKING)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_supervisor_has_all_workers_tell_where_their_handlers_stand(
    engine: str, number: signal.Signals, tmp_path: Path
) -> None:
    with shop(tmp_path, "--engine", engine) as served:
        every = [served.call() for _ in range(4)]
        assert {each.word() for each in every} == {"one"}
        served.program.send(number)
        told = _stacks(served, 4)
        assert {worker for worker, _ in told} == {1, 2}
        assert {connection for _, connection in told} == {1, 2, 3, 4}
        assert every[0].word() == "one"
        close(every)


def test_a_terminal_that_asks_all_processes_is_told_once(tmp_path: Path) -> None:
    with shop(tmp_path) as served, served.call() as caller:
        assert caller.word() == "one"
        before = served.processes()
        served.program.send_to_group(signal.SIGQUIT)
        assert len(_stacks(served, 1)) == 1
        assert caller.word() == "one"
        assert served.processes() == before
        caller.close()
        served.program.send(signal.SIGTERM)
        assert (served.program.wait(), served.program.errors()) == (0, "")


def test_an_ordinary_start_logs_nothing_and_lines_of_workers_say_which_it_is(
    tmp_path: Path,
) -> None:
    with shop(tmp_path, "--access-log") as served:
        every = [served.call() for _ in range(2)]
        assert {each.word() for each in every} == {"one"}
        close(every)
        told = [served.hear("ConnectionClosed") for _ in range(2)]
        assert {each["worker"] for each in told} == {1, 2}
        served.program.send(signal.SIGTERM)
        assert served.program.wait() == 0
        rest = [json.loads(line) for line in served.program.errors().splitlines()]
    assert {each["event"] for each in [*told, *rest]} <= {"ConnectionClosed", "Draining"}


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ((), r"manyhands: worker [12]: #1 127.0.0.1:\d+ on .*: peer_closed, .*"),
        (("--log", "text"), r"\S+ info ConnectionClosed: worker [12]: #1 .*"),
    ],
)
def test_lines_for_people_say_which_worker_it_is(
    form: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("def Echo(request, client_address, server): request.recv(9)")
    words = ["-m", "manyhands", "serve", "shop:Echo", "--bind", "tcp://127.0.0.1:0"]
    with Program([*words, "--workers", "2", "--access-log", *form], tmp_path) as program:
        port = int(program.line().rpartition(":")[2])
        call(("127.0.0.1", port)).close()
        assert re.fullmatch(line, program.error_line())


def test_the_lines_of_many_connections_of_all_workers_are_whole(tmp_path: Path) -> None:
    with shop(tmp_path, "--access-log", workers=4) as served:
        for _ in range(20):
            close([served.call() for _ in range(20)])
        told = [served.hear("ConnectionClosed") for _ in range(400)]
    assert sorted(each["number"] for each in told) == list(range(1, 401))


@pytest.mark.parametrize(
    ("engine", "number", "of"),
    [
        *((engine, signal.SIGTERM, "one") for engine in ENGINES),
        ("threads", signal.SIGINT, "one"),
        ("threads", signal.SIGINT, "group"),
        # The processes of handlers are in it too.
        ("processes", signal.SIGINT, "group"),
    ],
)
def test_a_signal_drains_and_a_second_one_cuts_off(
    engine: str, number: signal.Signals, of: str, tmp_path: Path
) -> None:
    with shop(tmp_path, "--engine", engine, "--drain-timeout", "60") as served:
        send = served.program.send if of == "one" else served.program.send_to_group
        processes = [served.program.pid, *served.processes()]
        with served.call() as caller, served.call() as other:
            caller.hold()
            other.hold()
            send(number)
            served.hear("Draining")
            wait_until(lambda: is_free(served.address))
            # Both go on; one ends by itself, the other one is cut off.
            assert caller.is_held()
            assert other.is_held()
            caller.close()
            send(number)
            other.end()
        assert served.program.wait() == 1
        assert "cut off" in served.program.errors()
        wait_until(lambda: not any(map(is_there, processes)))


@contextmanager
def _at_a_terminal(folder: Path, before: str = "") -> Iterator[tuple[Shop, BinaryIO]]:
    terminal, screen = os.openpty()
    words = ("-c", before + AT_A_TERMINAL, os.ttyname(screen))
    with os.fdopen(terminal, "rb", buffering=0) as held, shop(folder, before=words) as served:
        os.close(screen)
        yield served, held


def test_a_terminal_that_is_closed_ends_the_server(tmp_path: Path) -> None:
    with _at_a_terminal(tmp_path) as (served, terminal):
        processes = served.processes()
        assert served.word() == "one"
        terminal.close()
        assert served.program.wait() == 0
        wait_until(lambda: not any(map(is_there, processes)))


def test_under_nohup_it_outlives_its_terminal_and_reloads_still(tmp_path: Path) -> None:
    with _at_a_terminal(tmp_path, UNDER_NOHUP) as (served, terminal), served.call() as caller:
        assert caller.word() == "one"
        terminal.close()
        assert caller.word() == "one"
        served.write("two")
        served.program.send(signal.SIGHUP)
        wait_until(lambda: served.word() == "two")
