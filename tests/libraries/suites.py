"""The libraries' own suites: where they are, which part of them meets a server, and how they went."""

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests import in_place

_SOURCES = Path(__file__).parents[2] / ".cache" / "sources"
_PLUGINS = Path(__file__).parent / "plugins"


@dataclass(frozen=True)
class Suite:
    """The part of a library's own suite that meets a server."""

    library: str
    arguments: tuple[str, ...]
    plugin: str | None = None

    @property
    def requirement(self) -> str:
        return f"{self.library}=={version(self.library)}"


SUITES = (
    Suite(
        "pynetdicom",
        # Two tests are left out that race with themselves, on the standard library too. One calls a server
        # that may not listen yet (seen to fail once); of the other's runs on a busy machine 5 of 24 failed.
        (
            "pynetdicom/tests/test_transport.py",
            "-k",
            "(Server or TLS or Acceptor) and not split_pdu and not blocking_process_request",
        ),
        plugin="time_to_end",
    ),
    Suite("Werkzeug", ("tests/test_serving.py",), plugin="dev_server_in_place"),
    Suite("fakeredis", ("test/test_tcp_server",), plugin="redis_stand_in"),
    Suite("pyModbusTCP", ("tests",)),
    Suite("dnslib", ("--doctest-modules", "dnslib/server.py")),
    Suite("python-osc", ("pythonosc/test",)),
)


def source_of(suite: Suite) -> Path:
    """Download a library's source distribution, once, at the version that is installed."""
    folder = _SOURCES / suite.requirement
    if not list(folder.glob("*.tar.gz")):
        download = ["download", "-qq", "--no-deps", "--no-binary", suite.library, "-d", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", *download, suite.requirement], check=True)
    return next(folder.glob("*.tar.gz"))


def unpack(suite: Suite, folder: Path) -> Path:
    """Unpack a library's source, our plugin for its suite beside it; return where its suite starts."""
    with tarfile.open(source_of(suite)) as archive:
        archive.extractall(folder, filter="data")
    (home,) = folder.iterdir()
    if suite.plugin:
        shutil.copy(_PLUGINS / f"{suite.plugin}.py", home)
    return home


@contextmanager
def alone(suite: Suite) -> Iterator[None]:
    """Keep other runs of a suite on this machine waiting: most of them serve on ports of their choice."""
    lock = Path(tempfile.gettempdir()) / f"manyhands-{os.getuid()}-{suite.library}.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Outcome:
    """How each test of a suite went."""

    tests: Mapping[str, str]
    finished: in_place.Finished

    def count(self, result: str) -> int:
        return list(self.tests.values()).count(result)

    def __str__(self) -> str:
        return f"{self.count('passed')} passed, {self.count('skipped')} skipped"


def run(suite: Suite, place: in_place.Place, folder: Path) -> Outcome:
    """Run the suite in a fresh copy of its source."""
    home = unpack(suite, folder)
    plugin = ["-p", suite.plugin] if suite.plugin else []
    # pytest-asyncio is there for fakeredis' suite, and disturbs those that make warnings errors.
    asyncio = [] if suite.library == "fakeredis" else ["-p", "no:asyncio"]
    options = ["-q", "-p", "no:cacheprovider", "--timeout=60", "--junitxml=report.xml"]
    extra = {"MANYHANDS_LAUNCHER": " ".join(place.launcher)}
    finished = in_place.run(
        place,
        ["-m", "pytest", *options, *asyncio, *plugin, *suite.arguments],
        home,
        timeout=240,
        extra=extra,
    )
    return Outcome(_read(home / "report.xml"), finished)


def _read(report: Path) -> Mapping[str, str]:
    if not report.exists():
        return {}
    cases = ET.parse(report).iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}": _result(case) for case in cases}


def _result(case: ET.Element) -> str:
    kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
    return min(kinds, default="passed")
