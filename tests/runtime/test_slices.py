"""Slices of long lists, and the pauses between them."""

import time

import pytest

from manyhands.runtime.slices import PAUSE, slices


def test_all_items_come_in_slices_with_a_pause_between_two(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert list(slices([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert pauses == [PAUSE] * 2
    assert list(slices([1, 2], 2)) == [[1, 2]]
    assert list(slices([], 2)) == []
    assert len(pauses) == 2
