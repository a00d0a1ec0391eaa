"""What the tests of rules share."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def often_switching() -> Iterator[None]:
    """Have the interpreter switch threads a thousand times as often, to find what a switch breaks."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 1000)
    yield
    sys.setswitchinterval(before)
