"""The end of a desk, or of its client, whose output takes nothing any more."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.desk.kit import MANYHANDS, PATIENCE, Caller, environment, running

WRITES = """
import sys, threading
from manyhands.desk.stuck_output import OutputGuard

def write():
    print("x" * 1_000_000, flush=True)

with OutputGuard() as guard:
    guard.begin(float(sys.argv[2]))
    if sys.argv[1] == "another":
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    else:
        write()
    print("the end", flush=True)
"""


def took_no_more(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether a process has ended well, and has said what became of its output."""
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode == 0 and said == (
        b"manyhands: the output is not read any more, and the rest of it is dropped\n"
    )


@pytest.mark.parametrize("thread", ["main", "another"])
def test_a_pipe_that_is_not_read_is_given_up(thread: str) -> None:
    read_end, write_end = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, thread, "0.1"], stdout=write_end, stderr=subprocess.PIPE
    ) as process:
        os.close(write_end)
        assert took_no_more(process)
    os.close(read_end)


@pytest.mark.parametrize("is_stopped", [False, True], ids=["unread", "stopped"])
def test_a_terminal_that_takes_nothing_is_given_up(is_stopped: bool) -> None:
    keyboard, terminal = pty.openpty()
    if is_stopped:
        termios.tcflow(terminal, termios.TCOOFF)  # as Ctrl-S does
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, "main", "0.1"], stdout=terminal, stderr=subprocess.PIPE
    ) as process:
        os.close(terminal)
        assert took_no_more(process)
    os.close(keyboard)


def test_an_output_that_is_read_gets_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITES, "another", "20"],
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    assert (len(done.stdout), done.stderr) == (1_000_000 + len("\nthe end\n"), b"")


def test_an_output_that_does_not_wait_gets_all_and_is_left_as_it_was() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, "main", "20"], stdout=write_end
    ) as process:
        data = bytearray()
        while not data.endswith(b"the end\n"):
            data += os.read(read_end, 65536)
        assert len(data) == 1_000_000 + len("\nthe end\n")
        assert process.wait(PATIENCE) == 0
    assert not os.get_blocking(write_end)
    os.close(write_end)
    os.close(read_end)


@pytest.mark.parametrize("end", ["a signal", "the end of the input"])
def test_a_desk_ends_though_its_output_is_not_read(tmp_path: Path, end: str) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    with running(command, tmp_path) as process:
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
        with Caller(("127.0.0.1", port)) as caller:
            caller.says(("x" * 900 + "\n") * 500)
            wait_until_full(process.stdout.fileno())
            if end == "a signal":
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE) == 0
        if end == "the end of the input":
            process.stdin.close()
            assert process.wait(PATIENCE) == 0


def wait_until_full(descriptor: int) -> None:
    """Wait until a pipe that is not read has held as much for a while."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < 0.3:
        (there,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))
        if there != before:
            before, since = there, time.monotonic()
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_desk_ends_though_its_terminal_is_stopped(tmp_path: Path, number: int) -> None:
    keyboard, terminal = pty.openpty()
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    with subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        start_new_session=True,
    ) as process:
        shown = b""
        while b"nobody on the line" not in shown:
            shown += os.read(keyboard, 4096)
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", shown)[1])
        termios.tcflow(terminal, termios.TCOOFF)
        with Caller(("127.0.0.1", port)) as caller:
            caller.says(("x" * 900 + "\n") * 500)
            # What was under way when the terminal stopped.
            while select.select([keyboard], [], [], 0.3)[0]:
                os.read(keyboard, 65536)
            process.send_signal(number)
            assert process.wait(PATIENCE) == 0
        process.stderr.close()
    os.close(terminal)
    os.close(keyboard)


def test_a_client_ends_though_its_output_is_not_read(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as desk:
        port = desk.getsockname()[1]
        with running([*MANYHANDS, "connect", f"127.0.0.1:{port}"], tmp_path) as client:
            connection, _ = desk.accept()
            with connection:
                connection.sendall(b"a line\n" * 20_000)
                wait_until_full(client.stdout.fileno())
                client.send_signal(signal.SIGTERM)
                assert client.wait(PATIENCE) == 0
