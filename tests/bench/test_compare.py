"""Two contestants by turns, and what is made of their ratios."""

import argparse
import random
from dataclasses import replace

import pytest
from bench.compare import SERVERS, by_turns, compared, contestant
from bench.contestants import CONTESTANTS
from bench.workloads import WORKLOADS, Effort

BRIEF = Effort(warmup=0, seconds=0.03, patience=20, crowd_share=0.001)


def test_the_interval_of_a_median_is_narrower_than_the_values_lie_apart_and_holds_it():
    chance = random.Random(7)
    ratios = [chance.gauss(1.05, 0.05) for _ in range(60)]
    found = compared(ratios)
    assert found.least < found.median < found.greatest
    assert 1.02 < found.least < 1.05 < found.greatest < 1.08
    assert str(compared([1.25] * 5)) == "1.250 (1.250–1.250)"


@pytest.mark.parametrize("workload", ["churn-32", "tell-500"])
def test_each_round_measures_both(workload):
    pair = (CONTESTANTS["epoll"], CONTESTANTS["manyhands-threads"])
    told = []
    measured = by_turns(
        pair, WORKLOADS[workload], BRIEF, SERVERS + 1, lambda *each: told.append(each)
    )
    assert [number for number, _ in told] == [1, 2, 3, 4]
    assert all(ours > 0 and theirs > 0 for ours, theirs in measured)


def test_another_version_is_run_from_its_own_tree(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "manyhands.py").write_text("raise SystemExit('the other version')")
    other = contestant(f"manyhands-threads@{tmp_path}")
    assert other == replace(
        CONTESTANTS["manyhands-threads"],
        tree=str(tmp_path),
        title=f"manyhands on threads of {tmp_path}",
    )
    with pytest.raises(Exception, match="does not listen; it wrote: the other version"):
        by_turns((other, other), WORKLOADS["echo-64-1"], BRIEF, 1)


def test_a_contestant_that_is_none_is_told_with_those_that_are():
    with pytest.raises(argparse.ArgumentTypeError, match="there is no contestant 'nobody'"):
        contestant("nobody")
