"""The command ``python -m bench``."""

import json
import subprocess
import sys
from pathlib import Path

from bench.build import CACHE

ROOT = Path(__file__).parent.parent.parent


def bench(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


BRIEFLY = ("--seconds", "0.1", "--rounds", "2", "--only", "echo-64-1")


def test_contestants_are_measured_in_turn():
    ran = bench(*BRIEFLY, "--contestants", "epoll,asyncio-protocol")
    assert ran.returncode == 0, ran.stderr
    assert "| asyncio Protocol |" in ran.stdout
    records = json.loads((CACHE / "results.json").read_text())["records"]
    order = [(record["round"], record["contestant"]) for record in records]
    turn = ["epoll", "asyncio-protocol"]
    assert order == [(number, name) for number in (1, 2) for name in turn]


def test_a_kept_run_is_shown_again(tmp_path):
    bench(*BRIEFLY, "--contestants", "epoll")
    kept = tmp_path / "kept.json"
    kept.write_bytes((CACHE / "results.json").read_bytes())
    shown = bench("--from", str(kept))
    assert shown.returncode == 0
    assert "echo of 64 B, 1 connection" in shown.stdout


def test_a_compiler_that_is_missing_is_named_in_a_sentence(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "bench", *BRIEFLY, "--contestants", "epoll"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("the load generator is compiled when it is run, and this machine")


def test_a_name_that_is_none_is_told_with_those_that_are():
    ran = bench("--only", "echo-64-100,dance")
    assert ran.returncode == 2
    assert "there is no workload 'dance'; there are echo-64-1, echo-64-100" in ran.stderr


def test_it_lists_what_there_is():
    ran = bench("--list")
    assert "workloads: echo-64-1 echo-64-100" in ran.stdout
    assert "contestants: epoll manyhands-fibers" in ran.stdout
