"""Keeping a run: the JSON of all that was measured, and the page and the pictures made of it."""

import json
from pathlib import Path
from typing import Any, cast

from bench.page import page
from bench.tables import Run

DOCS = Path(__file__).parent.parent / "docs"
PICTURES = "benchmarks"

BEGIN = "<!-- The figures below are written by `make bench ARGS=--docs`. -->\n"
END = "<!-- The figures end here. -->\n"


def dump(run: Run) -> str:
    """Return a run as JSON, a measurement a line, so that two runs can be compared by line."""
    head = {name: value for name, value in run.items() if name != "records"}
    records = ",\n".join(json.dumps(_rounded(record)) for record in run["records"])
    return f'{json.dumps(head, indent=1)[:-2]},\n "records": [\n{records}\n]}}\n'


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def read(path: Path) -> Run:
    """Return the run that a file holds."""
    return cast("Run", json.loads(path.read_text(encoding="utf-8")))


def write(run: Run, docs: Path = DOCS) -> None:
    """Put a run into the documentation: the JSON, the pictures, and the figures of the page."""
    # Drawing is wanted here only, and takes a second to load.
    from bench.plots import plot  # noqa: PLC0415

    (docs / "benchmarks.json").write_text(dump(run), encoding="utf-8")
    plot(run, docs / PICTURES)
    at = docs / "benchmarks.md"
    before, _, rest = at.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    at.write_text(f"{before}{BEGIN}\n{page(run, PICTURES)}\n{END}{after}", encoding="utf-8")
