"""A soak, briefly: everything at once, on each of its engines."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from soak.__main__ import ENGINES, WORKERS

from tests.support.programs import ROOT, environment


def test_a_few_seconds_of_everything_at_once() -> None:
    # One command would do. Several share the seconds for which the servers are watched at rest.
    with ThreadPoolExecutor(len(ENGINES) + 1) as at_once:
        for finished in at_once.map(soaked, (*ENGINES, WORKERS)):
            assert finished.returncode == 0, finished.stdout + finished.stderr
            assert finished.stdout.count("  ok\n") == 1


def soaked(engine: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "soak", "--minutes", "0.05", "--engines", engine],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
        timeout=100,
    )
