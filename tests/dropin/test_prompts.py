"""One console for handlers that ask: serialised, labelled, and no danger to the exit."""

import contextlib
import fcntl
import re
import subprocess
import sys
import termios

import pytest

from tests.support import ask, call, wait_until

PROGRAM = """
import select, socket, sys, threading, time
if sys.argv[1] == "ours":
    from manyhands import ask, socketserver
elif sys.argv[1] == "ours, loaded by the handlers":
    import manyhands
    from manyhands import socketserver
    ask = lambda question: manyhands.ask(question)
else:
    import socketserver
    ask = input

class Ask(socketserver.BaseRequestHandler):
    def handle(self):
        question = self.request.recv(100).decode()
        self.request.sendall(ask(question + "> ").encode())

server = getattr(socketserver, sys.argv[2])(("127.0.0.1", 0), Ask)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
callers = [socket.create_connection(server.server_address) for _ in range(int(sys.argv[3]))]
for number, caller in enumerate(callers):
    caller.sendall(b"question %d" % number)
# The order in which the callers are asked about is not defined.
answers = []
while len(answers) < 2:
    for caller in select.select(callers, [], [])[0]:
        answers.append(caller.recv(100).decode())
        callers.remove(caller)
print(sorted(answers), file=sys.stderr)
# The third handler is about to read; nothing tells when it has begun to.
time.sleep(0.5)
sys.exit(0)
"""


@contextlib.contextmanager
def killed_at_the_end(process: subprocess.Popen):
    """Kill the process, and its handlers; `Popen` itself waits for it, for ever after a failure."""
    try:
        yield
    finally:
        process.kill()


def run(library: str, server: str, callers: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, library, server, str(callers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("server", ["ThreadingTCPServer", "ForkingTCPServer"])
def test_each_question_is_labelled_with_its_client_and_answered_alone(server):
    with run("ours", server, callers=2) as process:
        output, errors = process.communicate("eins 一\nzwei 🙂\n", timeout=30)
    label = r"\[#\d 127\.0\.0\.1:\d+(, 1 more waiting)?\] question [01]> "
    assert re.fullmatch(label * 2, output)
    assert errors.splitlines()[0] == "['eins 一', 'zwei 🙂']"
    assert process.returncode == 0


def unread_in(pipe) -> int:
    count = fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(count, sys.byteorder)


@pytest.mark.parametrize("server", ["ThreadingTCPServer", "ForkingTCPServer"])
def test_handlers_that_are_the_first_to_ask_take_turns(server):
    with (
        run("ours, loaded by the handlers", server, callers=2) as process,
        killed_at_the_end(process),
    ):
        # Byte by byte, so that two who read at the same time would each get some of them.
        for character in "one\ntwo\n":
            process.stdin.write(character)
            process.stdin.flush()
            wait_until(lambda: unread_in(process.stdin) == 0)
        assert process.stderr.readline() == "['one', 'two']\n"


ON_A_PATH = """
import socket, sys, threading
from manyhands import ask, socketserver

class Ask(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(ask("who? ").encode())

server = socketserver.ThreadingUnixStreamServer(sys.argv[1], Ask)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = socket.socket(socket.AF_UNIX)
client.bind(sys.argv[2])
client.connect(sys.argv[1])
client.recv(100)
server.shutdown()
"""


def test_the_path_of_a_client_moves_no_cursor(tmp_path):
    path = tmp_path / "\x1b[31mred\u202e"
    asked = subprocess.run(
        [sys.executable, "-c", ON_A_PATH, str(tmp_path / "server"), str(path)],
        input="Anna\n",
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=True,
    )
    assert asked.stdout == f"[#1 {tmp_path}/\\x1b[31mred\\u202e] who? "


def test_what_a_prompt_quotes_of_its_client_moves_no_cursor(tmp_path):
    prompt = "\x1b[2Jwho\r[#9 x] \x1b[1mnow\x1b[0m,\tor\nnever? "
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            ON_A_PATH.replace('"who? "', repr(prompt)),
            *(str(tmp_path / n) for n in "sc"),
        ],
        input="Anna\n",
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=True,
    )
    shown = "\\x1b[2Jwho\\r[#9 x] \x1b[1mnow\x1b[0m,\tor\nnever? "
    assert asked.stdout == f"[#1 {tmp_path}/c] {shown}"


