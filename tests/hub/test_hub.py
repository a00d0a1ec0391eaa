"""The hub's process, and what it does with what workers say, also where it is what none of ours says."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyhands.dealing.frames import Frame, FrameReader, pack, take_texts, texts
from manyhands.hub.command import hub_command
from manyhands.hub.frames import KINDS, LONGEST, Flags, Kind
from manyhands.testing import wait_until
from tests.hub.kit import ROOT, Hub, several_workers
from tests.support.waiting import PATIENCE

TOPIC = texts("Rred")

only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


class Raw:
    """A worker that says what the test has it say."""

    def __init__(self, hub: Hub) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(hub.address)
        self.frames = FrameReader(KINDS)
        self.come: list[Frame] = []
        welcome = self.welcomed()
        self.number = welcome.number
        self.bit = int(take_texts(welcome.body, 1)[0][0])

    def welcomed(self) -> Frame:
        data, (page,), _, _ = socket.recv_fds(self.socket, 1000, 1)
        os.close(page)
        (welcome,) = self.frames.feed(data)
        return welcome

    def say(self, kind: Kind, number: int, body: bytes = b"", request: int = 0) -> None:
        self.socket.sendall(pack(kind, number, body, request))

    def hear(self) -> Frame | None:
        """Return the next frame; None at the end."""
        while not self.come:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.come += self.frames.feed(data)
        return self.come.pop(0)

    def follow(self, *, is_followed: bool = True) -> None:
        self.say(Kind.FOLLOW, is_followed, TOPIC, request=1)
        assert self.hear() == Frame(Kind.ANSWER, 1, 1, b"")


@pytest.fixture
def hub() -> Iterator[Hub]:
    # It waits for much longer than the tests do.
    made = Hub(10 * PATIENCE)
    made.start()
    try:
        yield made
    finally:
        made.close()


def test_a_message_goes_to_the_workers_that_follow_its_topic_alone(hub: Hub) -> None:
    telling, following, others = Raw(hub), Raw(hub), Raw(hub)
    telling.follow()
    following.follow()
    telling.say(Kind.TO_TOPIC, Flags.COUNTS, TOPIC + b"hello", request=7)
    told = following.hear()
    assert told is not None
    assert told[2:] == (telling.number, TOPIC + b"hello")
    following.say(Kind.ANSWER, 3, b"body", request=told.request)
    part = struct.pack("!QI", following.number, 4) + b"body"
    assert telling.hear() == Frame(Kind.ANSWER, 7, 3, part)
    following.follow(is_followed=False)
    telling.say(Kind.TO_TOPIC, Flags.COUNTS, TOPIC + b"again", request=8)
    assert telling.hear() == Frame(Kind.ANSWER, 8, 0, b"")
    telling.say(Kind.TO_ALL, Flags.COUNTS, texts("C") + b"all")
    for worker in (following, others):
        assert worker.hear() == Frame(Kind.TOLD, 0, telling.number, texts("C") + b"all")


def test_a_message_for_one_worker_goes_to_that_one_or_is_answered_at_once(hub: Hub) -> None:
    telling, meant = Raw(hub), Raw(hub)
    telling.say(Kind.TO_ONE, meant.number, TOPIC + b"psst")
    assert meant.hear() == Frame(Kind.TOLD, 0, telling.number, TOPIC + b"psst")
    telling.say(Kind.TO_ONE, 99, TOPIC + b"psst", request=1)
    assert telling.hear() == Frame(Kind.ANSWER, 1, 0, b"")


def test_one_that_was_asked_and_goes_is_not_waited_for(hub: Hub) -> None:
    telling, first, second = Raw(hub), Raw(hub), Raw(hub)
    telling.say(Kind.TO_ALL, Flags.NONE, TOPIC, request=1)
    asked = first.hear()
    assert asked is not None
    first.say(Kind.ANSWER, 2, request=asked.request)
    assert second.hear() == asked
    second.socket.close()
    assert telling.hear() == Frame(Kind.ANSWER, 1, 2, b"")


def test_what_a_worker_has_dropped_is_told_to_those_that_follow(hub: Hub) -> None:
    telling, following, others = Raw(hub), Raw(hub), Raw(hub)
    following.follow()
    for count in (2, 5):
        telling.say(Kind.MISSED, count, TOPIC + texts("1.0"))
        missed = following.hear()
        assert missed is not None
        assert missed[:3] == (Kind.MISSED, 0, count)
        assert missed.body == TOPIC + texts("1.0")
    telling.say(Kind.MISSED, 1, texts("C", "1.0"))
    for worker in (following, others):
        missed = worker.hear()
        assert missed is not None
        assert missed.body.startswith(texts("C"))


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\nanything",
        pack(Kind.WELCOME, 1),
        pack(Kind.FOLLOW, 1, b"\xff\xff"),
        pack(Kind.TO_ALL, 0, b"")[:-4] + struct.pack("!I", LONGEST + 1),
    ],
)
def test_one_that_says_what_no_worker_does_is_hung_up_on_and_the_others_go_on(
    hub: Hub, said: bytes
) -> None:
    strange, *others = Raw(hub), Raw(hub), Raw(hub)
    strange.socket.sendall(said)
    assert strange.hear() is None
    others[0].say(Kind.TO_ALL, Flags.NONE, TOPIC)
    assert others[1].hear() is not None


def test_workers_beyond_the_bits_of_the_page_share_one(hub: Hub) -> None:
    several = [Raw(hub) for _ in range(66)]
    assert [worker.bit for worker in several] == [*range(64), 63, 63]
    several[5].socket.close()
    several[0].say(Kind.TO_ALL, Flags.NONE, TOPIC)
    assert several[1].hear() is not None
    wait_until(lambda: Raw(hub).bit == 5)


@only_as_root
def test_processes_of_other_users_are_hung_up_on(hub: Hub) -> None:
    program = (
        "import os, socket, sys; os.setuid(int(sys.argv[2])); c = socket.socket(socket.AF_UNIX); "
        "c.connect(bytes.fromhex(sys.argv[1])); sys.exit(len(c.recv(100)))"
    )
    command = [sys.executable, "-S", "-c", program, hub.address.hex()]
    assert subprocess.run([*command, "65534"], check=False).returncode == 0
    assert subprocess.run([*command, "0"], check=False).returncode > 0


@only_as_root
def test_a_worker_does_not_go_by_a_hub_of_another_user() -> None:
    program = (
        "import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.bind(''); s.listen(); "
        "print(s.getsockname().hex(), flush=True); c, _ = s.accept(); print(len(c.recv(100)))"
    )
    command = [sys.executable, "-S", "-c", program]
    with (
        several_workers(1, "threads") as under_test,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as strange,
    ):
        assert strange.stdout is not None
        address = strange.stdout.readline().strip()
        under_test.workers[0].ask("reach", address)
        # It hangs up, and has said nothing.
        assert strange.stdout.readline() == "0\n"
        assert not under_test.workers[0].ask("is_connected")


@pytest.mark.parametrize("number", ["SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_signals_that_are_meant_for_the_supervisor_change_nothing(hub: Hub, number: str) -> None:
    telling, other = Raw(hub), Raw(hub)
    os.kill(hub.pid, getattr(signal, number))
    telling.say(Kind.TO_ALL, Flags.NONE, TOPIC)
    assert other.hear() is not None


def test_sigterm_ends_it_once_the_last_worker_has_left(hub: Hub) -> None:
    telling, other = Raw(hub), Raw(hub)
    os.kill(hub.pid, signal.SIGTERM)
    telling.say(Kind.TO_ALL, Flags.NONE, TOPIC)
    assert other.hear() is not None
    telling.socket.close()
    other.socket.close()
    assert hub.process is not None
    assert hub.process.wait(PATIENCE) == 0


def test_it_ends_when_whoever_has_started_it_is_gone() -> None:
    program = (
        "import subprocess, sys; from manyhands.hub.command import *; s = hub_listener(); "
        "a, e, p = hub_command(s); print(subprocess.Popen(a, env=e, pass_fds=p).pid, flush=True); "
        "print(s.getsockname().hex(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        descriptor = os.pidfd_open(pid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as worker:
            worker.connect(bytes.fromhex(supervisor.stdout.readline()))
            assert worker.recv(100)
            supervisor.kill()
            supervisor.wait(PATIENCE)
            # A worker that drains has it for as long as it needs it.
            wait_until(lambda: parent_of(pid) != supervisor.pid)
            assert not has_ended(descriptor)
    wait_until(lambda: has_ended(descriptor))
    os.close(descriptor)


def parent_of(pid: int) -> int:
    """Return the parent of a process (proc_pid_stat(5))."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def has_ended(descriptor: int) -> bool:
    """Tell whether a process has ended, by its pidfd."""
    return bool(select.select([descriptor], [], [], 0)[0])


def test_it_is_started_with_nothing_but_this_library() -> None:
    with Hub().listener as listener:
        argv, env, pass_fds = hub_command(listener)
    assert argv[-2:] == [str(pass_fds[0]), str(os.getpid())]
    loaded = "import sys, manyhands.hub.process; print(*sys.modules)"
    where = argv.index("-m")
    said = subprocess.run(
        [*argv[:where], "-c", loaded], env=env, cwd="/", capture_output=True, text=True, check=True
    )
    assert {"site", "ssl", "threading", "json", "manyhands.serving"} & {*said.stdout.split()} <= {
        "threading"
    }
