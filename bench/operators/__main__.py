"""The command: ``python -m bench.operators``."""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence

from bench.compare import compared
from bench.operators import __doc__ as what
from bench.operators import beside, looking
from bench.processes import Cores, MeasurementError, set_up

LOOKING = (
    ("page_ms", "first page, by id, ms", "50"),
    ("slowest_page_ms", "the same in the slowest order and filter, ms", ""),
    ("watch_percent", "a client that watches stats once a second, % of a core", "1"),
    ("screen_percent", "one that also lists 50 by their bytes each second, % of a core", ""),
    ("top_percent", "`manyhands top` by bytes, % of a core of the server's", "1"),
    ("page_percent", "`manyhands web` and a window by bytes, % of a core of the server's", "1"),
    (
        "windows_percent",
        "`manyhands web` and three windows, each in another order, % of a core of the server's",
        "1",
    ),
)
"""The figures, their titles and what is to be reached."""

BESIDE = (
    (
        "stalled",
        "beside a client that watches, and 20 that ask for all connections and read nothing",
        "1",
    ),
    ("eager", "beside one that asks for the limits and reads as fast as it can", ""),
    ("stacks", "beside one that asks for the stacks and reads as fast as it can", ""),
    ("polling", "beside one that asks for 1,000 by their bytes once a second", ""),
)


def rows_of_looking(rounds: Sequence[dict[str, float]]) -> Iterator[str]:
    """Yield the rows of what was looked at, of several rounds."""
    for name, title, bound in LOOKING:
        values = sorted(each[name] for each in rounds)
        spread = f"{statistics.median(values):.2f} ({values[0]:.2f}–{values[-1]:.2f})"
        yield f"| {title} | {spread} | {bound} |"


def rows_beside(rounds: Sequence[dict[str, float]]) -> Iterator[str]:
    """Yield the rows of latencies: the server's alone, and the ratios to it within each round."""
    alone = sorted(each["alone"] for each in rounds)
    spread = f"{statistics.median(alone):.2f} ({alone[0]:.2f}–{alone[-1]:.2f})"
    yield f"| echo, 99th percentile, ms | {spread} | |"
    for name, title, bound in BESIDE:
        ratios = [each[name] / each["alone"] for each in rounds]
        yield f"| {title}, compared with that | {compared(ratios)} | {bound} |"


def main() -> int:
    """Run the command; return 2 when a measurement cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m bench.operators", description=what)
    parser.add_argument("--only", choices=("looking", "beside"))
    parser.add_argument("--rounds", type=int, default=3, help="of looking (3)")
    # Bytes are added up every ten seconds or so among ten thousand.
    parser.add_argument("--seconds", type=float, default=20.0, help="that each looks on (20)")
    parser.add_argument("--turns", type=int, default=21, help="of echoes beside each (21)")
    parser.add_argument("--turn", type=float, default=2.0, help="seconds of one (2)")
    parser.add_argument("--crowd", type=int, default=10_000)
    asked = parser.parse_args()
    set_up()
    cores, table = Cores.choose(), ["| | median | to be reached |", "|---|---|---|"]

    def tell(figures: dict[str, float]) -> None:
        print({name: round(value, 2) for name, value in figures.items()}, file=sys.stderr)

    try:
        if asked.only != "beside":
            rounds = []
            for _ in range(asked.rounds):
                rounds.append(looking.measure(asked.crowd, asked.seconds, cores))
                tell(rounds[-1])
            table += rows_of_looking(rounds)
        if asked.only != "looking":
            table += rows_beside(beside.measure(asked.crowd, asked.turns, asked.turn, cores, tell))
    except (MeasurementError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
