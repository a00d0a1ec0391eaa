"""What `manyhands serve` says of a person's mistakes: one sentence, and status 2."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import Program


def refused(folder: Path, *words: str) -> str:
    """Return the one sentence that a command line is refused with."""
    with Program(["-m", "manyhands", "serve", *words], folder) as program:
        status, errors = program.wait(), program.errors()
        assert (status, program.lines_left()) == (2, []), errors
    assert errors.startswith("manyhands: ")
    assert errors.count("\n") == 1
    return errors.removeprefix("manyhands: ").rstrip("\n")


HERE = ("--bind", "tcp://127.0.0.1:0")

#: Longer than the name of a file may be, of which `pathlib` says since 3.14 that there is none.
LONG = "x" * 5000 + ".py"
KNOWS_LONG_NAMES = sys.version_info >= (3, 14)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("missing:Echo", *HERE), "there is no module missing (looked in "),
        (("handlers.missing:Echo", *HERE), "there is no module handlers.missing"),
        (("missing.py:Echo", *HERE), "there is no file missing.py"),
        (("handlers:Missing", *HERE), "handlers has no Missing; its classes are Echo, Busy"),
        (("handlers:Nested.Missing", *HERE), "handlers has no Nested.Missing"),
        (("handlers:Ecko", *HERE), ("handlers has no Ecko; its classes are Echo, Busy, Stubborn, "
         "Shout, Nested; did you mean Echo?")),
        (("handlers", *HERE), ("'handlers' names no handler: write MODULE:HANDLER, such as "
         "handlers:Echo")),
        (("handlers.Echo", *HERE), ("'handlers.Echo' names no handler: write MODULE:HANDLER, such as "
         "handlers:Echo")),
        ((":Echo", *HERE), "':Echo' names no handler"),
        (("handlers:", *HERE), "'handlers:' names no handler"),
        (("handlers:os", *HERE), "the module os is no handler: it must be"),
        (("os:getcwd", *HERE), "getcwd is no handler"),
        (("broken:Echo", *HERE), "broken cannot be imported: ZeroDivisionError: division by zero ("),
        (("unfinished:Echo", *HERE), "unfinished cannot be imported: SyntaxError: "),
        (("needy:Echo", *HERE), "needy cannot be imported: ModuleNotFoundError: No module named"),
        (("leaving:Echo", *HERE), "leaving cannot be imported: SystemExit: 3"),
        (("handlers:Shout", *HERE), "Shout is a DatagramRequestHandler, which cannot serve tcp://"),
        (("handlers:Echo", "--bind", "udp://:0"), "Echo is a StreamRequestHandler, which cannot"),
        (("plain:Shout", *HERE), "Shout is a DatagramRequestHandler, which cannot serve tcp://"),
        (("plain:Echo", "--bind", "udp://:0"), "Echo is a StreamRequestHandler, which cannot"),
        (("handlers:Echo",), ("the following arguments are required: --bind; as in manyhands serve "
         "shop.py:Echo --bind tcp://127.0.0.1:8008 (see")),
        (HERE, "the following arguments are required: MODULE:HANDLER"),
        (("handlers:Echo", "--bind", "http://:80"), "'http://:80' is not an address: the schemes"),
        (("handlers:Echo", "--bind", "tcp://127.0.0.1"), "'tcp://127.0.0.1' is not an address"),
        (("handlers:Echo", "--bind", "tcp://127.0.0.1:99999"), "'tcp://127.0.0.1:99999' is not"),
        (("handlers:Echo", "--bind", "unix://no/a.sock"), "No such file or directory: cannot listen"),
        (("handlers:Echo", "--bind", "unix://handlers.py"), ("Address already in use: cannot listen "
         "on handlers.py (a file that is no socket is there)")),
        (("handlers:Echo", "--bind", "tcp://203.0.113.1:0"), ("Cannot assign requested address: "
         "cannot listen on 203.0.113.1:0 (no interface of this machine has that address)")),
        (("handlers:Echo", "--bind", "tcp://nowhere.invalid:0"), ("cannot listen on "
         "tcp://nowhere.invalid:0: the host 'nowhere.invalid' has no address here")),
        (("handlers:Echo", *HERE, "--engine", "steam"), ("--engine must be sequential, threads, "
         "processes or fibers, not 'steam'")),
        (("handlers:Echo", *HERE, "--engine", "none"), ("--engine must be sequential, threads, "
         "processes or fibers, not 'none'")),
        (("handlers:Echo", *HERE, "--max-threads", "many"), "--max-threads must be a whole number"),
        (("handlers:Echo", *HERE, "--drain-timeout", "-1"), "--drain-timeout must be a number"),
        (("handlers:Echo", "--bind", "tls://:0"), "tls://:0 needs a certificate: give certfile"),
        (("handlers:Echo", *HERE, "--certfile", "no.pem"), "certfile '"),
        (("handlers:Echo", *HERE, "--certfile", "handlers.py"), "certfile '"),
        (("handlers:Echo", *HERE, "--rate-burst", "5"), "--rate-burst without --max-rate is of no use"),
        (("handlers:Echo", *HERE, "--max-fibers", "5"), "--max-fibers is of no use on the engine th"),
        (("handlers:Echo", *HERE, "--no-such-option"), "unrecognized arguments: --no-such-option"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence_and_status_2(
    folder: Path, words: tuple[str, ...], sentence: str
) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "unfinished.py").write_text("class Echo(\n")
    (folder / "needy.py").write_text("import a_module_that_nobody_has\n")
    (folder / "leaving.py").write_text("raise SystemExit(3)\n")
    assert refused(folder, *words).startswith(sentence)


ODD = """
from socketserver import TCPServer

