"""Fixtures that several tests of commands use."""

from pathlib import Path

import pytest

from tests.support import write_handlers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules of handlers, in which the command is given."""
    write_handlers(tmp_path)
    return tmp_path
