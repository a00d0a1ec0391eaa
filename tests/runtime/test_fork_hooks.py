"""What is about the original begins anew in a forked copy of the process."""

import gc
import os
from typing import Any

import pytest

from manyhands.runtime.fork_hooks import renew_in_copies

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Thing:
    """Counts how often it began anew."""

    def __init__(self) -> None:
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1


def in_a_copy(question: Any) -> bool:
    """Ask a question in a forked copy; it may answer yes or no."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if question() else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_a_thing_begins_anew_in_the_copy_and_there_alone() -> None:
    things = [Thing(), Thing()]
    for thing in things:
        renew_in_copies(thing, Thing.renew)
    assert in_a_copy(lambda: [thing.renewed for thing in things] == [1, 1])
    assert [thing.renewed for thing in things] == [0, 0]


def test_a_thing_that_is_gone_is_not_held() -> None:
    gone: list[Any] = []

    class Mortal(Thing):
        def __del__(self) -> None:
            gone.append(self.renewed)

    renew_in_copies(Mortal(), Thing.renew)
    gc.collect()
    assert gone == [0]


def test_what_one_thing_raises_keeps_no_other_from_beginning_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Thing) -> None:
        raise RuntimeError("not today")

    raised: list[BaseException] = []
    monkeypatch.setattr("sys.excepthook", lambda _kind, error, _traceback: raised.append(error))
    first, second = Thing(), Thing()
    renew_in_copies(first, refuse)
    renew_in_copies(second, Thing.renew)
    assert in_a_copy(lambda: second.renewed == 1 and str(raised[0]) == "not today")
