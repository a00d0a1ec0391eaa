"""The server with workers under test, as an operator has it: `manyhands serve`, and its control socket."""

import contextlib
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from manyhands.control.client import Client, ControlError, Refused
from soak.authority import Authority
from soak.verdict import Sample

if TYPE_CHECKING:
    from soak.clients import Address

WORKERS = 3

SETTLING = 30.0
"""Seconds for the books and the processes to be at rest, and for the server to come to its end."""

CHANGE = 60.0
"""Seconds for a reload, or an upgrade, to come about."""

LOOK = 0.1

T = TypeVar("T")


class WorkerService:
    """The server, and what is done to it.

    Parameters
    ----------
    folder
        Where its certificates, its control socket and its log are.
    engine
        Of its workers.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self._authority = Authority(folder)
        self._authority.issue()
        self._place = str(folder / "control")
        self._log = (folder / "log").open("w+")
        handler = Path(__file__).with_name("worker_handler.py")
        files = map(str, (self._authority.certfile, self._authority.keyfile))
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "manyhands", "serve", f"{handler}:Echo"),
                *("--bind", "tcp://127.0.0.1:0", "--bind", "tls://127.0.0.1:0"),
                *chain.from_iterable(zip(("--certfile", "--keyfile"), files, strict=True)),
                *("--engine", engine, "--workers", str(WORKERS), "--control", self._place),
                # With a drain, a client that pauses at its beginning would be hung up on. So many generations
                # are not there before those of the oldest one have left by themselves.
                *("--reload-drain", "stay", "--max-generations", "10"),
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        ports = [self._process.stdout.readline().rpartition(":")[2] for _ in range(2)]
        if "" in ports:
            raise SystemExit(f"the server does not listen: {self.log()}")
        self.plain: Address = ("127.0.0.1", int(ports[0]))
        self.tls: Address = ("127.0.0.1", int(ports[1]))
        self.context = ssl.create_default_context(cafile=self._authority.ca)

    def log(self) -> str:
        """Return what the server has written to standard error."""
        self._log.seek(0)
        return self._log.read()

    def ask(self, verb: str, **params: object) -> Any:
        """Have an operator ask for something."""
        with Client(self._place) as client:
            return client.request(verb, params, timeout=CHANGE)

    def status(self) -> Any:
        """Return what the server says of itself."""
        return self.ask("status")

    def serving(self) -> list[int]:
        """Return the processes of the workers that serve."""
        items = self.ask("workers.list")["items"]
        return [int(each["pid"]) for each in items if each["state"] == "serving"]

    def reload(self) -> None:
        """Have a new generation serve, with new certificates."""
        self._authority.issue()
        self.ask("reload")

    def wait_for_old_ones(self) -> None:
        """Wait until those of an old generation have left, which they do when they are idle."""
        _first(lambda: len(self.ask("workers.list")["items"]) == WORKERS, SETTLING)

    def upgrade(self) -> None:
        """Have the program started anew in the supervisor's process; return when its workers serve."""
        before = int(self.status()["generation"])
        # Refused while a worker is being replaced.
        _first(lambda: [self.ask("upgrade")], CHANGE, Refused)
        # Until its end the old program answers, and then nothing does.
        _first(lambda: int(self.status()["generation"]) > before, CHANGE, ControlError)

    def sample(self, calls: int) -> Sample:
        """Return how large the supervisor is, after so many calls."""
        return Sample.of(self._process.pid, calls)

    def at_rest(self, before: Sample) -> tuple[Any, Sample]:
        """Wait until all that has left is gone; return the status, and how large the supervisor is.

        `before` is how large it was before anything came.
        """
        latest: tuple[Any, Sample] | None = None

        def is_at_rest() -> bool:
            nonlocal latest
            # Not looked at once more afterwards: what a question takes itself is freed only after its answer.
            status, now = latest = self.status(), self.sample(0)
            return (
                not status["books"]["open"]
                and now.descriptors <= before.descriptors
                and now.threads <= before.threads
            )

        with contextlib.suppress(TimeoutError):
            _first(is_at_rest, SETTLING, ControlError)
        return latest or (self.status(), self.sample(0))

    def end(self) -> int | None:
        """Send SIGTERM; return the exit status, None where it does not come to its end."""
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(SETTLING)
        return None

    def kill(self) -> None:
        """End the process, if it goes on."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _first(ask: Callable[[], T], seconds: float, *excused: type[Exception]) -> T:
    """Return what `ask` returns, as soon as that is true; it is asked again where it raises what is excused.

    Raises
    ------
    TimeoutError
        When it does not come to that in so many seconds.
    """
    deadline, why = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if result := ask():
                return result
        except excused as error:
            why = f": {error}"
        time.sleep(LOOK)
    raise TimeoutError(f"that has not come about within {seconds:g} s{why}")
