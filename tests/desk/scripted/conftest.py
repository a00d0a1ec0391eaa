"""A desk whose operator is a script on standard input."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk.kit import ENGINES, Desk


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """What calls are served in."""
    name: str = request.param
    return name


@pytest.fixture
def desk(tmp_path: Path, engine: str) -> Iterator[Desk]:
    with Desk(tmp_path, "--engine", engine) as desk:
        yield desk
