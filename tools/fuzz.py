"""Run every harness of fuzz/, one after the other: ``python tools/fuzz.py SECONDS``, in all.

What a harness has found out about the code is kept in .cache/fuzz, for the next run to begin with. An input
that fails is a file there, which is named, and the exit status is 1.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".cache" / "fuzz"

LONGEST_INPUT = 10
"""Seconds for one input: what takes longer is a finding, too."""


def main(seconds: int) -> int:
    """Give each harness its share of the time; return 1 when one of them found something."""
    harnesses = sorted((ROOT / "fuzz").glob("*.py"))
    share = max(1, seconds // len(harnesses))
    say(f"fuzzing {', '.join(path.stem for path in harnesses)}: {share} s each")
    # All of them, whatever one has found.
    outcomes = [_is_clean(path, share) for path in harnesses]
    return 0 if all(outcomes) else 1


def _is_clean(harness: Path, seconds: int) -> bool:
    corpus, log = KEPT / harness.stem, KEPT / f"{harness.stem}.log"
    corpus.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, str(harness), str(corpus)),
        f"-max_total_time={seconds}",
        f"-timeout={LONGEST_INPUT}",
        f"-artifact_prefix={KEPT}/{harness.stem}-",
        "-print_final_stats=1",
    ]
    with log.open("wb") as output:
        status = subprocess.run(  # noqa: S603 - the command is the one above
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        ).returncode
    said = log.read_text(errors="replace")
    runs = re.search(r"number_of_executed_units: (\d+)", said)
    inputs = runs[1] if runs else "no"
    say(f"{harness.stem}: {inputs} inputs, {_outcome(harness, status, said)}")
    return status == 0


def _outcome(harness: Path, status: int, said: str) -> str:
    if status == 0:
        return "nothing found"
    written = re.search(r"Test unit written to (\S+)", said)
    if written is None:
        return f"it ended with status {status}: see {KEPT / harness.stem}.log"
    return (
        f"FOUND: {written[1]}; its traceback is in {KEPT / harness.stem}.log, and\n"
        f"    {sys.executable} {harness} {written[1]}\n"
        "    tries it again"
    )


def say(line: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
