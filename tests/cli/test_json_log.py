"""With `--log json`, standard error is JSON lines and nothing else, whatever goes wrong."""

import json
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support import Program, call, everything

HANDLERS = """
    import logging, socketserver, sys, threading, warnings

    class Fails(socketserver.StreamRequestHandler):
        def handle(self):
            self.trouble(self.rfile.readline().decode().strip())

        def trouble(self, kind):
            if kind == "raise":
                raise ValueError("no\\nway")
            if kind == "exit":
                sys.exit(4)
            if kind == "print":
                print("said by the handler", "in two\\nlines", file=sys.stderr)
            if kind == "warn":
                warnings.warn("be warned")
            if kind == "log":
                logging.getLogger("shop").warning("logged by the handler")
            if kind == "thread":
                thread = threading.Thread(target=self.trouble, args=["raise"], name="helper")
                thread.start()
                thread.join()
            if kind == "destructor":
                Broken()

    class Broken:
        def __del__(self):
            raise KeyError("in a destructor")
"""

SERVER = """
    if __name__ == "__main__":
        with getattr(socketserver, sys.argv[1])(("127.0.0.1", 0), Fails) as server:
            print("listening on tcp://127.0.0.1:%d" % server.server_address[1], flush=True)
            server.handle_request()
        raise RuntimeError("the program ends with this")
"""

TROUBLES = ["raise", "print", "warn", "log", "thread", "destructor"]


def trouble(program: Program, *kinds: str) -> None:
    address = ("127.0.0.1", int(program.line().rpartition(":")[2]))
    for kind in kinds:
        with call(address) as peer:
            peer.sendall(f"{kind}\n".encode())
            assert everything(peer) == b""


def records(errors: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in errors.splitlines()]


def serve(*words: str) -> list[str]:
    return ["-m", "manyhands", "serve", *words, "--log", "json"]


HERE = ("--bind", "tcp://127.0.0.1:0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of handlers that fail, and with a program of them."""
    source = textwrap.dedent(HANDLERS)
    (tmp_path / "failing.py").write_text(source, encoding="utf-8")
    (tmp_path / "server.py").write_text(source + textwrap.dedent(SERVER), encoding="utf-8")
    return tmp_path


def test_whatever_goes_wrong_in_a_handler_is_json_lines(folder: Path, engine: str) -> None:
    with Program(serve("failing:Fails", *HERE, "--engine", engine), folder) as program:
        trouble(program, *TROUBLES)
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        told = {record["message"]: record for record in records(program.errors())}
    [failed] = [record for text, record in told.items() if "ended the processing of a r" in text]
    assert failed["message"].startswith("ValueError ended the processing of a request of 127.0.0.1")
    assert failed["level"] == "error"
    assert "ValueError: no\nway" in failed["traceback"]
    assert {"said by the handler in two", "lines", "logged by the handler"} <= set(told)
    assert any(text.startswith("UserWarning: be warned (") for text in told)
    in_thread = told["ValueError ended the thread helper"]
    assert "in trouble" in in_thread["traceback"]
    assert any("KeyError: 'in a destructor'" in r.get("traceback", "") for r in told.values())


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
def test_an_unchanged_program_fails_in_json_lines(folder: Path, kind: str) -> None:
    run = ["-m", "manyhands", "run", "--log", "json", "server.py", kind]
    with Program(run, folder) as program:
        trouble(program, "raise")
        assert program.wait() == 1
        handler, last = records(program.errors())
    if kind == "ForkingTCPServer" and "was not caught" in handler["message"]:
        # What the handler's process says is handed on by a thread, which the program's end may overtake.
        handler, last = last, handler
    assert "in trouble" in handler["traceback"]
    assert last["message"] == "RuntimeError was not caught"
    assert "RuntimeError: the program ends with this" in last["traceback"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("failing:Fails", "--bind", "unix://no/a.sock"), "No such file or directory: cannot lis"),
        (("missing:Fails", *HERE), "there is no module missing"),
        (("failing:Fails", *HERE, "--certfile", "no.pem"), "certfile '"),
    ],
)
def test_a_mistake_is_a_json_line_too(folder: Path, words: tuple[str, ...], sentence: str) -> None:
    with Program(serve(*words), folder) as program:
        assert program.wait() == 2
        [record] = records(program.errors())
    assert record["message"].startswith(sentence)


def test_what_ends_the_command_is_a_json_line(folder: Path) -> None:
    (folder / "patch_of_ours.py").write_text(
        "import manyhands.server\n"
        "def run(*_): raise RuntimeError('out of the blue')\n"
        "manyhands.server.Server.run = run\n"
    )
    command = "import sys; sys.path.insert(0, '.'); import patch_of_ours; import manyhands.cli"
    words = ["-c", f"{command}; sys.exit(manyhands.cli.main())", *serve("failing:Fails", *HERE)[2:]]
    with Program(words, folder) as program:
        assert program.wait() == 1
        [record] = records(program.errors())
    assert record["message"] == "RuntimeError ended the server"
    assert "out of the blue" in record["traceback"]
