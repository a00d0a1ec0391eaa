"""Run every check and every test: ``python tools/run_tests.py 3.11 3.12 3.13 3.14``.

The arguments are the versions that the compatibility tests are for. Each is tested in its ``.venv-VERSION``;
one that has none is missing from the machine, and the last lines of the output name it. After ``--only``
nothing runs but those tests, on the versions that follow.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

RECORDS = Path(".cache/records")

#: What ours must do on every version; the rest of the suite runs on one.
CONTRACT = (
    "tests/contract",
    "tests/connections",
    "tests/engines",
    "tests/launcher",
    "tests/serving",
)

#: What goes by the kernel's word alone, on every version: whether an address is taken, for how long a peer is
#: silent. The oldest and the newest version tell of those between.
BY_THE_KERNEL = (
    "tests/listening",
    "tests/serving/test_deadlines.py",
    "tests/serving/test_expiry.py",
)

#: The suites of others, on our servers; they have steps of their own.
OF_OTHERS = ("tests/cpython", "tests/libraries")

#: Programs, most of them started for each test anew, and what operators see: most of the time that our own
#: tests take on one version, in steps that fill the lanes.
PROGRAMS = (
    ("tests/bench", "tests/cli", "tests/examples"),
    ("tests/desk", "tests/soak"),
    ("tests/console", "tests/control", "tests/web"),
)

#: After this many seconds a step hangs: the longest takes about six minutes on two slow cores.
PATIENCE = 15 * 60

#: Steps that run at the same time, beside those that only wait.
LANES = 3

IS_CI = os.environ.get("CI") == "true"


@dataclass
class Step:
    """One command, and how it went."""

    name: str
    command: Sequence[str]
    status: int = 1
    seconds: float = 0
    counts: Counter[str] = field(default_factory=Counter)
    figures: list[str] = field(default_factory=list)

    @property
    def record(self) -> Path:
        """The files that the step leaves, without their suffix."""
        return RECORDS / re.sub(r"\W+", "-", self.name)

    def run(self) -> None:
        """Run the command, then show what it wrote; a step that runs beside it must not mix with that."""
        started = time.monotonic()
        log = self.record.with_suffix(".log")
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - the commands are those below
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self.status = wait_or_end(process)
        self.seconds = time.monotonic() - started
        self._read_report()
        say(f"\n== {self.name}\n{log.read_text(errors='replace').rstrip()}")

    def _read_report(self) -> None:
        report = self.record.with_suffix(".xml")
        if report.exists():
            cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it for us
            self.counts = Counter(map(_result, cases))
            self.figures = [
                figure.get("value", "")
                for case in cases
                for figure in case.iterfind("properties/property")
            ]
        if self.status and not self.counts["failed"]:
            self.counts["failed"] = 1

    def __str__(self) -> str:
        counts = ", ".join(
            f"{count} {result}" for result, count in sorted(self.counts.items(), reverse=True)
        )
        verdict = "FAILED" if self.status else "ok"
        return f"{verdict:<7} {self.name:<38} {self.seconds:4.0f} s  {counts}"


def wait_or_end(process: subprocess.Popen[bytes]) -> int:
    """Wait for a step; one that hangs says where, in pytest's words, and is ended."""
    for patience, number in ((PATIENCE, signal.SIGABRT), (10, signal.SIGKILL)):
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
    return process.wait()


def _result(case: ET.Element) -> str:
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "passed"


def pytest(python: Path, name: str, *arguments: str) -> Step:
    """Make the step that runs pytest with an interpreter."""
    step = Step(f"{name} on Python {version_of(python)}", [])
    # A test's figures go into the report of this family only; pytest-asyncio is there for fakeredis' suite.
    options = ["-q", "-o", "junit_family=legacy", "-p", "no:asyncio"]
    report = f"--junitxml={step.record.with_suffix('.xml')}"
    step.command = [str(python), "-m", "pytest", *options, report, *arguments]
    return step


def ask(python: Path, question: str) -> str:
    """Evaluate an expression in another interpreter."""
    program = f"import importlib.util, platform; print({question})"
    answer = subprocess.check_output([python, "-I", "-c", program], text=True)  # noqa: S603 - a venv's
    return answer.strip()


def version_of(python: Path) -> str:
    """Ask an interpreter for its version, such as 3.12.1."""
    return ask(python, "platform.python_version()")


def has_cpythons_tests(python: Path) -> bool:
    """Say whether an interpreter came with its own tests, which Debian keeps in another package."""
    # Debian's own package `test` is there, but nearly empty.
    return ask(python, "importlib.util.find_spec('test.test_socketserver') is not None") == "True"


def has_compiled_fibers(python: Path) -> bool:
    """Say whether an environment has the compiled half of the fiber engine."""
    # Not only whether it is there: one that was left from other sources is not used.
    compiled = "importlib.import_module('manyhands.engines.fibers.poller').IS_COMPILED"
    return ask(python, compiled) == "True"


def checks(bin_folder: Path) -> list[Step]:
    """Make the steps that read the code."""
    return [
        Step("ruff check", [str(bin_folder / "ruff"), "check"]),
        Step("ruff format", [str(bin_folder / "ruff"), "format", "--check"]),
        Step("mypy --strict", [str(bin_folder / "mypy")]),
    ]


def in_plain_python(python: Path) -> Step:
    """Make the step for the half of the fiber engine that runs where nothing could be compiled."""
    folders = [
        "tests/engines/fibers",
        "tests/serving/test_fibers.py",
        "tests/launcher/test_on_fibers.py",
    ]
    step = pytest(python, "fibers in plain Python", *folders)
    step.command = ["env", "MANYHANDS_PURE_PYTHON=1", *step.command]
    return step


