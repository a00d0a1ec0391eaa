"""What type checkers, and with them editors, know of the options and of the drop-in."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = Path(__file__).parent / "editor_types"

COMMANDS = {
    "mypy": (
        *("mypy", "--strict", "--config-file=", "--output=json"),
        f"--cache-dir={ROOT / '.cache' / 'mypy'}",
    ),
    "pyright": ("pyright", "--outputjson", "--pythonpath", sys.executable),
}


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start both at the same time, each once for all programs."""
    # It would ask an index whether there is a newer one.
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    checkers = {
        name: subprocess.Popen(
            [sys.executable, "-m", *command, str(PROGRAMS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name, command in COMMANDS.items()
    }
    yield checkers
    for checker in checkers.values():
        checker.kill()
        checker.communicate()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_type_checker_finds_every_mistake_and_nothing_else(
    name: str, running: dict[str, subprocess.Popen[str]]
) -> None:
    output, errors = running[name].communicate(timeout=100)
    found = _of_mypy(output) if name == "mypy" else _of_pyright(output)
    assert sorted(found) == sorted(_marked()), f"{output}{errors}"


def _of_mypy(output: str) -> set[tuple[str, int]]:
    messages = [json.loads(line) for line in output.splitlines()]
    return {
        (Path(message["file"]).name, message["line"])
        for message in messages
        if message["severity"] == "error"
    }


def _of_pyright(output: str) -> set[tuple[str, int]]:
    return {
        (Path(message["file"]).name, message["range"]["start"]["line"] + 1)
        for message in json.loads(output)["generalDiagnostics"]
        if message["severity"] == "error"
    }


def _marked() -> Iterator[tuple[str, int]]:
    """Return where the programs are wrong, as they say themselves."""
    for program in PROGRAMS.glob("*.py"):
        for number, line in enumerate(program.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"# wrong$", line):
                yield program.name, number
