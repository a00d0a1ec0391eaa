"""What all tests of dealing have in common."""

import pytest

from manyhands.dealing import child_side, notices
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no test depend on the load of the machine: those about the time that is waited say how long."""
    monkeypatch.setattr(child_side, "ANSWERS_WITHIN", PATIENCE)
    monkeypatch.setattr(notices, "ATTACHES_WITHIN", PATIENCE)