def contract(pythons: Sequence[Path]) -> list[Step]:
    """Make the steps for what runs on every version."""
    ignored = [f"--ignore={path}" for path in BY_THE_KERNEL]
    return [pytest(each, "contract", *CONTRACT, *ignored) for each in pythons]


def by_the_kernel(pythons: Sequence[Path]) -> list[Step]:
    """Make the steps for what the kernel decides."""
    return [pytest(each, "by the kernel", *BY_THE_KERNEL) for each in pythons]


def with_main(pythons: Iterable[Path], main: Path) -> list[Path]:
    """Return the interpreter of the main suite, and those of other versions."""
    return [main, *(python for python in pythons if version_of(python) != version_of(main))]


def ends(pythons: Sequence[Path]) -> list[Path]:
    """Return the interpreters of the oldest and the newest version, which may be the same."""
    return list(dict.fromkeys([*pythons[:1], *pythons[-1:]]))


def programs(python: Path) -> list[Step]:
    """Make the steps for the programs."""
    return [
        pytest(python, " ".join(Path(folder).name for folder in folders), *folders)
        for folders in PROGRAMS
    ]


def the_rest(python: Path) -> Step:
    """Make the step for all tests that are in no other."""
    elsewhere = (*CONTRACT, *BY_THE_KERNEL, *OF_OTHERS, *chain(*PROGRAMS))
    return pytest(python, "tests", "tests", *(f"--ignore={folder}" for folder in elsewhere))


def of_others(folder: str, pythons: Iterable[Path]) -> list[Step]:
    """Make the steps for a suite of others on each interpreter."""
    return [pytest(python, folder, folder) for python in pythons]


def run_in_turn(steps: deque[Step]) -> None:
    """Run one step after the other, whatever becomes of them; threads may share the steps."""
    while steps:
        try:
            step = steps.popleft()
        except IndexError:  # another thread has taken the last one
            return
        say(f"running {step.name}")
        step.run()


def say(text: str) -> None:
    """Write a line now, not when a buffer is full."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def left_out(versions: Iterable[str], pythons: dict[str, Path]) -> list[str]:
    """Name what this machine cannot test."""
    missing = [
        f"Python {version}: this machine has none"
        + (f" (make test-next NEXT={version} brings it)" if shutil.which("apt-get") else "")
        for version in versions
        if version not in pythons
    ]
    untested = [
        f"tests/cpython on Python {version}: it came without its own tests "
        f"(apt-get install libpython{version}-testsuite)"
        for version, python in pythons.items()
        if not has_cpythons_tests(python)
    ]
    return missing + untested


def uncompiled(pythons: dict[str, Path]) -> list[str]:
    """Name the versions on which the fiber engine was tested in plain Python alone."""
    return [
        f"the compiled half of the fiber engine on Python {version}: it could not be built "
        f"(apt-get install gcc libpython{version}-dev)"
        for version, python in pythons.items()
        if not has_compiled_fibers(python)
    ]


def summary(steps: Sequence[Step], missing: Sequence[str]) -> int:
    """Say in the last lines what ran on what; return the exit status."""
    say("\n== what ran on what")
    for step in steps:
        say(str(step))
        for figure in step.figures:
            say(f"{'':<10}{figure}")
    for name in missing:
        say(f"missing {name}")
    total = sum((step.counts for step in steps), Counter(passed=0, failed=0, skipped=0))
    say(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return int(any(step.status for step in steps))


def everything_on(python: Path, others: Sequence[Path]) -> list[Step]:
    """Make the steps for our own tests: all on one interpreter, on others what has to be the same."""
    # The longest first, so that no lane has one left when the others are done.
    return [
        *contract(with_main(others, python)),
        *programs(python),
        the_rest(python),
        in_plain_python(python),
    ]


def main(arguments: Sequence[str]) -> int:
    """Run all steps; return the exit status."""
    # A shell starts background jobs with SIGINT ignored, and so would be every program under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Hundreds of tests start an interpreter, and each would compile the library anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    RECORDS.mkdir(parents=True, exist_ok=True)
    for old in RECORDS.iterdir():
        old.unlink()
    python = Path(sys.executable)
    is_only = list(arguments[:1]) == ["--only"]
    versions = arguments[is_only:]
    pythons = {version: Path(f".venv-{version}/bin/python") for version in versions}
    pythons = {version: path.absolute() for version, path in pythons.items() if path.exists()}
    tested = [path for path in pythons.values() if IS_CI or has_cpythons_tests(path)]

    in_order = list(pythons.values())
    at_the_ends = ends(in_order)
    if is_only:
        first, ours = [], contract(in_order)
        waiting = by_the_kernel(at_the_ends)
    else:
        first, ours = checks(python.parent), everything_on(python, in_order)
        waiting = by_the_kernel(with_main(at_the_ends, python))
    # What a library does with our servers differs from one version to the next by what went out of Python or
    # came into it since, so the oldest and the newest tell of the versions between.
    libraries = of_others("tests/libraries", at_the_ends)
    # These do little else than wait, so they have a lane to themselves.
    waiting += of_others("tests/cpython", tested)
    run_in_turn(deque(first))
    # Three lanes for two processors, since every suite also waits. Some suites of libraries listen on ports
    # of their own choice: one lane runs them in turn, and then helps with ours.
    queue = deque(ours)
    alone = [deque(waiting), deque(libraries)]
    with ThreadPoolExecutor(1 + LANES) as beside_each_other:
        lanes = [
            beside_each_other.submit(run_in_turn, steps) for steps in [*alone, *[queue] * LANES]
        ]
        for lane in lanes:
            lane.result()
    plain = uncompiled(pythons)
    status = summary([*first, *ours, *waiting, *libraries], [*left_out(versions, pythons), *plain])
    return int(bool(status or (IS_CI and plain)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
