"""Asking where threads stand freezes no process, and leaves the collector as it was. On every version."""

import ast
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from manyhands.runtime import thread_frames
from manyhands.runtime.thread_frames import current_frames
from tests.support.waiting import PATIENCE

SOURCE = Path(thread_frames.__file__).parent.parent

STORM = """
import gc, sys, threading, time
from manyhands.runtime.thread_frames import current_frames

class Garbage:
    def __init__(self):
        self.circle = self

    def __del__(self):
        time.sleep(0.0001)  # others run

def begin_and_end_threads():
    while True:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

for _ in range(20):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
threading.Thread(target=begin_and_end_threads, daemon=True).start()
gc.set_threshold(3)
for _ in range(500):
    Garbage(), Garbage()
    assert threading.main_thread().ident in current_frames(sys._current_frames)
print(gc.isenabled())
"""
"""Without the guard, a process on Python before 3.11.9 stands still after some twenty looks."""


def test_a_process_with_garbage_and_threads_that_come_and_go_does_not_freeze() -> None:
    command = [sys.executable, "-c", STORM]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.stderr) == (b"True\n", b"")


@pytest.fixture
def _with_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_frames, "MAY_FREEZE", True)


@pytest.fixture(params=[True, False], ids=["on", "off"])
def is_on(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the program has its garbage collected."""
    if not request.param:
        gc.disable()
    yield request.param
    gc.enable()


@pytest.mark.usefixtures("_with_the_fault")
def test_nothing_is_collected_meanwhile_and_afterwards_as_before(is_on: bool) -> None:
    meanwhile: list[bool] = []

    def ask() -> dict[int, FrameType]:
        meanwhile.append(gc.isenabled())
        return {}

    assert current_frames(ask) == {}
    assert meanwhile == [False]
    assert gc.isenabled() is is_on


@pytest.mark.usefixtures("_with_the_fault")
def test_the_collector_goes_on_after_a_failure() -> None:
    def ask() -> dict[int, FrameType]:
        raise MemoryError

    with pytest.raises(MemoryError):
        current_frames(ask)
    assert gc.isenabled()


def unguarded(source: str) -> list[int]:
    """Return the lines on which the frames of threads are asked for without the guard."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("_current_frames", "_current_frames')"))
    ]


def test_frames_are_asked_for_under_the_guard_alone() -> None:
    assert unguarded("sys._current_frames()\noriginal(sys, '_current_frames')()") == [1, 2]
    found = {path: unguarded(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
    assert {path.name: lines for path, lines in found.items() if lines} == {}
