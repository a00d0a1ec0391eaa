"""A desk whose callers are held by workers: for the operator and the callers it is as with one process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from manyhands.desk.parked_calls import PATIENCE as LOST_AFTER
from tests.desk.kit import MANYHANDS, Caller, Desk, environment, running, wait_for
from tests.desk.scripted.kit import endings, kept
from tests.desk.test_desk_at_a_terminal import Operator
from tests.support.processes import children_of, has_ended


class DeskWithWorkers(Desk):
    """A desk with two workers, or as many as are said."""

    def __init__(self, home: Path, *arguments: str, workers: int = 2, **popen: Any) -> None:
        self._home = home
        control = ["--control", str(home / "control")]
        super().__init__(home, "--workers", str(workers), *control, *arguments, **popen)

    def ctl(self, *words: str) -> Any:
        """Ask for something as JSON."""
        command = [*MANYHANDS, "ctl", "--json", "--control", str(self._home / "control"), *words]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, env=environment(self._home), check=True
        )
        return json.loads(done.stdout)

    def is_refused(self, *words: str) -> bytes:
        """Return why it does not do what is asked for."""
        command = [*MANYHANDS, "ctl", "--control", str(self._home / "control"), *words]
        done = subprocess.run(
            command, stderr=subprocess.PIPE, env=environment(self._home), check=False
        )
        assert done.returncode != 0
        return done.stderr

    def begins_to(self, *words: str) -> "subprocess.Popen[bytes]":
        """Have something asked for, and return at once."""
        command = [*MANYHANDS, "ctl", "--control", str(self._home / "control"), *words]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(self._home))

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers, as `ctl` has them."""
        return self.ctl("workers")["items"]

    def takes_calls(self, count: int) -> list[Caller]:
        """Have so many call, one after the other; so their numbers are in their order."""
        return [self.takes_a_call() for _ in range(count)]

    def callers_by_worker(self, callers: list[Caller]) -> dict[int, list[Caller]]:
        """Return the callers by the processes of their workers."""
        peers = {caller.socket.getsockname()[1]: caller for caller in callers}
        pids = {(each["generation"], each["number"]): each["pid"] for each in self.workers()}
        newest = {number: pid for (_, number), pid in sorted(pids.items())}
        found: dict[int, list[Caller]] = defaultdict(list)
        for each in self.ctl("connections")["items"]:
            caller = peers.get(int(each["peer"].rpartition(":")[2]))
            if caller is not None:
                found[newest[each["worker"]]].append(caller)
        return found


def number_of(desk: Desk, caller: Caller) -> int:
    """Return the number that the operator knows a caller by."""
    port = caller.socket.getsockname()[1]
    return int(desk.shows(rf"^-- (\d+) 127\.0\.0\.1:{port} has called in$")[1])


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_callers_of_several_workers_talk_with_one_operator(tmp_path: Path, engine: str) -> None:
    with DeskWithWorkers(tmp_path, "--engine", engine, "--greeting", "welcome") as desk:
        callers = desk.takes_calls(4)
        assert [number_of(desk, each) for each in callers] == [1, 2, 3, 4]
        assert sorted(map(len, desk.callers_by_worker(callers).values())) == [2, 2]
        for number, caller in enumerate(callers, 1):
            assert caller.hears() == "welcome"
            caller.says(f"/name C{number}\nhello from {number}\n")
            desk.shows(rf"^\[{number} C{number}\] hello from {number}$")
        desk.enters("/to C3", "hello three", "/all hello all", "/to 2", "/list")
        desk.shows(r"^-- 2 C2, from .*, you are answering$")
        assert callers[2].hears() == "hello three"
        assert [caller.hears() for caller in callers] == ["hello all"] * 4
        callers[0].says(b"caf\xe9\n")
        assert callers[0].hears().startswith("desk: some of what you sent is not UTF-8")
        desk.enters("/encoding 1 latin-1", "/to 1", "caf\xe9")
        desk.shows("^-- 1 C1 is read and written in iso8859-1$")
        assert callers[0].socket.recv(5) == b"caf\xe9\n"
        callers[1].says("/name operator\n")
        assert callers[1].hears() == "desk: a name may not look like what the desk itself writes"
        callers[3].says("byebye\n")
        assert [callers[3].hears(), callers[3].hears()] == ["byebye", ""]
        desk.shows("^-- 4 C4 has left: said byebye$")
        desk.enters("/kick 2")
        assert callers[1].hears() == "desk: the operator has ended the call"
        desk.shows("^-- 2 C2 has left: kicked$")
        callers[2].socket.shutdown(socket.SHUT_WR)
        desk.shows("^-- 3 C3 has stopped talking and only listens$")
        assert callers[2].hears().startswith("desk: you have stopped talking")
        desk.enters("/quit")
        assert callers[2].hears() == "desk: the desk is closing"
        assert desk.ends() == 0
    assert endings(tmp_path) == ["the desk closed", "kicked", "the desk closed", "said byebye"]
    said = kept(tmp_path)
    assert said[2] == [
        ("notice", "welcome"),
        ("in", "hello from 3"),
        ("out", "hello three"),
        ("out", "hello all"),
        ("notice", "the desk is closing"),
    ]


