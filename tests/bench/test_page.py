"""What a run's page says: verdicts, noise, and missing contestants."""

import json
import subprocess
import sys

import pytest
from bench.contestants import CONTESTANTS
from bench.page import page
from bench.tables import number, table
from bench.targets import TARGETS, Target
from bench.workloads import WORKLOADS

from bench import noise, report


def record(contestant, workload="echo-64-100", number=1, fault=None, **figures):
    figures = {"load_share": 0.5, "others_share": 0.0, **figures}
    return {
        "round": number,
        "workload": workload,
        "contestant": contestant,
        "figures": None if fault else figures,
        "fault": fault,
    }


def a_run(records, missing=None):
    return {
        "settings": {"rounds": 1, "warmup": 0.5, "seconds": 2, "crowd_share": 1},
        "machine": {"processor": "Z80"},
        "versions": {"gevent": "gevent 26"},
        "workloads": ["echo-64-100", "lines-100"],
        "contestants": ["epoll", "uvloop-protocol"],
        "missing": missing or {},
        "records": records,
    }


@pytest.fixture(scope="module")
def quiet():
    return [record("epoll", cpu_us=6.0), record("uvloop-protocol", cpu_us=9.0)]


def write(run, docs):
    """Write the documentation in a process of its own: what draws leaves threads behind."""
    (docs / "run.json").write_text(report.dump(run))
    program = (
        "import sys; from pathlib import Path; from bench import report; docs = Path(sys.argv[1]); "
        "report.write(report.read(docs / 'run.json'), docs)"
    )
    subprocess.run([sys.executable, "-c", program, docs], check=True, timeout=60)


def test_a_target_is_reached_or_missed_by_so_much():
    target = Target(
        "CPU", "echo-64-100", "cpu_us", 1.4, contestant="uvloop-protocol", against="epoll"
    )
    for ours, verdict in ((8.4, "reached"), (8.3, "reached"), (12.6, "missed by 50%")):
        records = [record("epoll", cpu_us=6.0), record("uvloop-protocol", cpu_us=ours)]
        assert target.verdict(records) == verdict


def test_at_least_is_missed_from_below():
    target = Target("rate", "echo-64-100", "per_second", 100, contestant="epoll", sense="at least")
    assert target.verdict([record("epoll", per_second=80)]) == "missed by 20%"
    assert target.verdict([record("epoll", per_second=100)]) == "reached"


def test_of_what_must_never_happen_the_worst_round_counts():
    target = Target("max", "echo-64-100", "max", 10, contestant="epoll", worst=True)
    records = [record("epoll", number=i, max=value) for i, value in enumerate((1, 1, 20))]
    assert target.verdict(records) == "missed by 100%"


def test_what_was_not_measured_is_neither_reached_nor_missed():
    assert {target.verdict([]) for target in TARGETS} == {"not measured"}


def test_targets_speak_of_what_there_is():
    for target in TARGETS:
        workload = WORKLOADS[target.workload]
        assert workload.service_of(CONTESTANTS[target.contestant])
        assert target.against is None or workload.service_of(CONTESTANTS[target.against])


def test_a_quiet_run_says_so(quiet):
    assert noise.complaints(quiet, ["echo-64-100"]) == []
    assert "The run was quiet" in page(a_run(quiet))


def test_a_c_loop_that_varies_makes_a_run_noisy():
    records = [record("epoll", number=i, cpu_us=value) for i, value in enumerate((6.0, 6.1, 7.5))]
    [complaint] = noise.complaints(records, ["echo-64-100"])
    assert "lie 25% apart (6.0 to 7.5 µs)" in complaint
    assert "**This run was noisy**" in page(a_run(records))


def test_other_programs_make_a_run_noisy():
    [complaint] = noise.complaints([record("epoll", cpu_us=6.0, others_share=0.3)], [])
    assert complaint.startswith("other programs took 30% of a core")


def test_a_load_generator_at_its_limit_is_marked(quiet):
    busy = [record("epoll", cpu_us=6.0, load_share=0.95), quiet[1]]
    assert "| C epoll loop †" in page(a_run(busy))
    assert "† The load generator used more than 90 %" in page(a_run(busy))
    assert "†" not in page(a_run(quiet))


def test_ratios_stand_before_figures(quiet):
    [row] = [
        line for line in page(a_run(quiet)).splitlines() if line.startswith("| uvloop Protocol")
    ]
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["1.50", "9.0"]


def test_a_missing_contestant_is_named(quiet):
    text = page(a_run(quiet, missing={"node": "this machine has no `node`"}))
    assert "- Node.js net: this machine has no `node`" in text
    assert "- lines-100: no “lines” of their own have uvloop Protocol" in text


def test_a_failed_measurement_is_told(quiet):
    text = page(a_run([*quiet, record("gevent", fault="3 × reset (connection 7: it broke)")]))
    assert "- round 1, echo-64-100, gevent StreamServer: 3 × reset (connection 7: it broke)" in text


def test_a_smaller_crowd_is_told(quiet):
    run = a_run(quiet)
    run["settings"]["crowd_share"] = 0.1
    assert "the crowds of idle connections are 0.1 times" in page(run)


def test_a_short_run_is_called_one(quiet):
    run = a_run(quiet)
    assert "This was a short run" in page(run)
    run["workloads"] = list(WORKLOADS)
    assert "This was a short run" not in page(run)
    run["settings"]["seconds"] = 0.4
    assert "This was a short run" in page(run)


def test_a_run_can_be_kept_and_read_again(quiet, tmp_path):
    kept = tmp_path / "run.json"
    kept.write_text(report.dump(a_run(quiet)))
    assert report.read(kept) == a_run(quiet)
    assert json.loads(kept.read_text())["machine"] == {"processor": "Z80"}


@pytest.fixture(scope="module")
def written_twice(quiet, tmp_path_factory):
    """A folder of documentation that was written twice, and the picture of each time."""
    docs = tmp_path_factory.mktemp("docs")
    (docs / "benchmarks.md").write_text(
        f"# Title\n\n{report.BEGIN}old figures\n{report.END}\n## After\n"
    )
    pictures = []
    for _ in range(2):
        write(a_run(quiet), docs)
        pictures.append((docs / "benchmarks" / "echo-64-100.svg").read_bytes())
    return docs, pictures


def test_the_figures_of_the_documentation_are_replaced_and_its_text_stays(written_twice):
    docs, _ = written_twice
    text = (docs / "benchmarks.md").read_text()
    assert text.startswith(f"# Title\n\n{report.BEGIN}")
    assert text.endswith(f"{report.END}\n## After\n")
    assert "old figures" not in text
    assert text.count("| uvloop Protocol") == 1
    assert [picture.name for picture in (docs / "benchmarks").iterdir()] == ["echo-64-100.svg"]


def test_the_same_figures_make_the_same_picture(written_twice):
    _, pictures = written_twice
    assert pictures[0] == pictures[1]


def test_numbers_are_written_for_reading():
    assert [number(value, 1) for value in (0.04, 12.34, 123456.7)] == ["0.0", "12.3", "123,457"]


def test_a_table_can_be_read_as_text():
    assert table(("a", "bb"), [("ccc", "d")]) == "| a   | bb |\n|-----|----|\n| ccc | d  |"