PORT, NOTHING, LIST = 8008, None, [1]

class Property:
    @property
    def broken(self):
        raise ValueError("no\\nway")

thing = Property()

class Slots:
    __slots__ = ()

slots = Slots()

class Computing(type):
    def __getattr__(cls, name):
        raise KeyError(name)

class Computed(metaclass=Computing):
    pass

async def coroutine(request, client_address, server):
    pass
"""


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("odd:PORT", "8008 is no handler: it must be"),
        ("odd:PORT.foo", "odd has no PORT.foo"),
        ("odd:NOTHING.foo", "odd has no NOTHING.foo"),
        ("odd:slots.foo", "odd has no slots.foo"),
        ("odd:slots", "an object of the class Slots is no handler: it must be"),
        ("odd:thing.broken", "thing.broken of odd cannot be had: ValueError: no way"),
        ("odd:Computed.foo", "Computed.foo of odd cannot be had: KeyError: 'foo'"),
        ("odd:TCPServer", "TCPServer is a server, not a handler: it must be"),
        ("odd:coroutine", "coroutine is `async`, and would never run"),
        ("odd:LIST.0", "'odd:LIST.0' names no handler: write MODULE:HANDLER"),
        ("odd:Slots.", "'odd:Slots.' names no handler"),
        ("odd:.Slots", "'odd:.Slots' names no handler"),
        ("odd: Slots", "'odd: Slots' names no handler"),
        ("odd:Slots\n", "'odd:Slots\\n' names no handler"),
        (":", "':' names no handler"),
        (".odd:Slots", "'.odd' is a relative name, and there is nothing that it is relative to"),
        ("odd.:Slots", "there is no module odd."),
        ("odd..a:Slots", "there is no module odd."),
        ("no\nmodule:Slots", "there is no module no\\nmodule (looked in "),
        ("folder.py:Slots", "folder.py is a folder, not a Python file"),
        (
            "sub/odd:Slots",
            "'sub/odd' is no name of a module; there is a file sub/odd.py: write package",
        ),
        (
            "./sub/none:Slots",
            "'sub/none' is no name of a module: write package.module or folder/file",
        ),
        ("../none:Slots", "'../none' is no name of a module: write"),
        ("time:Echo", "time has no Echo, for that is built in; the file here is time.py:HANDLER"),
        ("lazy:Echo", "Echo of lazy cannot be had: RuntimeError: not today"),
        ("saying:Echo", "saying cannot be imported: SystemExit: good bye ("),
        ("cancelled:Echo", "cancelled cannot be imported: CancelledError ("),
        ("mute:Echo", "mute cannot be imported: Mute ("),
        ("binary.py:Echo", "binary.py cannot be imported: SyntaxError: "),
        ("vanishing:Echo", "vanishing has no Echo"),
        (
            f"{LONG}:Echo",
            f"there is no file {LONG}"
            if KNOWS_LONG_NAMES
            else f"{LONG} cannot be imported: OSError: ",
        ),
    ],
)
def test_an_odd_reference_is_one_sentence_and_status_2(
    folder: Path, reference: str, sentence: str
) -> None:
    (folder / "odd.py").write_text(ODD)
    (folder / "folder.py").mkdir()
    (folder / "sub").mkdir()
    (folder / "sub" / "odd.py").touch()
    (folder / "time.py").write_text("class Echo: pass\n")
    (folder / "lazy.py").write_text("def __getattr__(name): raise RuntimeError('not today')\n")
    (folder / "saying.py").write_text("raise SystemExit('good\\nbye')\n")
    (folder / "cancelled.py").write_text("import asyncio\nraise asyncio.CancelledError\n")
    (folder / "mute.py").write_text(
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute\n"
    )
    (folder / "binary.py").write_bytes(b"\xff\xfe\0")
    (folder / "vanishing.py").write_text("import sys\nsys.modules[__name__] = None\n")
    assert refused(folder, reference, *HERE).startswith(sentence)


def test_a_port_in_use_names_its_holder(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = refused(folder, "handlers:Echo", "--bind", f"tcp://127.0.0.1:{port}")
    assert sentence.startswith(
        f"Address already in use: cannot listen on 127.0.0.1:{port} (held by process {os.getpid()} ("
    )


def test_a_path_with_a_live_server_is_refused(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(folder / "a.sock"))
        alive.listen()
        sentence = refused(folder, "handlers:Echo", "--bind", f"unix://{folder}/a.sock")
    assert sentence.endswith(f"cannot listen on {folder}/a.sock (a live server answers there)")


def test_too_few_descriptors_are_one_sentence(folder: Path, engine: str) -> None:
    # As many as the interpreter needs to load it all, and too few for what wakes the accept loop.
    files = {"processes": 6, "fibers": 8}.get(engine, 7)
    program = f'ulimit -n {files}; exec "$0" -m manyhands serve handlers:Echo --engine "$@"'
    finished = subprocess.run(
        ["sh", "-c", program, sys.executable, engine, *HERE],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 1
    # It may be that there was none left for a control socket either, which is no mistake.
    said = finished.stderr.removeprefix("manyhands: no control socket: Too many open files\n")
    assert re.fullmatch(f"manyhands: {files} open files are too few: .*\n", said)
