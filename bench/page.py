"""The page of a run: everything that it found, as Markdown."""

from collections.abc import Iterator

from bench import noise
from bench.contestants import CONTESTANTS
from bench.tables import Run, absences, bullets, failures, table, targets_table, workload_table
from bench.workloads import WORKLOADS, Effort

FULL = Effort().seconds
"""How long a measurement of a full run is, in seconds."""


def _quiet(run: Run) -> str:
    found = noise.complaints(run["records"], run["workloads"])
    if not found:
        return "The run was quiet: the C loop's figures of one workload lie close together."
    return f"**This run was noisy**, and small differences in it mean nothing:\n\n{bullets(found)}"


def _facts(run: Run) -> str:
    rows = [*run["machine"].items(), *run["versions"].items()]
    settings = run["settings"]
    effort = f"{settings['warmup']:g} s of warming up, then {settings['seconds']:g} s measured"
    rows.append(("effort", f"{settings['rounds']} rounds; {effort}"))
    return table(("", ""), rows)


def sections(run: Run, picture: str = "") -> Iterator[str]:
    """Yield the page, paragraph by paragraph; `picture` is the folder of the plots, if there are any."""
    records = run["records"]
    yield _quiet(run)
    if run["settings"]["seconds"] < FULL or set(run["workloads"]) != set(WORKLOADS):
        yield "This was a short run, not a full one: what lies close together takes longer to tell apart."
    yield "### What was to be reached"
    yield targets_table(records)
    if (share := run["settings"]["crowd_share"]) != 1:
        yield f"In this run the crowds of idle connections are {share:g} times what their names say."
    if failed := failures(records):
        yield "### Measurements that failed"
        yield bullets(failed)
    if missing := absences(run):
        yield "### Who is missing"
        yield bullets(missing)
    for name in run["workloads"]:
        workload = WORKLOADS[name]
        yield f"### {name}: {workload.title}"
        if picture:
            yield f"![{workload.title}]({picture}/{name}.svg)"
        yield workload_table(records, workload, run["contestants"])
    if any(
        noise.load_was_the_limit(records, workload, name)
        for workload in run["workloads"]
        for name in run["contestants"]
    ):
        yield (
            "† The load generator used more than 90 % of its core: throughput and latency are its limit, not "
            "the server's; CPU per request is the server's all the same."
        )
    yield "### Measured on"
    yield _facts(run)
    yield _nodelay(run)


def _nodelay(run: Run) -> str:
    setting = [CONTESTANTS[name].title for name in run["contestants"] if CONTESTANTS[name].nodelay]
    return f"TCP_NODELAY, as each one's default has it, is set by: {', '.join(setting)}."


def page(run: Run, picture: str = "") -> str:
    """Return the whole page."""
    return "\n\n".join(sections(run, picture)) + "\n"
