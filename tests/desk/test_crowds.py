"""Thousands of callers on one desk at once, each heard and answered."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from manyhands.desk.transcript_reader import TranscriptReader
from tests.desk import crowd
from tests.desk.kit import Desk, environment, wait_for

A_CROWD_TAKES_ITS_TIME = 240.0
"""Seconds: the machine may have other things to do."""


class Operator:
    """Answers each line of each caller, but the last: those with one answer for all."""

    def __init__(self, desk: Desk, callers: int, lines: int) -> None:
        self._desk = desk
        self._callers = callers
        self._lines = lines
        self._seen = 0
        self._last_lines = 0
        self._gone = 0

    def answers_all_callers(self) -> None:
        """Answer until all callers have gone."""
        wait_for(
            self._answers,
            lambda: f"{self._callers} callers to leave; {self._gone} have",
            patience=A_CROWD_TAKES_ITS_TIME,
        )

    def _answers(self) -> bool:
        lines = self._desk.output[self._seen :]
        self._seen += len(lines)
        self._gone += sum("has left: said byebye" in line for line in lines)
        orders = [order for line in lines for order in self._orders(line)]
        if orders:
            self._desk.enters(*orders)
        return self._gone == self._callers

    def _orders(self, line: str) -> Sequence[str]:
        said = re.match(r"\[(\d+) [^]]*\] (\d+ says .* (\d+))$", line)
        if said is None:
            return ()
        if int(said[3]) < self._lines - 1:
            return f"/to {said[1]}", f"answer to {said[2]}"
        self._last_lines += 1
        return (f"/all {crowd.TO_ALL}",) if self._last_lines == self._callers else ()


@contextmanager
def calling(
    desk: Desk, home: Path, sizes: Sequence[int], lines: int
) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Have so many callers call from each of several processes."""
    with ExitStack() as stack:
        processes = []
        for number, callers in enumerate(sizes):
            arguments = map(str, (desk.port, callers, lines, number * callers))
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, crowd.__file__, *arguments],
                    stdout=subprocess.PIPE,
                    env=environment(home),
                )
            )
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def nothing_was_lost_or_out_of_order(home: Path, callers: int, lines: int) -> None:
    """Check what was kept of each call."""
    with TranscriptReader(str(home / "transcript.sqlite")) as archive:
        conversations = list(archive.conversations())
    numbers = []
    for conversation in conversations:
        said = [m.text for m in conversation.messages if m.direction == "in"]
        answered = [m.text for m in conversation.messages if m.direction == "out"]
        number = int(said[0].split()[0])
        assert said == [*(f"{number} says 你好 {line}" for line in range(lines)), "byebye"]
        assert answered == [*(f"answer to {line}" for line in said[: lines - 1]), crowd.TO_ALL]
        numbers.append(number)
    assert sorted(numbers) == list(range(callers))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("arguments", "sizes", "lines"),
    [
        (["--engine", "threads"], [1000], 5),
        (["--engine", "fibers"], [5000, 5000], 2),
        (["--engine", "fibers", "--workers", "2"], [1500, 1500], 2),
    ],
    ids=["threads", "fibers", "workers"],
)
def test_a_crowd_talks_at_once_and_nothing_is_lost_or_out_of_order(
    tmp_path: Path,
    arguments: Sequence[str],
    sizes: Sequence[int],
    lines: int,
    record_property: Callable[[str, object], None],
) -> None:
    callers = sum(sizes)
    began = time.monotonic()
    with Desk(tmp_path, *arguments) as desk:
        with calling(desk, tmp_path, sizes, lines) as processes:
            Operator(desk, callers, lines).answers_all_callers()
            heard = [process.communicate()[0] for process in processes]
        assert heard == [f"all have called\n{size}\n".encode() for size in sizes]
        assert sum("has called in" in line for line in desk.output) == callers
        seconds = time.monotonic() - began
        desk.enters("/quit")
        assert desk.ends() == 0
    held_up = sum("has held up all other fibers" in line for line in desk.output)
    record_property(
        "figure",
        f"{callers} callers on one desk ({' '.join(arguments)}), {lines} lines each: {seconds:.0f} s; "
        f"times that one held up all others for 0.1 s: {held_up}",
    )
    nothing_was_lost_or_out_of_order(tmp_path, callers, lines)