def test_a_worker_that_is_killed_ends_its_calls_alone_and_is_replaced(tmp_path: Path) -> None:
    with DeskWithWorkers(tmp_path) as desk:
        callers = desk.takes_calls(4)
        (killed, lost), (_, others) = desk.callers_by_worker(callers).items()
        os.kill(killed, signal.SIGKILL)
        for caller in lost:
            number = number_of(desk, caller)
            desk.shows(rf"^-- {number} .* has left: the worker that held the call has died$")
        desk.shows(rf"^-- worker . \(process {killed}\) has ended, by SIGKILL: 2 connections")
        for caller in others:
            number = number_of(desk, caller)
            caller.says("still here\n")
            desk.shows(rf"^\[{number} .*\] still here$")
            desk.enters(f"/to {number}", "good")
            assert caller.hears() == "good"
        wait_for(
            lambda: len([w for w in desk.workers() if w["state"] == "serving"]) == 2,
            lambda: "another worker",
        )
        more = desk.takes_calls(2)
        assert {number_of(desk, caller) for caller in more} == {5, 6}
        desk.enters("/quit")
        assert desk.ends() == 0
    died, closed = "the worker that held the call has died", "the desk closed"
    assert sorted(map(str, endings(tmp_path))) == [closed] * 4 + [died] * 2


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_reload_replaces_the_workers_and_callers_go_on_in_the_new_ones(
    tmp_path: Path, engine: str
) -> None:
    with DeskWithWorkers(tmp_path, "--engine", engine) as desk:
        callers = desk.takes_calls(4)
        before = {each["pid"] for each in desk.workers()}
        callers[0].says("/name Anna\n")
        desk.shows(r"^-- 1 .* is called Anna$")
        desk.enters("/encoding 2 gbk", "/to 2")
        desk.shows("^-- 2 .* is read and written in gbk$")
        callers[3].socket.shutdown(socket.SHUT_WR)
        assert callers[3].hears().startswith("desk: you have stopped talking")
        desk.shows(r"^-- 4 .* only listens$")
        assert desk.ctl("reload")["generation"] == 2
        # None is left in the old ones, which end.
        wait_for(lambda: all(map(has_ended, before)), lambda: "the old workers to end")
        callers[1].says("中文\n".encode("gbk"))
        desk.shows(r"^\[2 .*\] 中文$")
        desk.enters("/to Anna", "你好", "/all everybody")
        assert callers[0].hears() == "你好"
        assert [callers[number].hears() for number in (0, 2, 3)] == ["everybody"] * 3
        assert callers[1].socket.recv(10) == b"everybody\n"
        callers[2].says("byebye\n")
        assert [callers[2].hears(), callers[2].hears()] == ["byebye", ""]
        desk.enters("/kick 4")
        assert callers[3].hears() == "desk: the operator has ended the call"
        desk.shows("^-- 4 .* has left: kicked$")
        [new] = desk.takes_calls(1)
        assert number_of(desk, new) == 5
        desk.enters("/quit")
        assert callers[0].hears() == "desk: the desk is closing"
        assert desk.ends() == 0
    ended = ["the desk closed", "the desk closed", "said byebye", "kicked", "the desk closed"]
    assert endings(tmp_path) == ended


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_nothing_is_lost_of_what_both_sides_say_while_workers_are_replaced(
    tmp_path: Path, engine: str
) -> None:
    with DeskWithWorkers(tmp_path, "--engine", engine, "--line-burst", "1000000") as desk:
        callers = desk.takes_calls(20)
        for generation in range(2, 5):
            for caller in callers:
                caller.says(f"before {generation}\n")
            desk.enters(*(f"/all {number} of {generation}" for number in range(20)))
            reload = desk.begins_to("reload")
            desk.enters(*(f"/all {number} of {generation}" for number in range(20, 40)))
            for caller in callers:
                caller.says(f"after {generation}\n")
            assert reload.wait() == 0
            desk.enters(*(f"/all {number} of {generation}" for number in range(40, 60)))
            for caller in callers:
                assert [caller.hears() for _ in range(60)] == [
                    f"{number} of {generation}" for number in range(60)
                ]
        desk.enters("/quit")
        for caller in callers:
            assert caller.hears() == "desk: the desk is closing"
        assert desk.ends() == 0
    for said in kept(tmp_path):
        heard = [text for kind, text in said if kind == "in"]
        assert heard == [f"{when} {n}" for n in range(2, 5) for when in ("before", "after")]


