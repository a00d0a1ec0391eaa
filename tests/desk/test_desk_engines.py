"""The engines of a desk, and that no caller holds up another there."""

import re
import select
import socket
from pathlib import Path

import pytest

from tests.desk.kit import ENGINES, MANYHANDS, Caller, Desk, running


def tasks(desk: Desk) -> int:
    """Count the threads of a desk."""
    return len(list(Path(f"/proc/{desk.process.pid}/task").iterdir()))


@pytest.mark.parametrize(
    ("arguments", "engine"),
    [([], "fibers"), (["--engine", "fibers"], "fibers"), (["--engine", "threads"], "threads")],
)
def test_calls_are_served_in_fibers_by_default(
    tmp_path: Path, arguments: list[str], engine: str
) -> None:
    with Desk(tmp_path, *arguments) as desk:
        callers = [desk.call() for _ in range(30)]
        desk.shows("^-- 30 .* has called in$")
        assert (tasks(desk) > 30) is (engine == "threads")
        for caller in callers:
            caller.socket.close()


@pytest.mark.parametrize(
    "arguments",
    [["--engine", "threads"], ["--engine", "fibers"], ["--workers", "1"]],
    ids=["threads", "fibers", "a worker"],
)
def test_an_output_without_a_reader_holds_up_no_other_caller(
    tmp_path: Path, arguments: list[str]
) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    with running([*command, *arguments, "--greeting", "Welcome"], tmp_path) as process:
        invitation = list(iter(process.stdout.readline, b"/help says what you can do\n"))
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", invitation[0])[1])
        address = ("127.0.0.1", port)
        with Caller(address) as talking, Caller(address) as listening:
            assert [talking.hears(), listening.hears()] == ["Welcome", "Welcome"]
            # Until neither the pipe, nor the desk, nor the kernel takes any more.
            fill(talking.socket)
            for _ in range(20):
                with Caller(address) as other:
                    assert other.hears() == "Welcome"
            process.stdin.write(b"/all hello\n")
            process.stdin.flush()
            assert listening.hears() == "hello"
            while process.stdout.readline() != b"[you to all] hello\n":
                pass


@pytest.mark.parametrize("engine", ENGINES)
def test_an_output_without_a_reader_does_not_hold_up_the_refusal_of_callers(
    tmp_path: Path, engine: str
) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    limits = ["--max-connections", "1", "--line-burst", "100000"]
    with running([*command, "--engine", engine, *limits], tmp_path) as process:
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
        with Caller(("127.0.0.1", port)) as talking:
            fill(talking.socket)
            for _ in range(20):
                with Caller(("127.0.0.1", port)) as refused:
                    assert refused.hears().startswith("desk: no more calls are taken just now")


def fill(connection: socket.socket) -> None:
    """Send lines until the peer has taken none for a while."""
    connection.setblocking(False)
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    while poll.poll(500):
        connection.send(b"another line\n" * 100)
