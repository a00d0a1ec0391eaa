"""A hub, and workers in processes of their own, each with a real server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from manyhands.hub.command import hub_command, hub_listener
from manyhands.testing import wait_until
from tests.dealing.kit import Client
from tests.support.processes import stop
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parent.parent.parent

PATIENT_HUB = """
import sys
from manyhands.hub import asks as hub_asks
from manyhands.hub import process as hub
hub_asks.ANSWERS_WITHIN = {seconds}
hub.main(*map(int, sys.argv[1:]))
"""


class Hub:
    """A hub's process, and the socket on which it is reached."""

    def __init__(self, answers_within: float = PATIENCE) -> None:
        self.listener = hub_listener()
        self.answers_within = answers_within
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> bytes:
        """Where workers reach it."""
        address: bytes = self.listener.getsockname()
        return address

    def start(self) -> None:
        """Start the process, the first one or one more."""
        argv, env, pass_fds = hub_command(self.listener)
        program = PATIENT_HUB.format(seconds=self.answers_within)
        where = argv.index("-m")
        argv[where : where + 2] = ["-c", program]
        self.process = subprocess.Popen(argv, env=env, pass_fds=pass_fds, cwd="/")

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)

    @property
    def pid(self) -> int:
        """The process."""
        assert self.process is not None
        return self.process.pid

    def stop(self) -> None:
        """Stop it, so that it answers nothing, and workers do not know."""
        stop(self.pid)

    def go_on(self) -> None:
        """Have it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def start_anew(self) -> None:
        """Kill it, and start another one."""
        self.kill()
        self.start()

    def close(self) -> None:
        self.kill()
        self.listener.close()


class WorkerProcess:
    """A worker: `tests.hub.program`, which serves on a port of its own."""

    def __init__(self, hub: Hub, number: int, engine: str, **options: Any) -> None:
        self.number = number
        command = [sys.executable, "-W", "ignore", "-m", "tests.hub.program"]
        said = json.dumps(
            {"address": hub.address.hex(), "number": number, "engine": engine, **options}
        )
        self.process = subprocess.Popen(
            [*command, said], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.hear())

    def hear(self) -> str:
        """Return the next line that the program says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, *words: object) -> Any:
        """Have the program do something, in its main thread; return the result."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.hear())

    def until_nobody_is_asked_to(self, *words: object, answer: object) -> None:
        """Have the program do something until that has the result, and costs no message to other workers.

        One that has left is known first to its own worker, then to the hub, and then to all by the page.
        """

        def is_known() -> bool:
            asks = self.ask("asks")
            return bool(self.ask(*words) == answer and self.ask("asks") == asks)

        wait_until(is_known)

    @property
    def address(self) -> tuple[str, int]:
        """Where its server listens."""
        return "127.0.0.1", self.port

    def stop(self) -> None:
        """Stop the process."""
        stop(self.process.pid)

    def go_on(self) -> None:
        """Have it go on."""
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Workers:
    """A hub, its workers, and clients of these."""

    def __init__(self, hub: Hub, workers: list[WorkerProcess], stack: contextlib.ExitStack) -> None:
        self.hub = hub
        self.workers = workers
        self.callers = stack

    def client(self, worker: int) -> Client:
        """Return a new client of a worker."""
        return self.callers.enter_context(Client(self.workers[worker].address))

    def until_all_are_connected(self) -> None:
        """Wait until each worker has reached the hub."""
        for worker in self.workers:
            wait_until(lambda: worker.ask("is_connected"))  # noqa: B023 - called at once


@contextmanager
def several_workers(
    count: int,
    engine: str,
    *,
    answers_within: float = PATIENCE,
    hub_is_there: bool = True,
    **options: Any,
) -> Iterator[Workers]:
    """So many workers of a hub."""
    with contextlib.ExitStack() as stack:
        hub = Hub(answers_within)
        stack.callback(hub.close)
        if hub_is_there:
            hub.start()
        workers = [
            stack.enter_context(WorkerProcess(hub, number + 1, engine, **options))
            for number in range(count)
        ]
        under_test = Workers(hub, workers, stack)
        if hub_is_there:
            under_test.until_all_are_connected()
        yield under_test
