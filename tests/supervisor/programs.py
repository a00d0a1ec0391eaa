"""A server with workers in a program of its own, which can be killed as a whole."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.supervisor.kit import Caller
from tests.support.programs import Program
from tests.support.waiting import wait_until

BEGINNING = """
    import os, sys, threading, time
    from manyhands import Server, StreamRequestHandler
    from manyhands.model import events
    from manyhands.model.event_hub import event_hub
    from tests.supervisor.kit import Pid

    SUPERVISOR = os.getpid()

    def tell(event):
        if os.getpid() == server_process:
            print(type(event).__name__, str(event).splitlines()[0], flush=True)

    server_process = int(os.environ.setdefault("SERVER_PROCESS", str(os.getpid())))
"""

END = """
    if __name__ == "__main__":
        event_hub.subscribe(tell)
        def announce():
            if "beside" in globals():
                threading.Thread(target=beside, daemon=True).start()
            print("address", server.addresses[0].port, flush=True)
        server.run(announce)
"""


class Service(Program):
    """The program, once it serves."""

    def __init__(self, folder: Path, text: str) -> None:
        path = folder / "service.py"
        path.write_text(
            textwrap.dedent(BEGINNING) + textwrap.dedent(text) + textwrap.dedent(END),
            encoding="utf-8",
        )
        super().__init__([str(path)], folder)
        self.address = ("127.0.0.1", int(self.wait_for("address ")))

    def wait_for(self, beginning: str) -> str:
        """Read to a line that begins so; return the rest of it."""
        while not (line := self.line()).startswith(beginning):
            pass
        return line.removeprefix(beginning)

    def call(self) -> Caller:
        """Return a client."""
        return Caller(self.address)

    def workers(self, count: int) -> set[int]:
        """Return the processes of so many workers that serve now."""
        found: set[int] = set()

        def look() -> bool:
            every = [self.call() for _ in range(count)]
            found.clear()
            found.update(each.ask() for each in every)
            for each in every:
                each.close()
            return len(found) == count

        wait_until(look)
        return found


@contextmanager
def service(folder: Path, text: str) -> Iterator[Service]:
    """Run a program that has a `server`, for the time of the context; end all of its processes then."""
    with Service(folder, text) as program:
        yield program
