"""A console beside a server, on fibers: what waits for a terminal, a pipe or a fifo holds up itself alone."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.desk.kit import Person
from tests.support import ask, wait_until

from .launch import RUN, environment, python, write
from .on_fibers import ON_FIBERS

SERVER = """
import cmd, code, fcntl, getpass, io, os, signal, socket, socketserver, subprocess, sys, threading, time

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
"""

WAYS = {
    "input": "got = input('? ')",
    "readline": "got = sys.stdin.readline().strip()",
    "for": "got = next(iter(sys.stdin)).strip()",
    "buffer": "got = sys.stdin.buffer.readline().decode().strip()",
    "raw": "got = sys.stdin.buffer.raw.read(100).decode().strip()",
    "os.read": "got = os.read(0, 100).decode().strip()",
    "os.readv": "b = bytearray(100); got = bytes(b[:os.readv(0, [b])]).decode().strip()",
    "both ways": "got = open('/dev/stdin', 'r+b', buffering=0).read(100).decode().strip()",
    "fdopen": "got = os.fdopen(os.dup(0)).readline().strip()",
    "open": "got = open('/dev/stdin').readline().strip()",
    "cmd": "class C(cmd.Cmd):\n    def do_typed(self, _): return True\nC().cmdloop(); got = 'typed'",
    "interact": "code.interact(banner='', local=globals(), exitmsg='')",
    "getpass": "got = getpass.getpass(stream=sys.stdout)",
    "system": "got = os.system('read x; exit 3') >> 8",
    "sigwait": "got = signal.sigwait({signal.SIGUSR1}).name",
    "sigtimedwait": "got = signal.sigtimedwait({signal.SIGUSR1}, 60).si_signo == signal.SIGUSR1",
    "sigwaitinfo": "got = signal.sigwaitinfo({signal.SIGUSR1}).si_signo == signal.SIGUSR1",
}

if sys.version_info >= (3, 14):
    WAYS["os.readinto"] = "b = bytearray(100); got = bytes(b[:os.readinto(0, b)]).decode().strip()"

SAYS = {"system": "3", "sigwait": "SIGUSR1", "sigtimedwait": "True", "sigwaitinfo": "True"}


@contextmanager
def started(folder: Path, program: str, way: tuple[str, ...] = ON_FIBERS) -> Iterator[Any]:
    write(folder / "program.py", SERVER + textwrap.dedent(program))
    with subprocess.Popen(
        [sys.executable, *way, "program.py"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # `getpass` finds no terminal then
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("way", WAYS)
def test_the_server_serves_while_the_console_waits(tmp_path: Path, way: str) -> None:
    with started(tmp_path, f"{WAYS[way]}\nprint('got', got, flush=True)\nos._exit(0)") as process:
        address = ("127.0.0.1", int(process.stdout.readline()))
        assert ask(address) == ask(address) == b"hello\n"
        if way.startswith("sig"):
            process.send_signal(signal.SIGUSR1)
        else:
            typed = {"interact": "got = 'typed'\nprint('got', got, flush=True)\n"}.get(
                way, "typed\n"
            )
            process.stdin.write(typed)
        process.stdin.close()
        lines = process.stdout.read().splitlines()
        assert (
            lines[-1]
            .removeprefix("? ")
            .removeprefix("(Cmd) ")
            .split(" got ")[-1]
            .endswith(SAYS.get(way, "typed"))
        ), (lines, process.stderr.read())


def test_a_fifo_is_opened_read_and_written_while_the_server_serves(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in")
    os.mkfifo(tmp_path / "out")
    program = """
        def feed():
            with open("in") as fifo: print("got", fifo.read(), flush=True)
        def fill():
            with open("out", "wb") as fifo: print("wrote", fifo.write(bytes(300_000)), flush=True)
        threads = [threading.Thread(target=each) for each in (feed, fill)]
        for each in threads: each.start()
        for each in threads: each.join()
        os._exit(0)
    """
    with started(tmp_path, program) as process:
        address = ("127.0.0.1", int(process.stdout.readline()))
        assert ask(address) == b"hello\n"
        with (tmp_path / "in").open("w") as fifo, (tmp_path / "out").open("rb") as other:
            assert ask(address) == b"hello\n"
            fifo.write("typed")
            fifo.flush()
            assert ask(address) == b"hello\n"
            assert len(other.read()) == 300_000
        lines = {process.stdout.readline(), process.stdout.readline()}
        assert lines == {"got typed\n", "wrote 300000\n"}


FULL = {
    "print": "print('x' * 1_000_000)",
    "write": "sys.stdout.buffer.write(b'x' * 1_000_000); sys.stdout.buffer.flush()",
    "os.write": "assert os.write(1, b'x' * 1_000_000) == 1_000_000",
    "os.writev": "assert os.writev(1, [b'x' * 500_000, bytearray(b'x' * 500_000)]) == 1_000_000",
    "two": "for _ in 1, 2: threading.Thread(target=print, args=('x' * 500_000,)).start()",
}


@pytest.mark.parametrize("way", FULL)
def test_full_standard_output_holds_up_what_prints_alone(tmp_path: Path, way: str) -> None:
    program = f"""
        {FULL[way]}
        sys.stdout.flush()
        print("end", file=sys.stderr, flush=True)
        server.shutdown()
    """
    with started(tmp_path, program) as process:
        address = ("127.0.0.1", int(process.stdout.readline()))
        assert ask(address) == b"hello\n"
        printed = process.stdout.read()
        assert printed.count("x") == 1_000_000
        assert process.stderr.read() == "end\n"
        assert process.wait() == 0


def test_ctrl_c_at_the_prompt_reaches_the_main_code_and_the_next_line_is_its_own(
    tmp_path: Path,
) -> None:
    program = """
        try: input("first ")
        except KeyboardInterrupt: print("interrupted", flush=True)
        print("got", input("second "), flush=True)
        os._exit(0)
    """
    with started(tmp_path, program) as process:
        address = ("127.0.0.1", int(process.stdout.readline()))
        assert ask(address) == b"hello\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "first interrupted\n"
        process.stdin.write("typed\n")
        process.stdin.close()
        assert process.stdout.read() == "second got typed\n"


STREAMS = """
    import doctest, pdb
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        print(type(stream).__mro__[-5:], stream.isatty(), stream.fileno(), stream.name)
        print(stream.encoding, stream.errors)
        print(stream.mode, stream.buffer.mode, stream.line_buffering, stream.write_through, stream.newlines)
        print(isinstance(stream.buffer, io.BufferedIOBase), isinstance(stream, io.TextIOWrapper))
        print(repr(stream))
    print(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, open is io.open, open.__name__)
    import builtins; print(sys.stdin.buffer.peek(2)[:2], input("? "), sys.stdin.read(2), list(sys.stdin))
    sys.stdout.reconfigure(line_buffering=True); print("again", end="\\n", flush=True)
    r, w = os.pipe()
    with open(w, "wb", 0) as raw: print(raw.write(b"line\\nrest"))
    with os.fdopen(r, newline=None) as file: print(file.readline(), file.read(), file.mode, file.name == r)
    for arguments in (("/dev/null", "q"), ("/dev/tty0-none",), (r,), ("/dev/stdin", "w+b", 1.5), (0, "r", 0)):
        try: open(*arguments)
        except Exception as error: print(type(error), error)
    print(os.read(os.open("/dev/null", os.O_RDONLY), 1), os.write(1, b"") )
    try: os.read(12345, 1)
    except OSError as error: print(error)
