"""`manyhands connect`: with a pipe and at a terminal, against real desks and against misbehaving ones."""

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk.kit import MANYHANDS, PATIENCE, Desk, Person, environment, running

EXAMPLE = Path(__file__).parents[2] / "examples" / "desk_client.py"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as desk:
        yield desk


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A desk that the test plays itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def connect(address: str, *arguments: str) -> list[str]:
    return [*MANYHANDS, "connect", *arguments, address]


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def done(home: Path, command: list[str], typed: str = "") -> tuple[int, str, str]:
    process = subprocess.run(
        command,
        input=typed.encode(),
        capture_output=True,
        env=environment(home),
        timeout=PATIENCE,
        check=False,
    )
    return process.returncode, process.stdout.decode(), process.stderr.decode()


def test_a_pipe_sends_its_lines_and_prints_the_answer(desk: Desk, tmp_path: Path) -> None:
    command = connect(f"127.0.0.1:{desk.port}", "--wait", "30")
    with running(command, tmp_path) as client:
        client.stdin.write("hello 你好\n".encode())
        client.stdin.close()
        desk.shows(r"\] hello 你好$")
        desk.enters("hello yourself")
        assert client.stdout.readline() == b"hello yourself\n"


def test_a_pipe_that_has_ended_says_goodbye_after_a_silence(desk: Desk, tmp_path: Path) -> None:
    command = connect(f"127.0.0.1:{desk.port}", "--wait", "0.1", "--name", "Anna")
    assert done(tmp_path, command, "hello\nand unfinished") == (0, "", "")
    desk.shows(r"^\[1 Anna\] hello$")
    desk.shows(r"^\[1 Anna\] and unfinished$")
    desk.shows("^-- 1 Anna has left: said byebye$")


def test_byebye_ends_with_status_zero_and_the_desks_answer(desk: Desk, tmp_path: Path) -> None:
    command = connect(f"tcp://127.0.0.1:{desk.port}", "--wait", "30")
    assert done(tmp_path, command, "hello\nbyebye\nnot sent\n") == (0, "byebye\n", "")
    desk.shows("has left: said byebye$")
    assert not any("not sent" in line for line in desk.output)


def test_a_long_input_arrives_whole_and_in_order(tmp_path: Path) -> None:
    lines = [f"{number} {'你好' * 100}" for number in range(3000)]
    with Desk(tmp_path, "--line-burst", "4000") as desk:
        command = connect(f"127.0.0.1:{desk.port}", "--wait", "0")
        assert done(tmp_path, command, "".join(f"{line}\n" for line in lines))[0] == 0
        desk.shows("has left")
    said = [line.partition("] ")[2] for line in desk.output if line.startswith("[1 ")]
    assert said == [*lines, "byebye"]


def test_a_desk_that_closes_is_one_sentence_and_status_one(desk: Desk, tmp_path: Path) -> None:
    with running(connect(f"127.0.0.1:{desk.port}"), tmp_path) as client:
        desk.shows("has called in")
        desk.enters("/quit")
        output, errors = client.communicate(timeout=PATIENCE)
    assert output == b"desk: the desk is closing\n"
    sentence = f"manyhands: the desk at tcp://127.0.0.1:{desk.port} has ended the call\n"
    assert (client.returncode, errors.decode()) == (1, sentence)


def test_a_desk_that_is_not_there_is_one_sentence_and_status_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = address_of(listener)
    status, output, errors = done(tmp_path, connect(address))
    sentence = (
        f"manyhands: cannot call tcp://{address}: connection refused (is a desk open there?)\n"
    )
    assert (status, output, errors) == (1, "", sentence)


def test_a_host_that_does_not_exist_is_one_sentence_and_status_one(tmp_path: Path) -> None:
    status, output, errors = done(tmp_path, connect("nowhere.invalid:8008"))
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("manyhands: cannot call tcp://nowhere.invalid:8008: ")


def test_a_unix_path_without_a_desk_is_one_sentence_and_status_one(tmp_path: Path) -> None:
    status, _, errors = done(tmp_path, connect(f"unix://{tmp_path}/desk.sock"))
    assert (status, errors.count("\n")) == (1, 1)
    assert "there is no such socket" in errors


