"""Run a program with ours in the place of `socketserver`, or as it is, and learn which of the two it was."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import manyhands

_WITNESS = Path(__file__).parent / "witness"
_OURS = Path(manyhands.__file__).parent


@dataclass(frozen=True)
class Place:
    """What stands in the place of `socketserver`: the words before a program on the command line."""

    name: str
    launcher: tuple[str, ...] = ()

    def command(self, program: Sequence[str]) -> list[str]:
        return [sys.executable, *self.launcher, *program]

    def environment(self, witness: Path, extra: Mapping[str, str]) -> dict[str, str]:
        given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        path = [_WITNESS, *(Path(entry).resolve() for entry in given)]
        return {
            **os.environ,
            **extra,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "MANYHANDS_WITNESS": str(witness),
        }

    def is_told_by(self, files: frozenset[Path]) -> bool:
        """Say whether a program's processes used this implementation, each of them, and one at least."""
        is_ours = {file.is_relative_to(_OURS) for file in files}
        return is_ours == {bool(self.launcher)}


PLAIN = Place("the standard library")
OURS = Place("manyhands", ("-m", "manyhands", "run"))


def ours_with(*options: str) -> Place:
    return Place(f"manyhands run {' '.join(options)}", (*OURS.launcher, *options))


@dataclass(frozen=True)
class Finished:
    """A program that ran to its end."""

    status: int
    output: str
    implementations: frozenset[Path]

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.output.splitlines()[-lines:])


def run(
    place: Place,
    program: Sequence[str],
    folder: Path,
    timeout: float,
    extra: Mapping[str, str] = MappingProxyType({}),
) -> Finished:
    """Run a program in a folder until it ends.

    Past `timeout` seconds it and its children are aborted; those with a fault handler say where they were.
    """
    witness = folder / f"witness-{os.urandom(4).hex()}"
    log = witness.with_name(f"output-of-{witness.name}")
    # Not a pipe, which children that the program leaves behind would keep open.
    with log.open("wb") as output:
        process = subprocess.Popen(
            place.command(program),
            cwd=folder,
            env=place.environment(witness, extra),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _end(process, timeout)
    return Finished(process.returncode, log.read_text(errors="replace"), witnessed(witness))


def _end(process: subprocess.Popen[bytes], timeout: float) -> None:
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)
        process.wait()
    finally:
        # A server's forked child can wait for ever on a client whose socket it and its siblings inherited.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def serving(place: Place, program: Sequence[str], folder: Path) -> Iterator[str]:
    """Run a server while the test talks with it, and see that it was `place` that served.

    Yields the first line that it prints, its port by custom. At the end it gets what Ctrl-C sends.
    """
    witness = folder / "witness"
    with (
        (folder / "errors").open("w+") as errors,
        subprocess.Popen(
            place.command(program),
            cwd=folder,
            env=place.environment(witness, {"PYTHONUNBUFFERED": "1"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            _interrupt(process)
        assert place.is_told_by(witnessed(witness)), (folder / "errors").read_text()


def _interrupt(process: subprocess.Popen[str]) -> None:
    # More than once, because CPython loses a KeyboardInterrupt that is raised in a hook of os.fork.
    for _ in range(5):
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=4)
            return
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(f"{process.args} did not end at Ctrl-C")


def witnessed(record: Path) -> frozenset[Path]:
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    return frozenset(map(Path, lines))
