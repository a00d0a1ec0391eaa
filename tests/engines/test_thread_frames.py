"""Asking where threads stand freezes no process, and leaves the collector as it was. On every version."""

import ast
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from manyhands.runtime import thread_frames
from manyhands.runtime.thread_frames import current_frames
from tests.support.waiting import PATIENCE

SOURCE = Path(thread_frames.__file__).parent.parent

STORM = """
import gc, sys, threading, time
from manyhands.runtime import thread_frames
from manyhands.runtime.thread_frames import current_frames

thread_frames.MAY_FREEZE = True
sys.setswitchinterval(1e-6)

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

def look_at_the_collector():
    while True:
        if not gc.isenabled():
            print("another thread finds the collector off")
            return

for _ in range(20):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
threading.Thread(target=look_at_the_collector, daemon=True).start()
threading.Thread(target=begin_and_end_threads, daemon=True).start()
gc.set_threshold(3)
for _ in range(500):
    Garbage(), Garbage()
    assert threading.main_thread().ident in current_frames(sys._current_frames)
gc.set_threshold(700)
for _ in range(5_000):
    current_frames(sys._current_frames)
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
    assert cast("Any", current_frames)(gc.isenabled) is False
    assert gc.isenabled() is is_on


@pytest.mark.usefixtures("_with_the_fault")
def test_the_collector_goes_on_after_a_failure() -> None:
    fails: Any = {}.popitem
    with pytest.raises(KeyError):
        current_frames(fails)
    assert gc.isenabled()


@pytest.mark.usefixtures("_with_the_fault")
def test_a_function_in_python_is_called_as_it_is() -> None:
    # Other threads run meanwhile, and would find the collector off.
    asked: Any = lambda: gc.isenabled()  # noqa: E731, PLW0108 - one in Python
    assert cast("Any", current_frames)(asked) is True


def unguarded(source: str) -> list[int]:
    """Return the lines on which the frames of threads are asked for without the guard."""
    tree = ast.parse(source)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and "_current_frames" in ast.unparse(node.value):
            names |= {ast.unparse(target) for target in node.targets}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) in names
            or ast.unparse(node.func).endswith(("._current_frames", "'_current_frames')"))
        )
    ]


def test_frames_are_asked_for_under_the_guard_alone() -> None:
    alias = "_of = original(sys, '_current_frames')\n"
    asked = f"sys._current_frames()\n{alias}_of()\noriginal(sys, '_current_frames')()"
    assert unguarded(asked) == [1, 3, 4]
    assert unguarded(f"{alias}current_frames(_of)") == []
    found = {path: unguarded(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
    assert {path.name: lines for path, lines in found.items() if lines} == {}