def test_a_lost_connection_is_one_sentence_and_status_one(
    listener: socket.socket, tmp_path: Path
) -> None:
    with running(connect(address_of(listener), "--name", "Anna"), tmp_path) as client:
        connection = listener.accept()[0]
        assert connection.recv(100) == b"/name Anna\n"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        output, errors = client.communicate(timeout=PATIENCE)
    assert (client.returncode, output) == (1, b"")
    assert errors.decode().startswith(
        f"manyhands: the desk at tcp://{address_of(listener)} was lost"
    )
    assert errors.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["udp://127.0.0.1:8008"], "a desk is called on a tcp:// or unix:// address"),
        (["nonsense"], "'nonsense' is not an address"),
        ([":8008", "--name", "\x1b[31m"], "a name has 1 to 32 printable characters"),
        ([":8008", "--wait", "long"], "--wait must be a number of seconds"),
        ([":8008", "--wait", "-1"], "--wait must be a number of seconds"),
        ([], "ADDRESS"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_two(
    tmp_path: Path, arguments: list[str], why: str
) -> None:
    status, output, errors = done(tmp_path, [*MANYHANDS, "connect", *arguments])
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert why in errors


def test_what_the_desk_says_is_shown_escaped(listener: socket.socket, tmp_path: Path) -> None:
    with running(connect(address_of(listener)), tmp_path) as client:
        connection = listener.accept()[0]
        with connection:
            connection.sendall("\x1b]0;title\x07 \x9b2J \u202e 你好\n".encode())
            assert client.stdout.readline().decode() == "\\x1b]0;title\\x07 \\x9b2J \\u202e 你好\n"


def test_a_line_that_is_unfinished_is_shown_after_a_while(
    listener: socket.socket, tmp_path: Path
) -> None:
    with running(connect(address_of(listener)), tmp_path) as client:
        connection = listener.accept()[0]
        with connection:
            connection.sendall(b"login: ")
            assert client.stdout.readline() == b"login: \n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_goodbye(desk: Desk, tmp_path: Path, number: int) -> None:
    with running(connect(f"127.0.0.1:{desk.port}"), tmp_path) as client:
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        desk.shows("hello$")
        client.send_signal(number)
        assert client.wait(PATIENCE) == 0
        assert client.stderr.read() == b""
    desk.shows("has left: said byebye$")


def test_a_call_over_a_unix_path(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/desk.sock"
    with Desk(tmp_path, "--bind", address) as desk:
        assert done(tmp_path, connect(address), "hello\nbyebye\n") == (0, "byebye\n", "")
        desk.shows("hello$")


def test_at_a_terminal_the_desks_lines_appear_while_a_line_is_being_typed(
    desk: Desk, tmp_path: Path
) -> None:
    with Person(connect(f"127.0.0.1:{desk.port}"), tmp_path) as anna:
        anna.sees(">")
        anna.enters("hello 你好")
        desk.shows(r"\] hello 你好$")
        anna.types("I am just typ")
        anna.sees("> I am just typ")
        desk.enters("hello", "\x1b[31mred", "world 😀")
        anna.sees("world 😀")
        assert anna.text().splitlines()[-5:] == [
            "> hello 你好",
            "hello",
            "\\x1b[31mred",
            "world 😀",
            "> I am just typ",
        ]
        anna.enters("ing")
        desk.shows(r"\] I am just typing$")
        anna.enters("byebye")
        assert anna.leaves() == 0
        assert anna.text().splitlines()[-2:] == ["> byebye", "byebye"]


def test_at_a_terminal_a_desk_that_closes_is_one_sentence_and_status_one(
    desk: Desk, tmp_path: Path
) -> None:
    with Person(connect(f"127.0.0.1:{desk.port}"), tmp_path) as anna:
        desk.shows("has called in")
        anna.types("unfinished")
        anna.sees("> unfinished")
        desk.enters("/quit")
        assert anna.leaves() == 1
        assert "desk: the desk is closing" in anna.text()
        assert anna.text().endswith("has ended the call")


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["ctrl-c", "ctrl-d"])
def test_at_a_terminal_ctrl_c_and_ctrl_d_say_goodbye(desk: Desk, tmp_path: Path, key: str) -> None:
    with Person(connect(f"127.0.0.1:{desk.port}"), tmp_path) as anna:
        anna.sees(">")
        anna.types(key)
        assert anna.leaves() == 0
        desk.shows("has left: said byebye$")


def test_the_example_in_twenty_lines_talks_with_the_desk(desk: Desk, tmp_path: Path) -> None:
    with running([sys.executable, str(EXAMPLE), "127.0.0.1", str(desk.port)], tmp_path) as client:
        client.stdin.write("hello 你好\n".encode())
        client.stdin.flush()
        desk.shows(r"\] hello 你好$")
        desk.enters("hello \x1byourself")
        assert client.stdout.readline() == b"hello ?yourself\n"
        output, errors = client.communicate(b"byebye\n", timeout=PATIENCE)
    assert (client.returncode, output, errors) == (0, b"byebye\n", b"")
