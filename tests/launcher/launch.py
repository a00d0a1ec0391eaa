"""Start real programs under `manyhands run`, and as they are."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import manyhands

#: The folder that the package is in.
HOME = Path(manyhands.__file__).parents[1]

#: What stands between the interpreter and the program.
RUN = ("-m", "manyhands", "run")


@dataclass(frozen=True)
class Finished:
    status: int
    output: str
    errors: str


def environment(*path: str | Path, **extra: str) -> dict[str, str]:
    """Extend the environment, with the package's folder and then others as PYTHONPATH."""
    # Unbuffered anyway, `-u` could be lost on the way and no test would see.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**inherited, **extra, "PYTHONPATH": os.pathsep.join(map(str, (HOME, *path)))}


def python(
    *words: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    interpreter: str | Path = sys.executable,
    stdin: str = "",
) -> Finished:
    """Run the interpreter to its end."""
    process = subprocess.run(
        [str(interpreter), *map(str, words)],
        cwd=cwd,
        env=environment() if env is None else env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Finished(process.returncode, process.stdout, process.stderr)


def write(path: Path, source: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path