def test_a_caller_on_the_way_whose_new_worker_never_comes_is_given_up_with_the_desk(
    tmp_path: Path,
) -> None:
    with DeskWithWorkers(tmp_path, workers=1) as desk:
        [caller] = desk.takes_calls(1)
        [old] = desk.workers()
        reload = desk.begins_to("reload")
        wait_for(
            lambda: [each["pid"] for each in desk.workers() if each["pid"] != old["pid"]],
            lambda: "the new worker",
        )
        [new] = [each["pid"] for each in desk.workers() if each["pid"] != old["pid"]]
        os.kill(new, signal.SIGSTOP)
        caller.says("is anybody there?\n")
        reload.wait()
        desk.enters("/quit")
        assert desk.ends() == 0
    assert endings(tmp_path) == ["the desk closed"]


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_of_a_worker_that_dies_while_its_callers_move_those_that_had_not_are_soon_told_of(
    tmp_path: Path, engine: str
) -> None:
    dying = """if True:
        import os
        import signal
        from manyhands.workers import hand_over

        pack_handed, packed = hand_over.pack_handed, []

        def pack_or_die(handed):
            packed.append(handed)
            if len(packed) > 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return pack_handed(handed)

        # The first generation's, and no other.
        if not os.path.exists(os.environ["HOME"] + "/newer"):
            hand_over.pack_handed = pack_or_die

        from manyhands.cli import command
        command()
    """
    left = r"^-- (\d+) .* has left: (.*)$"
    program = [sys.executable, "-c", dying]
    with DeskWithWorkers(tmp_path, "--engine", engine, workers=1, program=program) as desk:
        callers = desk.takes_calls(8)
        [old] = desk.workers()
        (tmp_path / "newer").touch()
        reload = desk.begins_to("reload")
        wait_for(lambda: has_ended(old["pid"]), lambda: "the old worker to be killed")
        died_at = time.monotonic()

        def lost() -> dict[int, str]:
            found = [re.search(left, line) for line in [*desk.output]]
            return {int(each[1]): each[2] for each in found if each}

        wait_for(lambda: len(lost()) == 5, lambda: "\n".join(desk.output))
        # No caller is on the line for half a minute that has gone.
        assert time.monotonic() - died_at < LOST_AFTER / 2
        assert set(lost().values()) == {"the worker that held the call has died"}
        assert reload.wait() == 0
        for number, caller in enumerate(callers, 1):
            if number in lost():
                assert caller.hears() == ""
                continue
            caller.says("still here\n")
            desk.shows(rf"^\[{number} .*\] still here$")
            desk.enters(f"/to {number}", "good")
            assert caller.hears() == "good"
        assert len(lost()) == 5


def test_a_worker_that_is_asked_to_end_says_goodbye_to_its_callers(tmp_path: Path) -> None:
    with DeskWithWorkers(tmp_path) as desk:
        callers = desk.takes_calls(2)
        (asked, [leaving]), (_, [staying]) = desk.callers_by_worker(callers).items()
        os.kill(asked, signal.SIGTERM)
        assert leaving.hears() == "desk: this line is closed for maintenance; please call again"
        assert leaving.hears() == ""
        number = number_of(desk, leaving)
        desk.shows(rf"^-- {number} .* has left: the worker that held the call was replaced$")
        staying.says("hello\n")
        desk.shows(r"\] hello$")
        said = kept(tmp_path)[number - 1]
        assert said == [("notice", "this line is closed for maintenance; please call again")]


def test_callers_of_a_desk_that_was_killed_hear_goodbye(tmp_path: Path) -> None:
    with DeskWithWorkers(tmp_path) as desk:
        callers = desk.takes_calls(4)
        processes = children_of(desk.process.pid)
        desk.process.kill()
        for caller in callers:
            assert [caller.hears(), caller.hears()] == ["desk: the desk has closed", ""]
        wait_for(lambda: all(map(has_ended, processes)), lambda: "the processes to end")


