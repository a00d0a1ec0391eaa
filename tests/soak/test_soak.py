"""A soak, briefly: everything at once, on both engines."""

import subprocess
import sys

from tests.support.programs import ROOT, environment


def test_a_few_seconds_of_everything_at_once() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "soak", "--minutes", "0.05"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
        timeout=100,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("  ok\n") == 2
