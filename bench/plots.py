"""The run as pictures: for each workload the contestants' medians, with their spread."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.contestants import CONTESTANTS
from bench.statistics import Record, Spread, spread
from bench.tables import COLUMNS, Run
from bench.workloads import WORKLOADS, Workload

OURS, OTHERS = "#1f6f8b", "#b8c4c9"

HEADINGS = {figure: (heading, divisor) for figure, heading, divisor, _ in COLUMNS}


def plot(run: Run, folder: Path) -> None:
    """Write a picture of each workload into the folder, in place of those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    # The same figures shall make the same file, with text that other programs can read.
    with mpl.rc_context({"svg.hashsalt": "manyhands", "svg.fonttype": "none", "font.size": 9.0}):
        for name in run["workloads"]:
            _plot_workload(run["records"], WORKLOADS[name], run["contestants"], folder)


def _plot_workload(
    records: Sequence[Record], workload: Workload, names: Sequence[str], folder: Path
) -> None:
    measured = {
        name: known
        for name in names
        if (known := spread(records, workload.name, name, workload.figure))
    }
    if not measured:
        return
    figure = Figure(figsize=(7, 0.6 + 0.3 * len(measured)), layout="constrained")
    _draw_bars(figure, workload, measured)
    # A date would make a new file of the same figures.
    figure.savefig(folder / f"{workload.name}.svg", metadata={"Date": None})


def _draw_bars(figure: Figure, workload: Workload, measured: dict[str, Spread]) -> None:
    heading, divisor = HEADINGS[workload.figure]
    axes = figure.subplots()
    medians = [known.median / divisor for known in measured.values()]
    below = [(known.median - known.least) / divisor for known in measured.values()]
    above = [(known.greatest - known.median) / divisor for known in measured.values()]
    bars = axes.barh(
        [CONTESTANTS[name].title for name in measured],
        medians,
        xerr=[below, above],
        error_kw={"elinewidth": 0.8, "capsize": 2},
        color=[OURS if name.startswith("manyhands") else OTHERS for name in measured],
    )
    axes.bar_label(bars, fmt="{:,.1f}", padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title(f"{workload.title}: {heading}", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