def test_a_worker_that_is_stopped_holds_up_neither_the_desk_nor_the_others(tmp_path: Path) -> None:
    with DeskWithWorkers(tmp_path, "--line-burst", "1000000") as desk:
        callers = desk.takes_calls(2)
        (stopped, [silent]), (_, [talking]) = desk.callers_by_worker(callers).items()
        os.kill(stopped, signal.SIGSTOP)
        silent.says("nobody reads this\n")
        desk.enters(f"/to {number_of(desk, talking)}")
        for number in range(20):
            talking.says(f"line {number}\n")
            desk.shows(rf"\] line {number}$")
            desk.enters(f"answer {number}", "/all " + "x" * 5000)
            assert talking.hears() == f"answer {number}"
            assert talking.hears() == "x" * 5000
        desk.enters("/quit")
        assert talking.hears() == "desk: the desk is closing"
        # The calls of the one that is stopped are given up.
        assert desk.ends() == 0
        desk.shows("^the desk is closed$")
    assert endings(tmp_path) == ["the desk closed"] * 2


def test_more_callers_than_one_process_has_descriptors_for_are_on_one_desk(tmp_path: Path) -> None:
    # By the shell: what the test itself needs is more.
    program = ["/bin/sh", "-c", 'ulimit -n 150; exec "$@"', "sh", *MANYHANDS]
    with DeskWithWorkers(tmp_path, "--engine", "fibers", program=program) as desk:
        callers = [desk.call() for _ in range(180)]
        desk.shows("^-- 180 .* has called in$")
        desk.enters("/all hello")
        assert [caller.hears() for caller in callers] == ["hello"] * 180
        for caller in callers:
            caller.socket.close()


def test_a_flood_of_one_caller_is_heard_at_its_rate_and_in_order(tmp_path: Path) -> None:
    rate = ["--max-line-rate", "500", "--line-burst", "200"]
    with DeskWithWorkers(tmp_path, *rate) as desk:
        flooding, other = desk.takes_calls(2)
        flooding.says("".join(f"{number} flood\n" for number in range(1000)))
        other.says("hello\n")
        desk.shows(r"^\[2 .*\] hello$")
        desk.shows("^-- 1 .* says more than 500 lines a second: the rest is heard later$")
        desk.shows(r"\] 999 flood$")
        shown = [re.search(r"\] (\d+) flood$", line) for line in desk.output]
        assert [int(each[1]) for each in shown if each] == list(range(1000))
        assert flooding.hears().startswith("desk: you say more than 500 lines a second")


def test_a_caller_of_a_worker_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    with DeskWithWorkers(tmp_path, "--outbox", "20000") as desk:
        deaf, other = desk.takes_calls(2)
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while not any("has left" in line for line in desk.output):
            desk.enters(f"/all {'x' * 3000}")
            assert other.hears() == "x" * 3000
        desk.shows("^-- 1 .* has left: did not read what was said to it$")


def test_limits_hold_over_all_workers_and_a_line_that_is_too_long_ends_a_call(
    tmp_path: Path,
) -> None:
    with DeskWithWorkers(tmp_path, "--max-connections", "2", "--max-line", "100") as desk:
        first, _ = desk.takes_calls(2)
        with desk.call() as refused:
            assert refused.hears().startswith("desk: no more calls are taken just now")
        first.says("x" * 101 + "\n")
        assert first.hears() == "desk: a line may have 100 bytes; this call is ended"
        assert first.hears() == ""
        desk.shows("^-- 1 .* has left: sent a line that is too long$")


@pytest.mark.parametrize("ask", ["sigterm", "sighup", "ctl"])
def test_what_ends_the_desk_ends_its_workers_politely(tmp_path: Path, ask: str) -> None:
    with DeskWithWorkers(tmp_path) as desk:
        callers = desk.takes_calls(4)
        processes = children_of(desk.process.pid)
        if ask == "ctl":
            desk.ctl("drain")
        else:
            number = signal.SIGTERM if ask == "sigterm" else signal.SIGHUP
            desk.process.send_signal(number)
        for caller in callers:
            assert [caller.hears(), caller.hears()] == ["desk: the desk is closing", ""]
        assert desk.ends() == 0
        assert all(map(has_ended, processes))
    assert endings(tmp_path) == ["the desk closed"] * 4


def test_workers_that_do_not_come_up_end_the_start_with_a_sentence(tmp_path: Path) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    with running([*command, "--workers", "2", "--start-timeout", "0.001"], tmp_path) as process:
        _, told = process.communicate()
        assert process.returncode == 3
        assert told.startswith(b"manyhands: the workers cannot serve: ")
        assert told.count(b"\n") == 1


