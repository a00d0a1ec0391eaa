"""What is fuzzed for an hour is tried here for a moment: whether it still fits the library."""

import contextlib
import random
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.programs import ROOT

INPUTS = 300


class Provider:
    """Makes of bytes what a harness asks for, as `atheris.FuzzedDataProvider` does."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def ConsumeBytes(self, count: int) -> bytes:  # noqa: N802 - atheris' name, as the others are
        """Return so many bytes, or all that are left."""
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def ConsumeIntInRange(self, lowest: int, highest: int) -> int:  # noqa: N802
        """Return a number between these, and them."""
        count = (highest - lowest).bit_length() // 8 + 1
        return lowest + int.from_bytes(self.ConsumeBytes(count)) % (highest - lowest + 1)

    def ConsumeBool(self) -> bool:  # noqa: N802
        """Return either."""
        return bool(self.ConsumeIntInRange(0, 1))

    def ConsumeUnicode(self, count: int) -> str:  # noqa: N802
        """Return so many characters of any kind."""
        return "".join(chr(self.ConsumeIntInRange(0, sys.maxunicode)) for _ in range(count))

    def PickValueInList(self, values: Sequence[Any]) -> Any:  # noqa: N802
        """Return one of these."""
        return values[self.ConsumeIntInRange(0, len(values) - 1)]

    def remaining_bytes(self) -> int:
        """Return how many bytes are left."""
        return len(self._left)


class Atheris(ModuleType):
    """Stands for the fuzzer, which guides and needs a compiler: the tests have neither."""

    FuzzedDataProvider = Provider

    @staticmethod
    def instrument_imports(include: Sequence[str] = ()) -> contextlib.AbstractContextManager[None]:
        """Instrument nothing."""
        return contextlib.nullcontext()


@pytest.mark.parametrize(
    "harness", sorted((ROOT / "fuzz").glob("*.py")), ids=lambda path: path.stem
)
def test_a_harness_tries_the_library_as_it_is(
    harness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", Atheris("atheris"))
    try_one_input = runpy.run_path(str(harness))["test_one_input"]
    dice = random.Random(5)
    for _ in range(INPUTS):
        try_one_input(dice.randbytes(dice.randint(0, 200)))
