"""Connections that go on in another worker: between two frames, with all that belongs to them."""

import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.command import Shop
from tests.supervisor.kit import Caller
from tests.support.certificates import Authority
from tests.support.waiting import wait_until

ENGINES = ("threads", "fibers")

ROOM = '''
import os, time
from manyhands.framing import FramedRequestHandler

class Echo(FramedRequestHandler):
    """A chat room, and what else a test asks of it."""

    resumable = {resumable}

    def handle(self):
        self.name = self.read_text_line()
        self.may_leave = True
        self.join("all", self.name)
        self.answer("hello")
        self.talk()

    def pause(self):
        if self.name == "broken":
            raise ValueError("a fault of the program's")
        return self.name.encode() if self.may_leave else None

    def resume(self, state):
        self.name, self.may_leave = state.decode(), True
        self.talk()

    def finish(self):
        if self.name == "writes at its end":
            self.wfile.write(b"goodbye, which nobody is to read\\n")
        super().finish()

    def answer(self, word):
        self.wfile.write(f"{{os.getpid()}} {word} {{word}} {{self.name}}\\n".encode())

    def talk(self):
        try:
            while (line := self.read_text_line()) is not None:
                self.do(*line.split(" ", 1))
        finally:
            if self.name == "writes at its end":
                self.wfile.write(b"goodbye, which nobody is to read\\n")

    def do(self, verb, rest=""):
        match verb:
            case "tell":
                self.server.tell("all", rest.encode() + b"\\n")
            case "stay":
                self.may_leave = False
                self.answer("stays")
            case "leave":
                self.may_leave = True
                self.answer("leaves")
            case "address":
                self.answer(repr(self.client_address))
            case "age":
                self.deadlines.max_age = 3600
                self.answer("old")
            case "deadlines":
                self.answer(f"{{self.deadlines.max_age:g}}")
            case "flood":
                for _ in range(int(rest)):
                    self.send(b"." * 1023 + b"\\n")
            case "frame":
                self.answer(repr(self.read_frame()))
            case "work":
                time.sleep(float(rest))
                self.answer("done")
            case "rooms":
                members = self.server.members("all")
                self.answer(",".join(sorted(each.name for each in members)))
            case _:
                self.answer(verb)
'''


class Room(Shop):
    """A server whose handlers can be left."""

    def write(self, word: str, first: str | None = "True") -> None:
        """Have a version of the module on disk; `first` is whether its handlers can be left."""
        new = self.folder / "shop.new"
        new.write_text(ROOM.format(word=word, resumable=first or True))
        new.replace(self.module)

    def enter(self, name: str, family: int = socket.AF_INET) -> "Member":
        """Connect, under a name."""
        member = Member(self.address, family)
        member.say(name)
        assert member.heard()[2:] == ["hello", name]
        return member

    def renew(self, word: str = "two") -> None:
        """Have new code serve, and the old workers end."""
        self.write(word)
        self.reload()
        self.until_one_generation()

    def until_one_generation(self) -> None:
        """Wait until workers of one generation are left."""
        wait_until(lambda: len({each["generation"] for each in self.workers()}) == 1)

    def open(self) -> int:
        """Return how many connections the books have open; they balance."""
        status = self.do("status")
        books = status["books"]
        assert books["accepted"] == books["open"] + books["closed"]
        assert all("worker_died" not in server["closed"] for server in status["servers"])
        count: int = books["open"]
        return count


class Member(Caller):
    """A client of a room."""

    def begin_tls(self, authority: Authority) -> None:
        """Speak TLS from now on."""
        context = authority.client_context()
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self._lines = self.socket.makefile("rb")

    def say(self, line: str) -> None:
        self.socket.sendall(f"{line}\n".encode())

    def line(self) -> str:
        return self._lines.readline().decode().removesuffix("\n")

    def heard(self) -> list[str]:
        """Return what is heard next: process, word of the code, answer, name."""
        return self.line().split(" ", 3)

    def asked(self, line: str) -> list[str]:
        """Say a line, and return what is heard next, but for the process."""
        self.say(line)
        return self.heard()[1:]

    def place(self) -> str:
        """Return the process that answers."""
        self.say("hi")
        return self.heard()[0]


@contextmanager
def room(folder: Path, *flags: str, workers: int = 2) -> Iterator[Room]:
    served = Room(folder, *flags, workers=workers)
    with served.program:
        line = served.program.line().removeprefix("listening on ")
        served.address = (
            line.removeprefix("unix://") if line.startswith("unix") else _internet(line)
        )
        yield served


def _internet(line: str) -> Any:
    host, _, port = line.rpartition("://")[2].rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("engine", ENGINES)
