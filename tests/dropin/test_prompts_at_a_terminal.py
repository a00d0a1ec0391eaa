"""`ask` as an operator sees it: several callers, one terminal."""

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.desk.kit import Person, wait_for
from tests.support import call

PROGRAM = """
import socketserver, sys

class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1024):
            where = sys.stderr if data == b"error" else sys.stdout
            print("somebody", end=" ", file=where)  # a line may come in pieces
            print("says", data.decode(), "and no more", file=where)
            self.request.sendall(input("answer> ").encode())

server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(f"port {server.server_address[1]}", flush=True)
server.serve_forever()
"""


@contextmanager
def operator(
    folder: Path, engine: str, columns: int = 100
) -> Iterator[tuple[Person, tuple[str, int]]]:
    (folder / "seed.py").write_text(PROGRAM)
    words = ["-m", "manyhands", "run", "--engine", engine, str(folder / "seed.py")]
    with Person([sys.executable, *words], folder, columns=columns, rows=10) as person:
        person.sees("port ")
        found = wait_for(lambda: re.search(r"port (\d+)\n?", person.text() + "\n"), person.text)
        yield person, ("127.0.0.1", int(found[1]))


def name(peer: socket.socket) -> str:
    host, port = peer.getsockname()
    return f"{host}:{port}"


def shows(person: Person, *rows: str) -> None:
    """Wait until these are the rows at the end."""
    wait_for(
        lambda: person.text().splitlines()[-len(rows) :] == list(rows),
        lambda: "\n".join(rows) + "\nat the end of\n" + person.text(),
    )


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_what_handlers_print_goes_above_the_question_with_its_caller(
    tmp_path: Path, engine: str
) -> None:
    with (
        operator(tmp_path, engine) as (person, address),
        call(address) as one,
        call(address) as other,
    ):
        one.sendall(b"one")
        shows(person, "somebody says one and no more", f"[#1 {name(one)}] answer>")
        person.types("half an ans")
        other.sendall(b"two")
        above = f"[#2 {name(other)}] somebody says two and no more"
        shows(person, above, f"[#1 {name(one)}] answer> half an ans")
        person.enters("wer")
        assert one.recv(100) == b"half an answer"
        shows(person, f"[#1 {name(one)}] answer> half an answer", f"[#2 {name(other)}] answer>")
        # At the foot of the screen too, and lines that need two rows, in columns of any width.
        for text in ("three", "error", "多" * 60):
            one.sendall(text.encode())
            wait_for(lambda: " and no more" in row_before_last(person), person.text)
            shows(person, f"[#2 {name(other)}] answer>")
            person.enters("fine")
            assert other.recv(100) == b"fine"
            shows(person, f"[#1 {name(one)}] answer>")
            other.sendall(b"again")
            above = f"[#2 {name(other)}] somebody says again and no more"
            shows(person, above, f"[#1 {name(one)}] answer>")
            person.enters("well")
            assert one.recv(100) == b"well"
            shows(person, f"[#2 {name(other)}] answer>")
        assert [person.text().count(f"says {text}") for text in ("three", "error")] == [1, 1]
        assert person.text().count("多") == 60


def row_before_last(person: Person) -> str:
    return "".join(person.text().splitlines()[-2:-1])


@pytest.mark.parametrize("engine", ["threads", "fibers", "processes"])
def test_a_caller_that_hangs_up_is_named(tmp_path: Path, engine: str) -> None:
    with operator(tmp_path, engine) as (person, address), call(address) as other:
        with call(address) as one:
            one.sendall(b"one")
            shows(person, "somebody says one and no more", f"[#2 {name(one)}] answer>")
            was = name(one)
        shows(person, f"[#2 {was}] has hung up", f"[#2 {was}] answer>")
        other.sendall(b"two")
        person.enters("too late")
        person.sees(f"[#1 {name(other)}] answer>")
        person.enters("in time")
        assert other.recv(100) == b"in time"


def test_a_question_is_wider_than_the_terminal(tmp_path: Path) -> None:
    with (
        operator(tmp_path, "threads", columns=40) as (person, address),
        call(address) as one,
        call(address) as other,
    ):
        one.sendall(b"one")
        person.sees("answer>")
        other.sendall(b"x" * 90)
        wait_for(lambda: person.text().count("x") == 90, person.text)
        assert person.text().endswith("answer>")
        person.enters("fine")
        assert one.recv(100) == b"fine"


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_what_a_client_says_draws_over_no_label_and_no_question(
    tmp_path: Path, engine: str
) -> None:
    with (
        operator(tmp_path, engine) as (person, address),
        call(address) as one,
        call(address) as other,
        call(address) as third,
    ):
        one.sendall(b"one")
        asked = f"[#1 {name(one)}] answer>"
        shows(person, "somebody says one and no more", asked)
        other.sendall(b"\x1b[2J\x1b[31mred\x1b[5A")
        above = f"[#2 {name(other)}] somebody says \\x1b[2Jred\\x1b[5A and no more"
        shows(person, above, asked)
        third.sendall(b"pay\r[#1 127.0.0.1:1] pay\r\n")
        above = f"[#3 {name(third)}] [#1 127.0.0.1:1] pay"
        wait_for(lambda: above in person.text().splitlines(), person.text)
        assert person.text().endswith(asked)