def test_workers_of_another_version_are_refused_and_the_desk_goes_on(tmp_path: Path) -> None:
    version = """if True:
        import os
        from manyhands.desk import environment

        # The template of the first generation, and no other, is as the desk's process.
        if "MANYHANDS_DESK" in os.environ and os.path.exists(os.environ["HOME"] + "/newer"):
            environment.VERSION += 1

        from manyhands.cli import command
        command()
    """
    with DeskWithWorkers(tmp_path, program=[sys.executable, "-c", version]) as desk:
        caller = desk.takes_a_call()
        (tmp_path / "newer").touch()
        why = desk.is_refused("reload")
        assert b"is installed now, whose workers do not go with the desk that runs" in why
        caller.says("hello\n")
        desk.shows(r"\] hello$")


def test_a_reload_that_drains_ends_no_call_that_can_go_on(tmp_path: Path) -> None:
    with DeskWithWorkers(tmp_path, "--reload-drain", "drain") as desk:
        callers = desk.takes_calls(4)
        before = {each["pid"] for each in desk.workers()}
        desk.ctl("reload")
        wait_for(lambda: all(map(has_ended, before)), lambda: "the old workers to end")
        for number, caller in enumerate(callers, 1):
            caller.says("hello\n")
            desk.shows(rf"^\[{number} .*\] hello$")


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_caller_that_stops_talking_just_before_a_reload_is_told_of_once(
    tmp_path: Path, engine: str
) -> None:
    with DeskWithWorkers(tmp_path, "--engine", engine) as desk:
        callers = desk.takes_calls(4)
        reload = desk.begins_to("reload")
        for caller in callers:
            caller.socket.shutdown(socket.SHUT_WR)
        assert reload.wait() == 0
        for number in range(1, 5):
            desk.shows(rf"^-- {number} .* only listens$")
            desk.enters(f"/kick {number}")
            desk.shows(f"^-- {number} .* has left: kicked$")
        assert sum("only listens" in line for line in desk.output) == 4


def test_what_a_worker_reports_is_told_at_the_desk(tmp_path: Path) -> None:
    with DeskWithWorkers(tmp_path) as desk:
        callers = desk.takes_calls(2)
        desk.process.send_signal(signal.SIGUSR1)
        # And where they stand.
        desk.shows("^-- worker 1: .*handler")
        desk.shows(r"^-- worker 2: .*call_handler\.py")
        assert all(caller.socket.fileno() > 0 for caller in callers)


def test_an_upgrade_of_a_desk_is_refused(tmp_path: Path) -> None:
    with DeskWithWorkers(tmp_path) as desk:
        assert b"only a server that `run` serves can be upgraded" in desk.is_refused("upgrade")
        desk.enters("/quit")
        assert desk.ends() == 0


def test_at_a_terminal_the_line_being_typed_outlives_workers(tmp_path: Path) -> None:
    control = str(tmp_path / "control")
    command = [*MANYHANDS, "ctl", "--json", "--control", control]

    def ctl(*words: str) -> Any:
        return json.loads(subprocess.check_output([*command, *words], env=environment(tmp_path)))

    with Operator(tmp_path, "--workers", "2", "--control", control) as operator:
        anna, bob = operator.call("Anna"), operator.call("Bob")
        operator.sees_prompt("2 on the line", "1 Anna >")
        operator.types("not sent yet")
        operator.sees_prompt("2 on the line", "1 Anna > not sent yet")
        port = bob.socket.getsockname()[1]
        found = ctl("connections")["items"]
        worker = next(each["worker"] for each in found if each["peer"].endswith(f":{port}"))
        pids = {each["number"]: each["pid"] for each in ctl("workers")["items"]}
        os.kill(pids[worker], signal.SIGKILL)
        operator.sees("-- 2 Bob has left: the worker that held the call has died")
        operator.sees_prompt("1 on the line", "1 Anna > not sent yet")
        assert ctl("reload")["generation"] == 2
        operator.sees("-- reloaded: generation 2 serves, with 2 workers")
        operator.call("Carl")
        operator.sees_prompt("2 on the line", "1 Anna > not sent yet")
        operator.enters("")
        assert anna.hears() == "not sent yet"
        operator.enters("/quit")
        assert anna.hears() == "desk: the desk is closing"
        assert operator.leaves() == 0
        assert operator.text().endswith("the desk is closed")
