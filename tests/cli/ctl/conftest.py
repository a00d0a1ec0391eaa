"""A server that answers what the test says, and `manyhands ctl` that asks it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from manyhands.cli import main
from tests.control.kit import Script, Verb, answering, served


class Ctl:
    """`manyhands ctl`, carried out in this process, with a server that answers by functions."""

    def __init__(self, folder: Path, stack: ExitStack, capsys: pytest.CaptureFixture[str]) -> None:
        self._stack = stack
        self._capsys = capsys
        self.place = f"{folder}/a.sock"
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """The verbs that the server was asked for, and their parameters."""

        self.errors = ""
        """What the last command said on standard error."""

    def answer(self, verbs: Mapping[str, object]) -> None:
        """Have a server answer verbs with results, or with what functions of their parameters return."""
        self.serve(answering({name: self._noting(name, each) for name, each in verbs.items()}))

    def answer_next(self, verbs: Mapping[str, object]) -> None:
        """Have another server answer in the place of the one that there is."""
        Path(self.place).unlink()
        self.answer(verbs)

    def serve(self, script: Script) -> None:
        self._stack.enter_context(served(self.place, script))

    def _noting(self, name: str, answer: object) -> Verb:
        def verb(params: dict[str, Any]) -> object:
            self.asked.append((name, params))
            return answer(params) if callable(answer) else answer

        return verb

    def says(self, *words: str, status: int = 0) -> str:
        """Carry a command line out; return what it printed. It must end with `status`."""
        ended = main(["ctl", "--control", self.place, *words])
        printed = self._capsys.readouterr()
        self.errors = printed.err
        assert ended == status, printed.err
        assert (printed.err == "") is (status == 0) or status == 1
        return printed.out

    def says_json(self, *words: str) -> Any:
        """Carry a command line out with --json; return what it printed, one document on one line."""
        [line] = self.says(*words, "--json").splitlines()
        return json.loads(line)

    def is_refused(self, *words: str) -> str:
        """Return the sentence with which a command line is refused as a mistake."""
        assert self.says(*words, status=2) == ""
        assert self.errors.startswith("manyhands: ")
        assert self.errors.count("\n") == 1
        return self.errors.removeprefix("manyhands: ").rstrip("\n")


@pytest.fixture
def ctl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Ctl]:
    with ExitStack() as stack:
        yield Ctl(tmp_path, stack, capsys)
