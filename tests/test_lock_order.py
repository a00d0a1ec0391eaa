"""The library takes its locks in the order that docs/architecture.md states, on every engine.

The scenarios run in processes of their own, where each lock of the library records what else its taker holds.
What is kept by all of them is an order, so no two threads can wait for each other's locks.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lock_order.recorder import PROGRAM
from tests.support import ENGINES, Authority
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parent.parent

MADE = re.compile(
    r"""\s*(?:self\.)?(\w+)(?:: \w+)? = .*"""
    r"""(?:brief_r?lock\(|\bR?Lock\(|ReentrantLock\(|allocate_lock"\)\(|\bCondition\(\))"""
)
"""A line that makes a lock."""


class Taken(NamedTuple):
    """A lock that was taken, or the program that was called: `held` is what the thread had, if anything."""

    held: str
    kind: str
    place: str


def order_on_the_page() -> dict[str, int]:
    """Return for each kind of lock the number of its line: the names stand before the first colon."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, rest = page.partition("**The locks are taken in one order**")
    lines = re.findall(r"^(\d+)\. ([^:]+):", rest.partition("\n**")[0], re.MULTILINE)
    return {name.strip("`"): int(n) for n, names in lines for name in re.split(r",\s+", names)}


def made_in_the_source() -> Iterator[str]:
    """Name the locks that the source makes, taken or not, as the page has them."""
    package = ROOT / "src" / "manyhands"
    for file in package.rglob("*.py"):
        if file.stem in {"locks", "unpatched"} or file.parent.name == "patches":
            continue  # they make locks for the others; or stand for what the standard library has inside
        module, owner = ".".join(file.relative_to(package).with_suffix("").parts), ""
        for line in file.read_text(encoding="utf-8").splitlines():
            owner = (re.match(r"class (\w+)", line) or [owner, owner])[1]
            if made := MADE.match(line):
                yield f"{owner if line.startswith(' ') else module}.{made[1]}"


def against(order: dict[str, int], taken: Sequence[Taken]) -> Iterator[str]:
    """Describe what was not taken in the order."""
    for held, kind, place in taken:
        if held in order and kind in order and order[held] >= order[kind]:
            yield f"{place}: {kind} comes while {held} is held, which does not stand above it"


@pytest.fixture(scope="module")
def taken(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> list[Taken]:
    """What the scenarios have recorded."""
    folder = tmp_path_factory.mktemp("locks")
    certfile, keyfile = authority.write(folder, "localhost")
    with Path(certfile).open("a", encoding="ascii") as file:
        file.write(Path(keyfile).read_text(encoding="ascii"))
    scenarios = [["serve", engine, certfile] for engine in ENGINES] + [
        ["tell_other_workers"],
        ["open_a_desk", str(folder)],
    ]
    record = folder / "record"
    command = [sys.executable, "-W", "ignore", "-m", "tests.lock_order.scenarios", str(record)]
    processes = [
        subprocess.Popen(
            [*command, *scenario],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for scenario in scenarios
    ]
    try:
        for scenario, process in zip(scenarios, processes, strict=True):
            said, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, f"{scenario}: {said}"
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [Taken(*line.split("\t")) for line in record.read_text(encoding="ascii").splitlines()]


def test_the_locks_are_taken_in_the_order_of_the_page(taken: list[Taken]) -> None:
    assert not (told := "\n".join(against(order_on_the_page(), taken))), told


def test_the_page_has_every_lock_and_the_scenarios_take_each(taken: list[Taken]) -> None:
    assert {kind for _, kind, _ in taken} == set(order_on_the_page())


def test_the_page_has_every_lock_that_the_source_makes() -> None:
    assert {*made_in_the_source(), "_ThreadWaiter._lock", PROGRAM} == set(order_on_the_page())


def test_the_scenarios_take_locks_while_others_are_held(taken: list[Taken]) -> None:
    nested = {(held, kind) for held, kind, _ in taken if held}
    assert nested >= {
        ("ServeLoops.accepting", PROGRAM),
        ("ServeLoops.accepting", "Admission._lock"),
        ("FibersEngine._lock", "HubThread._lock"),
        ("TranscriptWriter._writing", "Transcript._lock"),
    }


@pytest.mark.parametrize("held", ["Registry._lock", "Admission._lock"])
def test_what_is_taken_against_the_order_is_named_with_its_place(held: str) -> None:
    wrong = Taken(held, "Admission._lock", "manyhands.somewhere:12")
    right = Taken("ThreadsEngine._lock", "Registry._lock", "manyhands.elsewhere:34")
    (told,) = against(order_on_the_page(), [right, wrong])
    assert told.startswith(f"manyhands.somewhere:12: Admission._lock comes while {held} is held")
