"""`manyhands serve` with workers, of a module that tests write anew, and operators that ask it."""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manyhands.control.client import Client
from tests.supervisor.kit import Caller
from tests.support.processes import children_of
from tests.support.programs import Program

HANDLER = """
import os, time
from manyhands import StreamRequestHandler

{first}

class Echo(StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d {word} %s" % (os.getpid(), line))
            while line == b"hold\\n":
                self.wfile.write(b".")
                time.sleep(0.02)
"""
"""Says each line back; after ``hold`` it writes until its client has gone, whatever else it is told."""


class Shop:
    """A server of `shop:Echo`, which says each line back behind its process and a word of its code.

    Parameters
    ----------
    folder
        Where the module is, and the control socket.
    *flags
        What else there is on the command line.
    workers
        How many there are to be.
    before
        What stands before the command, behind the interpreter.
    first
        The first line of the module.
    inherited
        Descriptors that the command has, under the same numbers.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        workers: int = 2,
        before: Sequence[str] = (),
        first: str | None = "",
        inherited: Sequence[int] = (),
    ) -> None:
        self.folder = folder
        self.place = str(folder / "control")
        self.module = folder / "shop.py"
        if not self.module.exists():
            self.write("one", first)
        words = [*before, *serve(folder, *flags), "--workers", str(workers)]
        self.program = Program(words, folder, inherited)
        self.address = ("127.0.0.1", 0)

    def write(self, word: str, first: str | None = "") -> None:
        """Have a new version of the module on disk, at once; `first` is its first line, or it is empty."""
        new = self.folder / "shop.new"
        new.write_text("" if first is None else HANDLER.format(word=word, first=first))
        new.replace(self.module)

    def until_it_serves(self) -> None:
        """Wait until it tells where it listens."""
        port = int(self.program.line().rpartition(":")[2])
        self.address = ("127.0.0.1", port)

    def call(self) -> "ShopCaller":
        """Connect."""
        return ShopCaller(self.address)

    def word(self) -> str:
        """Return the word of the code that answers a new client."""
        with self.call() as caller:
            return caller.word()

    def do(self, verb: str, **params: Any) -> Any:
        """Have an operator's verb done, and return the answer."""
        with Client(self.place) as client:
            return client.call(verb, **params)

    def reload(self) -> Any:
        """Reload, and return the answer when it has ended."""
        return self.do("reload")

    def workers(self) -> list[dict[str, Any]]:
        """Return what operators are told of the workers."""
        listed: list[dict[str, Any]] = self.do("workers.list")["items"]
        return listed

    def hear(self, event: str) -> dict[str, Any]:
        """Return the next event of a name that a log of JSON lines tells of."""
        return self.hear_until(event)[-1]

    def hear_until(self, event: str) -> list[dict[str, Any]]:
        """Return all that a log of JSON lines tells up to the next event of a name."""
        heard = [self.hear_one()]
        while heard[-1].get("event") != event:
            heard.append(self.hear_one())
        return heard

    def hear_one(self) -> dict[str, Any]:
        """Return what a log of JSON lines tells next."""
        line = self.program.error_line()
        assert line, "the log has ended"
        assert line.startswith("{"), line
        told: dict[str, Any] = json.loads(line)
        return told

    def processes(self) -> list[int]:
        """Return the processes below the supervisor: hub, templates, workers."""
        return children_of(self.program.pid)


class ShopCaller(Caller):
    """A client of a shop."""

    def hold(self) -> None:
        """Have the handler go on until this client ends, and read nothing."""
        self.ask_word(b"hold")

    def is_held(self) -> bool:
        """Tell whether the handler goes on."""
        return self._lines.read(5) == b"....."

    def word(self) -> str:
        """Return the word of the code that answers."""
        return self.ask_word(b"hi")

    def ask_word(self, line: bytes) -> str:
        """Say a line; return the word of the code that says it back."""
        self.socket.sendall(line + b"\n")
        said = self._lines.readline().split()
        assert said[2:] == [line], said
        return said[1].decode()


def serve(folder: Path, *flags: str) -> Sequence[str]:
    """Return the command line of a shop in a folder."""
    command = ["-m", "manyhands", "serve", "shop:Echo", "--log", "json"]
    return [*command, "--bind", "tcp://127.0.0.1:0", "--control", str(folder / "control"), *flags]


@contextmanager
def shop(
    folder: Path,
    *flags: str,
    workers: int = 2,
    before: Sequence[str] = (),
    inherited: Sequence[int] = (),
) -> Iterator[Shop]:
    """Have a shop that serves; it is killed at the end, with all its processes."""
    served = Shop(folder, *flags, workers=workers, before=before, inherited=inherited)
    with served.program:
        served.until_it_serves()
        yield served


def is_free(address: tuple[str, int]) -> bool:
    """Tell whether nothing listens at an address."""
    with socket.socket() as probe:
        return probe.connect_ex(address) != 0


def is_there(process: int) -> bool:
    """Tell whether there is a process, one that has ended and is not waited for among them."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
