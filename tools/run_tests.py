"""Run every check and every test: ``python tools/run_tests.py 3.11 3.12 3.13 3.14``.

The arguments are the versions that the compatibility tests are for. Each is tested in its ``.venv-VERSION``,
that of this interpreter in its own environment; one that has none is missing from the machine, and the last
lines of the output name it. After ``--only`` nothing runs but those tests, on the versions that follow.
"""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import textwrap
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
CONTRACT = ("tests/contract", "tests/engines")

#: What differs between versions where the contract or Python's own modules do. The newest version tells of
#: all engines, and the oldest of threads, the one that needs nothing but Python; those between differ less.
ON_THE_CONTRACT = ("tests/connections", "tests/launcher", "tests/serving")

#: What goes by the kernel's word alone, on every version: whether an address is taken, for how long a peer is
#: silent. On the oldest and the newest version, too, and on the one of the main suite.
BY_THE_KERNEL = (
    "tests/listening",
    "tests/serving/test_deadlines.py",
    "tests/serving/test_expiry.py",
)

#: Processes that fork, and hand descriptors to each other: between the oldest and the newest version, too.
WORKERS = ("tests/hub", "tests/supervisor", "tests/workers")

#: Of these what is the same on each version: service managers, the kernel and our own protocols do their part
#: of it, not Python.
WORKERS_ANYWHERE = (
    "tests/hub",
    "tests/supervisor/test_container.py",
    "tests/supervisor/test_hand_over.py",
    "tests/supervisor/test_lanes.py",
    "tests/supervisor/test_reload_on_change.py",
    "tests/supervisor/test_run_tls.py",
    "tests/supervisor/test_services.py",
    "tests/supervisor/test_signals_and_logs.py",
    "tests/supervisor/test_spread_closings.py",
    "tests/supervisor/test_upgrade.py",
    "tests/supervisor/test_upgrade_addresses.py",
    "tests/workers/test_file_watch.py",
)

#: Leaves out what tests do on the other engines.
ON_THREADS = ("-k", "not fibers and not processes")

#: The suites of others, on our servers; they have steps of their own.
OF_OTHERS = ("tests/cpython", "tests/libraries")

#: What tells most of a version is how the libraries' servers do on ours. Their own suites, on three engines,
#: run on the newest version.
OF_LIBRARIES_ANYWHERE = ("tests/libraries/test_their_suites.py",)

#: Programs, most of them started for each test anew, and what operators see: most of the time that our own
#: tests take on one version, in steps that fill the lanes.
PROGRAMS = (
    ("tests/bench", "tests/cli", "tests/examples"),
    ("tests/desk", "tests/soak"),
    ("tests/console", "tests/control", "tests/web"),
)

#: After this many seconds a step hangs: the longest takes up to eleven minutes, with four others beside it on
#: two slow cores.
PATIENCE = 15 * 60

#: Characters of what a failed test said that are shown once more at the end.
MOST_OF_A_FAILURE = 1500

#: Steps that run at the same time. Each of them waits for more than half of its time, so that fewer would
#: leave two processors idle.
LANES = 5

IS_CI = os.environ.get("CI") == "true"


@dataclass
class Step:
    """One command, and how it went."""

    name: str
    command: Sequence[str]
    status: int = 1
    seconds: float = 0
    busy: float = 0
    counts: Counter[str] = field(default_factory=Counter)
    figures: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

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
            self.status, self.busy = wait_or_end(process.pid)
            process.returncode = self.status
        self.seconds = time.monotonic() - started
        self._read_report()
        say(f"\n== {self.name}\n{log.read_text(errors='replace').rstrip()}")

    def _read_report(self) -> None:
        report = self.record.with_suffix(".xml")
        if report.exists():
            cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it for us
            self.failures = [said for case in cases if (said := _failure(case))]
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
        return f"{verdict:<7} {self.name:<45} {self.seconds:4.0f} s, busy for {self.busy:3.0f}  {counts}"


def wait_or_end(pid: int) -> tuple[int, float]:
    """Wait for a step; one that hangs says where, in pytest's words, and is ended.

    Returns
    -------
    int, float
        Its exit status, and the seconds of processor time of it and of all that it has waited for.
    """
    ended = os.pidfd_open(pid)
    for patience, number in ((PATIENCE, signal.SIGABRT), (10, signal.SIGKILL)):
        if select.select([ended], [], [], patience)[0]:
            break
        signal.pidfd_send_signal(ended, number)
    _, status, used = os.wait4(pid, 0)
    os.close(ended)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def _result(case: ET.Element) -> str:
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "passed"


def _failure(case: ET.Element) -> str:
    """Return how a test has failed, with the end of what it said of that; nothing where it has not."""
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            # The error itself, which pytest marks; the report has its beginning alone besides.
            lines = re.findall(r"^E(?: .*)?$", found.text or "", re.MULTILINE)
            said = "\n".join(lines)[-MOST_OF_A_FAILURE:] or found.get("message", "")
            return f"{case.get('classname')}::{case.get('name')}\n{textwrap.indent(said, '    ')}"
    return ""


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


