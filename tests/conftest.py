"""Fixtures that the tests of several rooms use."""

import encodings.idna
import faulthandler
import gc
import signal
import socketserver as standard
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

import pytest

from manyhands import events, socketserver
from tests.support import ENGINES, Authority, shake_hands
from tests.support.waiting import PATIENCE
from tests.support.workers import WORKERS, Worker

# What `connect` loads at its first call, is loaded: where another thread forks just then, the child has that
# module's lock taken, for the interpreter renews none of these, and waits for ever when it connects itself.
assert encodings.idna

# A shell has what it runs in the background ignore Ctrl-C and Ctrl-\, and programs that the tests start would
# inherit that, though the one ends them, and the other asks for their stacks.
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Likewise `nohup`, and what a terminal that is closed does is tested too.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(params=[standard, socketserver], ids=["stdlib", "manyhands"])
def module(request: pytest.FixtureRequest) -> ModuleType:
    """The standard library's module, to prove the expectation, and ours."""
    chosen: ModuleType = request.param
    return chosen


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine."""
    name: str = request.param
    return name


@pytest.fixture(params=list(WORKERS))
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """What waits or serves: a thread, or a fiber."""
    with WORKERS[request.param]() as worker:
        yield worker


@pytest.fixture
def seen() -> Iterator[list[events.Event]]:
    """The events that were emitted in this process since the test began."""
    emitted: list[events.Event] = []
    unsubscribe = events.hub.subscribe(emitted.append)
    yield emitted
    unsubscribe()


@pytest.fixture
def _given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give handlers that take no notice of their end less time to unwind, which is waited for in vain."""
    monkeypatch.setattr("manyhands.serving.drain.UNWINDING", 0.1)
    monkeypatch.setattr("manyhands.engines.fibers.engine.UNWIND_TIME", 0.05)
    monkeypatch.setattr("manyhands.engines.fibers.engine.HUB_END_TIME", 0.1)
    monkeypatch.setattr("manyhands.serving.reaper.GRACE", 0.1)
    monkeypatch.setattr("manyhands.serving.reaper.CLOSE_NOTIFY_GRACE", 0.05)


@pytest.fixture
def _stacks_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give handlers in processes of their own time to tell where they stand, less than clients wait."""
    monkeypatch.setattr("manyhands.control.process_verbs.STACK_PATIENCE", PATIENCE / 4)
    monkeypatch.setattr("manyhands.control.connection_verbs.STACK_PATIENCE", PATIENCE / 4)


@pytest.fixture
def _no_collector() -> Iterator[None]:
    """Have only what nothing refers to any more freed, and no circle of objects."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A certificate authority for this run."""
    authority = Authority()
    # OpenSSL makes its algorithms when they are first used, and holds a lock meanwhile. The clients of tests
    # are in the process of the server: one that forks just then leaves a child that waits for it for ever.
    shake_hands(authority.server_context(), authority.client_context(), "localhost")
    return authority


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what cannot be: the standard library has no fibers to prove an expectation on."""
    impossible = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("module") is standard
        and item.callspec.params.get("engine") == "fibers"
    ]
    items[:] = [item for item in items if item not in impossible]
    config.hook.pytest_deselected(items=impossible)


def pytest_exception_interact(report: pytest.CollectReport | pytest.TestReport) -> None:
    """Tell of a test that has failed where all threads stand then: it may wait for one in vain."""
    if len(sys._current_frames()) > 1:
        with tempfile.TemporaryFile() as stacks:
            faulthandler.dump_traceback(stacks)
            stacks.seek(0)
            report.sections.append(("all threads", stacks.read().decode(errors="replace")))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Name what holds up the interpreter's end: a thread that a failed test left behind, say."""
    faulthandler.dump_traceback_later(60, exit=True, file=sys.__stderr__)