def leave_while_a_third_still_asks(library: str) -> tuple[int, str]:
    # Standard input stays open, so that the third question is still waiting for its answer at the exit.
    with run(library, "ThreadingTCPServer", callers=3) as process, killed_at_the_end(process):
        for answer in ("one\n", "two\n"):
            # One by one: of two lines that come together, threads of `input()` may lose one in its buffer.
            process.stdin.write(answer)
            process.stdin.flush()
            wait_until(lambda: unread_in(process.stdin) == 0)
        assert process.stderr.readline() == "['one', 'two']\n"
        process.wait(timeout=30)
        return process.returncode, process.stderr.read()


def test_an_unanswered_question_does_not_kill_the_interpreter_at_its_exit():
    assert leave_while_a_third_still_asks("ours") == (0, "")


def test_with_input_it_does_before_the_interpreter_learnt_better():
    status, errors = leave_while_a_third_still_asks("stdlib")
    # Of 3.13 the first releases crash, and all of 3.14 end.
    assert (status, errors) == (0, "") or (status != 0 and "could not acquire lock" in errors)


def test_a_question_after_the_end_of_input_is_an_error_of_its_own():
    program = "import manyhands\ntry: manyhands.ask('? ')\nexcept EOFError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "? standard input has ended\n"


def test_under_run_input_in_a_handler_is_labelled_and_elsewhere_it_is_not(tmp_path):
    program = tmp_path / "tutorial.py"
    program.write_text(
        "import socket, socketserver, threading\n"
        "class Handler(socketserver.BaseRequestHandler):\n"
        "    def handle(self):\n"
        "        self.request.sendall(input('reply: ').encode())\n"
        "print(input('name: '))\n"
        "server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler)\n"
        "threading.Thread(target=server.serve_forever).start()\n"
        "print(socket.create_connection(server.server_address).recv(100))\n"
        "server.shutdown()\n"
        "server.server_close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "manyhands", "run", str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdin.write("Anna\n")
        process.stdin.flush()
        assert process.stdout.read(6) == "name: "
        assert process.stdout.readline() == "Anna\n"
        process.stdin.write("hello\n")
        process.stdin.close()
        # Not `communicate`: what `readline` has read ahead would be lost to it.
        output = process.stdout.read()
    assert re.fullmatch(r"\[#1 127\.0\.0\.1:\d+\] reply: b'hello'\n", output)


SERVING = """
import sys, manyhands
class Handler(manyhands.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if line == b"ask\\n":
                line = manyhands.ask("answer> ").encode() + b"\\n"
            self.wfile.write(line)
if __name__ == "__main__":
    server = manyhands.Server(Handler, "tcp://127.0.0.1:0", engine=sys.argv[1], drain_timeout=1)
    server.run(lambda: print(server.addresses[0].port, flush=True))
"""


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_another_client_is_served_while_the_operator_thinks(engine):
    with (
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVING, engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        killed_at_the_end(process),
    ):
        address = ("127.0.0.1", int(process.stdout.readline()))
        with call(address) as one, call(address) as other:
            # Two that ask: one waits for the operator, the other one for its turn.
            one.sendall(b"ask\n")
            other.sendall(b"ask\n")
            for _ in range(3):
                assert ask(address) == b"hello\n"
            process.stdin.write("first\nsecond\n")
            process.stdin.flush()
            assert {one.recv(100), other.recv(100)} == {b"first\n", b"second\n"}
        process.terminate()
        assert process.stderr.read() == ""
        assert process.wait() == 0