"""


LINES = "zero\nfirst\nsecond\n"


@pytest.mark.parametrize("flags", [(), ("-u",), ("-X", "utf8=0")])
def test_the_streams_are_what_they_are_on_threads(tmp_path: Path, flags: tuple[str, ...]) -> None:
    source = "import io, os, sys\n" + textwrap.dedent(STREAMS)
    write(tmp_path / "program.py", source)
    plain, ours = (
        python(*flags, *way, "program.py", cwd=tmp_path, stdin=LINES) for way in (RUN, ON_FIBERS)
    )
    assert (plain.status, plain.errors) == (0, "")
    assert (ours.output, ours.errors, ours.status) == (plain.output, "", 0)


class TestAtATerminal:
    PROGRAM = """
        import readline
        readline.set_completer(lambda text, state: ["completed"][state] if state == 0 else None)
        readline.parse_and_bind("tab: complete")
    """

    @contextmanager
    def person(self, folder: Path, program: str) -> Iterator[tuple[Person, tuple[str, int]]]:
        write(folder / "program.py", SERVER + textwrap.dedent(program))
        with Person([sys.executable, *ON_FIBERS, str(folder / "program.py")], folder) as person:
            wait_until(
                lambda: person.text().splitlines() and person.text().splitlines()[0].isdigit()
            )
            yield person, ("127.0.0.1", int(person.text().splitlines()[0]))

    def test_a_line_is_edited_remembered_and_completed_while_the_server_serves(
        self, tmp_path: Path
    ) -> None:
        program = textwrap.dedent(self.PROGRAM) + "while True: print('got', repr(input('say: ')))\n"
        with self.person(tmp_path, program) as (person, address):
            person.sees("say:")
            assert ask(address) == b"hello\n"
            person.types("helo\x1b[D")  # and left
            assert ask(address) == b"hello\n"
            person.enters("l")
            person.sees("got 'hello'")
            person.enters("\x1b[A!")  # the line before
            person.sees("got 'hello!'")
            person.enters("com\t")
            person.sees("got 'completed'")

    def test_ctrl_c_leaves_the_line_and_the_console_goes_on(self, tmp_path: Path) -> None:
        program = (
            textwrap.dedent(self.PROGRAM) + "import code; code.interact(banner='', exitmsg='bye')\n"
        )
        with self.person(tmp_path, program) as (person, address):
            person.sees(">>>")
            person.types("half a li")
            assert ask(address) == b"hello\n"
            person.types("\x03")
            person.sees("KeyboardInterrupt")
            person.enters("6 * 7")
            person.sees("42")
            person.types("\x04")
            person.sees("bye")

    def test_without_readline_the_terminal_edits(self, tmp_path: Path) -> None:
        program = """
            sys.modules["readline"] = None; del sys.modules["readline"]
            try: print("got", input("say: "))
            except KeyboardInterrupt: print("interrupted")
            print("got", input("say again: "))
        """
        with self.person(tmp_path, program) as (person, address):
            person.sees("say:")
            assert ask(address) == b"hello\n"
            person.types("\x03")
            person.sees("interrupted")
            person.sees("say again:")
            person.enters("typed")
            person.sees("got typed")

    def test_a_password_is_asked_for_and_not_shown(self, tmp_path: Path) -> None:
        with self.person(tmp_path, "print(getpass.getpass('secret: ')[::-1])\n") as (
            person,
            address,
        ):
            person.sees("secret:")
            assert ask(address) == b"hello\n"
            person.enters("abc")
            person.sees("cba")
            assert "abc" not in person.text()
