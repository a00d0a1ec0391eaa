"""Each example does what its first lines say, as a program and through the commands."""

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def served(handler: str, scheme: str = "tcp") -> Iterator[tuple[str, int]]:
    command = ["serve", f"{EXAMPLES / handler}", "--bind", f"{scheme}://127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "manyhands", *command], stdout=subprocess.PIPE, text=True
    )
    try:
        said = process.stdout.readline()
        assert said.startswith(f"listening on {scheme}://127.0.0.1:")
        yield "127.0.0.1", int(said.rpartition(":")[2])
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def talk(address: tuple[str, int], *lines: str) -> list[str]:
    with (
        socket.create_connection(address) as client,
        client.makefile("rw", encoding="utf-8") as file,
    ):
        answers = []
        for line in lines:
            file.write(line + "\n")
            file.flush()
            answers.append(file.readline().rstrip("\n"))
        return answers


def test_echo_sends_each_line_back():
    with served("echo.py:Echo") as address:
        assert talk(address, "hello", "two 你好") == ["hello", "two 你好"]


def test_the_key_value_store_is_one_for_all_clients():
    with served("key_value_store.py:KeyValue") as address:
        assert talk(address, "SET name Anna Blume", "GET name") == ["OK", "VALUE Anna Blume"]
        assert talk(address, "GET name", "KEYS", "DEL name", "GET name", "DEL name") == [
            "VALUE Anna Blume",
            "KEYS 1 name",
            "OK",
            "NONE",
            "NONE",
        ]


def test_the_key_value_store_says_what_it_did_not_understand_and_goes_on():
    with served("key_value_store.py:KeyValue") as address:
        [error, empty, bye] = talk(address, "FETCH name", "", "QUIT")
    assert error == empty == "ERROR say SET key value, GET key, DEL key, KEYS or QUIT"
    assert bye == "BYE"


def test_sums_come_in_frames_and_nonsense_is_answered():
    with served("json_frames.py:Sums") as address, socket.create_connection(address) as client:
        file = client.makefile("rb")
        for sent, answer in (
            (b'{"add": [1, 2, 3]}', b'{"sum": 6}'),
            (b'{"sum": []}', b'{"error": "'),
            (b"[", b'{"error": "'),
        ):
            client.sendall(struct.pack("!I", len(sent)) + sent)
            [length] = struct.unpack("!I", file.read(4))
            assert file.read(length).startswith(answer)
        client.sendall(b"\xff\xff\xff\xff")
        assert file.read() == b""
        file.close()


def ask_time(address: tuple[str, int], question: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(question, address)
        return client.recv(100)


def test_the_time_service_answers_as_rfc_868_has_it():
    with served("time_service.py:Time", "udp") as address:
        [seconds] = struct.unpack("!I", ask_time(address, b""))
    # 2,208,988,800 is 1970-01-01 00:00 there (RFC 868, its own example).
    assert abs(seconds - (int(time.time()) + 2_208_988_800)) <= 10


def test_the_time_service_answers_in_the_format_asked_for():
    with served("time_service.py:Time", "udp") as address:
        assert time.strptime(ask_time(address, b"%Y-%m-%d %H:%M:%S").decode(), "%Y-%m-%d %H:%M:%S")