def test_after_a_reload_new_code_goes_on_where_the_old_one_was(engine: str, tmp_path: Path) -> None:
    with room(tmp_path, "--engine", engine) as served, ExitStack() as stack:
        members = [stack.enter_context(served.enter(f"m{number}")) for number in range(6)]
        old = {each.place() for each in members}
        # The half of a line has come: it was read, and belongs to no frame.
        members[0].socket.sendall(b"ha")
        served.renew()
        members[0].socket.sendall(b"lf\n")
        assert members[0].heard()[1:] == ["two", "half", "m0"]
        assert [each.asked("hi") for each in members] == [
            ["two", "hi", f"m{number}"] for number in range(6)
        ]
        assert old.isdisjoint({each.place() for each in members})
        # It is a member of the room still, under its name.
        assert members[5].asked("rooms") == ["two", "m0,m1,m2,m3,m4,m5", "m5"]
        members[3].say("tell all of you")
        assert [each.line() for each in members] == ["all of you"] * 6
        assert served.open() == 6


@pytest.mark.parametrize("engine", ENGINES)
def test_none_is_kept_by_an_old_generation_though_connections_may_stay(
    engine: str, tmp_path: Path
) -> None:
    flags = ("--engine", engine, "--reload-drain", "stay")
    with room(tmp_path, *flags) as served, served.enter("m") as member:
        served.renew()
        assert member.asked("hi") == ["two", "hi", "m"]
        served.renew("three")
        assert member.asked("hi") == ["three", "hi", "m"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_at_work_is_left_once_it_waits_for_a_frame(engine: str, tmp_path: Path) -> None:
    with room(tmp_path, "--engine", engine) as served, served.enter("m") as member:
        member.say("work 0.5")
        served.write("two")
        served.reload()
        member.say("hi")
        answers = [member.heard()[1:] for _ in range(2)]
        # What it had read before is answered where that was read.
        assert answers[0] == ["one", "done", "m"]
        assert answers[1][1:] == ["hi", "m"]
        served.until_one_generation()
        assert member.asked("hi") == ["two", "hi", "m"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_frame_of_which_a_part_has_come_is_read_to_its_end_elsewhere(
    engine: str, tmp_path: Path
) -> None:
    # A drain would end a client that is silent for as long as a reload may take.
    flags = ("--engine", engine, "--reload-drain", "stay")
    with room(tmp_path, *flags) as served, served.enter("m") as member:
        # Its length says 200,000 bytes, more than fits into one message between processes.
        member.socket.sendall(b"stay\nframe\n" + struct.pack("!I", 5) + b"he")
        assert member.heard()[1:] == ["one", "stays", "m"]
        served.write("two")
        served.reload()
        # The handler cannot be left, for it would lose its place.
        member.socket.sendall(b"llo")
        assert member.heard()[1:] == ["one", "b'hello'", "m"]


@pytest.mark.parametrize("engine", ENGINES)
def test_much_that_was_not_read_goes_along(engine: str, tmp_path: Path) -> None:
    line = b"x" * 7000
    with room(tmp_path, "--engine", engine) as served, served.enter("m") as member:
        member.socket.sendall(line)
        served.renew()
        member.socket.sendall(b"y\n")
        assert member.heard()[1:3] == ["two", (line + b"y").decode()]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_waits_for_a_client_that_reads_late_goes_along(engine: str, tmp_path: Path) -> None:
    flags = ("--engine", engine, "--outbox", str(2**24))
    with room(tmp_path, *flags) as served, served.enter("m") as member:
        kilobytes = 12_000
        member.say(f"flood {kilobytes}")
        assert member.line() == "." * 1023  # the handler is at it
        served.write("two")
        served.reload()
        member.say("hi")
        for _ in range(kilobytes - 1):
            assert member.line() == "." * 1023
        assert member.heard()[2:] == ["hi", "m"]
        served.until_one_generation()
        assert member.asked("hi") == ["two", "hi", "m"]


@pytest.mark.parametrize("engine", ENGINES)
def test_one_that_cannot_be_left_stays_and_is_drained(engine: str, tmp_path: Path) -> None:
    with room(tmp_path, "--engine", engine) as served, served.enter("m") as member:
        assert member.asked("stay") == ["one", "stays", "m"]
        served.renew()
        assert member.end() == b""
        wait_until(lambda: not served.open())


@pytest.mark.parametrize("engine", ENGINES)
def test_one_that_can_be_left_again_goes_at_its_next_frame(engine: str, tmp_path: Path) -> None:
    flags = ("--engine", engine, "--reload-drain", "stay")
    with room(tmp_path, *flags) as served, served.enter("m") as member:
        member.asked("stay")
        served.write("two")
        served.reload()
        assert member.asked("hi") == ["one", "hi", "m"]
        assert member.asked("leave") == ["one", "leaves", "m"]
        # It may not have been asked to leave by then.
        wait_until(lambda: member.asked("hi") == ["two", "hi", "m"])
        served.until_one_generation()


@pytest.mark.parametrize("engine", ENGINES)
def test_one_whose_pause_fails_is_reported_and_stays(engine: str, tmp_path: Path) -> None:
    flags = ("--engine", engine, "--reload-drain", "stay")
    with room(tmp_path, *flags) as served, served.enter("broken") as member:
        served.write("two")
        served.reload()
        while "a fault of the program's" not in served.hear_one().get("traceback", ""):
            pass
        assert member.asked("hi") == ["one", "hi", "broken"]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_written_after_it_has_gone_reaches_nobody(engine: str, tmp_path: Path) -> None:
    with room(tmp_path, "--engine", engine) as served, served.enter("writes at its end") as member:
        served.renew()
        assert member.asked("hi") == ["two", "hi", "writes at its end"]
        served.program.send(signal.SIGTERM)
        assert served.program.wait() == 0
        # It is no fault of the program's, and none is reported.
        assert "traceback" not in served.program.errors()


@pytest.mark.parametrize("engine", ENGINES)
def test_address_age_and_deadlines_are_those_of_before(engine: str, tmp_path: Path) -> None:
    flags = ("--engine", engine, "--proxy-protocol")
    with room(tmp_path, *flags) as served, Member(served.address) as member:
        member.socket.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nm\n")
        assert member.heard()[2:] == ["hello", "m"]
        member.asked("age")
        [before] = served.do("connections.list")["items"]
        time.sleep(0.2)  # so that an age that begins anew is less than it was
        served.renew()
        assert member.asked("address") == ["two", "('192.0.2.7',", "4711) m"]
        assert member.asked("deadlines") == ["two", "3600", "m"]
        [after] = served.do("connections.list")["items"]
        assert after["id"] == before["id"]
        assert after["age"] > before["age"] + 0.2
        assert after["peer"] == before["peer"] == "192.0.2.7:4711"


@pytest.mark.parametrize("engine", ENGINES)
def test_limits_count_it_once(engine: str, tmp_path: Path) -> None:
    flags = ("--engine", engine, "--max-connections", "2", "--max-connections-per-ip", "2")
    with room(tmp_path, *flags, "--when-full", "refuse") as served, served.enter("m") as member:
        for word in ("two", "three", "four"):
            served.renew(word)
        assert member.asked("hi") == ["four", "hi", "m"]
        with served.enter("other"), Member(served.address) as third:
            assert third.end() == b""
            assert served.open() == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_one_worker_after_the_other_is_replaced_and_their_clients_notice_nothing(
    engine: str, tmp_path: Path
) -> None:
    with room(tmp_path, "--engine", engine) as served, ExitStack() as stack:
        members = [stack.enter_context(served.enter(f"m{number}")) for number in range(6)]
        old = {each["pid"] for each in served.workers()}
        served.do("workers.restart")
        wait_until(lambda: old.isdisjoint({each["pid"] for each in served.workers()}))
        assert [each.asked("hi")[2] for each in members] == [f"m{number}" for number in range(6)]
        served.do("workers.scale", count=1)
        wait_until(lambda: len(served.workers()) == 1)
        assert len({each.place() for each in members}) == 1
        assert served.open() == 6


def test_an_upgrade_takes_them_over(tmp_path: Path) -> None:
    with room(tmp_path) as served, served.enter("m") as member:
        before = member.place()
        served.program.send(signal.SIGUSR2)
        assert served.program.line().startswith("listening on")
        wait_until(lambda: member.place() != before)
        served.until_one_generation()
        assert member.asked("hi") == ["one", "hi", "m"]


def test_clients_of_unix_sockets_are_handed_over(tmp_path: Path) -> None:
    flags = ("--bind", f"unix://{tmp_path}/socket")
    with room(tmp_path, *flags) as served:
        served.address = str(tmp_path / "socket")  # type: ignore[assignment]
        with served.enter("m", socket.AF_UNIX) as member:
            served.renew()
            assert member.asked("hi") == ["two", "hi", "m"]


@pytest.mark.parametrize("engine", ENGINES)
def test_many_are_handed_over_and_the_workers_have_as_many_each(
    engine: str, tmp_path: Path
) -> None:
    with room(tmp_path, "--engine", engine) as served, ExitStack() as stack:
        members = [stack.enter_context(served.enter(f"m{number}")) for number in range(400)]
        for each in members:
            each.say("hi")
        served.renew()
        for number, each in enumerate(members):
            assert each.heard()[2:] == ["hi", f"m{number}"]
            assert each.asked("hi") == ["two", "hi", f"m{number}"]
        counts = [each["open"] for each in served.workers()]
        assert sum(counts) == 400
        assert max(counts) <= 1.1 * 200
        assert served.open() == 400


@pytest.mark.parametrize("manner", ["drain", "stay"])
def test_a_supervisor_short_of_descriptors_has_what_is_handed_over_wait(
    manner: str, tmp_path: Path
) -> None:
    with (
        room(tmp_path, "--reload-drain", manner, workers=1) as served,
        ExitStack() as stack,
    ):
        members = [stack.enter_context(served.enter(f"m{number}")) for number in range(100)]
        used = len(os.listdir(f"/proc/{served.program.pid}/fd"))  # noqa: PTH208 - as many as there are
        # For the new worker there are enough, and for all that come back at once not.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(served.program.pid, resource.RLIMIT_NOFILE, (used + 20, hard))
        served.write("two")
        served.reload()
        for each in served.workers():  # the new one has inherited the limit
            with suppress(ProcessLookupError):
                resource.prlimit(each["pid"], resource.RLIMIT_NOFILE, (soft, hard))
        served.until_one_generation()
        for number, member in enumerate(members):
            assert member.asked("hi") == ["two", "hi", f"m{number}"]
        assert served.open() == 100


@pytest.mark.parametrize("engine", ENGINES)
def test_new_code_that_resumes_nothing_gets_none(engine: str, tmp_path: Path) -> None:
    flags = ("--engine", engine, "--reload-drain", "stay")
    with room(tmp_path, *flags) as served, served.enter("m") as member:
        served.write("two", "False")
        served.reload()
        assert member.asked("hi") == ["one", "hi", "m"]


@pytest.mark.parametrize("engine", ENGINES)
def test_one_that_was_asked_and_stayed_is_not_handed_to_code_that_resumes_nothing(
    engine: str, tmp_path: Path
) -> None:
    flags = ("--engine", engine, "--reload-drain", "stay", "--max-generations", "5")
    with room(tmp_path, *flags) as served, served.enter("m") as member:
        assert member.asked("stay") == ["one", "stays", "m"]
        served.write("two")
        served.reload()
        assert member.asked("hi") == ["one", "hi", "m"]
        # It has come after that, and waits for its next frame where it may be left.
        with served.enter("n") as other:
            assert other.asked("hi") == ["two", "hi", "n"]
            served.write("three", "False")
            served.reload()
            assert member.asked("leave") == ["one", "leaves", "m"]
            for _ in range(3):
                assert member.asked("hi") == ["one", "hi", "m"]
                assert other.asked("hi") == ["two", "hi", "n"]
            # And once there is code again that can go on with them, it does.
            served.renew("four")
            assert member.asked("hi") == ["four", "hi", "m"]
            assert other.asked("hi") == ["four", "hi", "n"]
            assert served.open() == 2


def test_handlers_in_processes_of_their_own_stay(tmp_path: Path) -> None:
    flags = ("--engine", "processes", "--reload-drain", "stay")
    with room(tmp_path, *flags) as served, served.enter("m") as member:
        served.write("two")
        served.reload()
        assert member.asked("hi") == ["one", "hi", "m"]


@pytest.mark.parametrize("engine", ENGINES)
def test_connections_in_tls_stay(engine: str, authority: Authority, tmp_path: Path) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    flags = ("--bind", "tls://127.0.0.1:0", "--certfile", certfile, "--keyfile", keyfile)
    with room(tmp_path, *flags, "--engine", engine, "--reload-drain", "stay") as served:
        served.address = _internet(served.program.line())
        with Member(served.address) as member:
            member.begin_tls(authority)
            member.say("m")
            assert member.heard()[2:] == ["hello", "m"]
            served.write("two")
            served.reload()
            assert member.asked("hi") == ["one", "hi", "m"]


def test_one_on_its_way_whose_new_worker_dies_goes_on_in_the_next(tmp_path: Path) -> None:
    with room(tmp_path, workers=1) as served, served.enter("m") as member:
        served.write("two")
        # The new worker is stopped as soon as it serves: what it is dealt it does not take.
        old = served.workers()[0]["pid"]
        served.reload()
        [new] = [each["pid"] for each in served.workers() if each["pid"] != old]
        os.kill(new, signal.SIGSTOP)
        os.kill(new, signal.SIGKILL)
        wait_until(lambda: new not in {each["pid"] for each in served.workers()})
        # Begun or not: cut off, or goes on, and the books tell which.
        try:
            said = member.asked("hi")
        except OSError:
            said = []
        books = served.do("status")["books"]
        assert books["accepted"] == books["open"] + books["closed"]
        assert bool(books["open"]) == bool(said and said[0])