def contract(pythons: Iterable[Path]) -> list[Step]:
    """Make the steps for what runs on every version."""
    return [pytest(each, "contract", *CONTRACT) for each in pythons]


def by_engines(
    pythons: Sequence[Path], name: str, folders: Sequence[str], same: Sequence[str], *ignored: str
) -> list[Step]:
    """Make the steps for some folders: on the last version with all engines, else with threads.

    What is the same on each version runs on the last one, in a step of its own; what is ignored runs
    elsewhere.
    """
    # pytest ignores nothing that it is given by name.
    others = [each for each in folders if each not in same]
    elsewhere = _ignoring([*ignored, *same])
    return [
        *(pytest(each, name, *others, *elsewhere) for each in pythons[-1:]),
        *(pytest(each, f"{name} anywhere", *same) for each in pythons[-1:] if same),
        *(
            pytest(each, f"{name} on threads", *others, *elsewhere, *ON_THREADS)
            for each in pythons[:-1]
        ),
    ]


def _ignoring(paths: Iterable[str]) -> list[str]:
    return [f"--ignore={path}" for path in paths]


def of_workers(pythons: Sequence[Path]) -> list[Step]:
    """Make the steps for servers with workers."""
    return by_engines(pythons, "workers", WORKERS, WORKERS_ANYWHERE)


def on_the_contract(pythons: Sequence[Path]) -> list[Step]:
    """Make the steps for what rests on the contract."""
    return by_engines(pythons, "on the contract", ON_THE_CONTRACT, (), *BY_THE_KERNEL)


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
    elsewhere = (
        *CONTRACT,
        *ON_THE_CONTRACT,
        *BY_THE_KERNEL,
        *WORKERS,
        *OF_OTHERS,
        *chain(*PROGRAMS),
    )
    return pytest(python, "tests", "tests", *_ignoring(elsewhere))


def of_others(folder: str, pythons: Iterable[Path], ignored: Iterable[str] = ()) -> list[Step]:
    """Make the steps for a suite of others on each interpreter."""
    return [pytest(python, folder, folder, *_ignoring(ignored)) for python in pythons]


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
    # Once more, for the end is what is looked at first, and is kept longest.
    for step in steps:
        for failure in step.failures:
            say(f"\nfailed in {step.name}: {failure}")
    total = sum((step.counts for step in steps), Counter(passed=0, failed=0, skipped=0))
    say(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return int(any(step.status for step in steps))


def everything_on(python: Path, others: Sequence[Path]) -> list[Step]:
    """Make the steps for our own tests: all on one interpreter, on others what has to be the same."""
    oldest_and_newest = ends(others) or [python]
    # The longest first, so that no lane has one left when the others are done.
    return [
        *of_workers(oldest_and_newest),
        *on_the_contract(oldest_and_newest),
        *programs(python),
        the_rest(python),
        *contract(with_main(others, python)),
        in_plain_python(python),
        *checks(python.parent),
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
    own = "{}.{}".format(*sys.version_info)
    pythons = {
        version: python if version == own else Path(f".venv-{version}/bin/python").absolute()
        for version in versions
    }
    pythons = {version: path for version, path in pythons.items() if path.exists()}
    tested = [path for path in pythons.values() if IS_CI or has_cpythons_tests(path)]

    in_order = list(pythons.values())
    at_the_ends = ends(in_order)
    if is_only:
        ours = [*of_workers(in_order), *on_the_contract(in_order), *contract(in_order)]
        waiting = by_the_kernel(at_the_ends)
    else:
        ours = everything_on(python, in_order)
        waiting = by_the_kernel(with_main(at_the_ends, python))
    # What a library does with our servers differs from one version to the next by what went out of Python or
    # came into it since, so the newest and the oldest tell of the versions between.
    libraries = of_others("tests/libraries", at_the_ends[-1:])
    libraries += of_others("tests/libraries", at_the_ends[:-1], OF_LIBRARIES_ANYWHERE)
    # These do little else than wait, so they have a lane to themselves.
    waiting += of_others("tests/cpython", tested)
    # Some suites of libraries listen on ports of their own choice, so they run in turn. A lane that has come
    # to the end of these, or of those that wait, helps with ours.
    queue = deque(ours)
    alone = [deque(waiting), deque(libraries)]
    with ThreadPoolExecutor(LANES) as beside_each_other:
        lanes = [
            beside_each_other.submit(run_in_turn, steps) for steps in [*alone, *[queue] * LANES]
        ]
        for lane in lanes:
            lane.result()
    plain = uncompiled(pythons)
    status = summary([*ours, *waiting, *libraries], [*left_out(versions, pythons), *plain])
    return int(bool(status or (IS_CI and plain)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
