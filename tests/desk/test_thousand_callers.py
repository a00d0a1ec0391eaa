"""A thousand callers on one desk at once, each saying and hearing ten lines."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from manyhands.desk.archive import Archive
from tests.desk import crowd
from tests.desk.kit import Desk, environment, wait_for

CALLERS = 1000
LINES = 10


def answer_everybody(desk: Desk) -> None:
    """Answer each line, until all callers have gone."""
    seen = 0

    def answer() -> bool:
        nonlocal seen
        lines = desk.output[seen:]
        seen += len(lines)
        said = [re.match(r"\[(\d+) [^]]*\] (\d+ says .*)", line) for line in lines]
        orders = [f"/to {found[1]}\nanswer to {found[2]}" for found in said if found]
        if orders:
            desk.enters(*orders)
        return gone() == CALLERS

    def gone() -> int:
        return sum("has left: said byebye" in line for line in desk.output)

    wait_for(answer, lambda: f"{CALLERS} callers to leave; {gone()} have", patience=240)


@pytest.mark.timeout(300)
def test_a_thousand_callers_talk_at_once_and_nothing_is_lost_or_out_of_order(
    tmp_path: Path,
) -> None:
    with Desk(tmp_path) as desk:
        command = [sys.executable, crowd.__file__, str(desk.port), str(CALLERS), str(LINES)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=environment(tmp_path)
        ) as callers:
            answer_everybody(desk)
            assert callers.communicate()[0] == f"{CALLERS}\n".encode()
        assert sum("has called in" in line for line in desk.output) == CALLERS
        desk.enters("/quit")
        assert desk.ends() == 0
    with Archive(str(tmp_path / "transcript.sqlite")) as archive:
        conversations = list(archive.conversations())
    assert len(conversations) == CALLERS
    for conversation in conversations:
        said = [m.text for m in conversation.messages if m.direction == "in"]
        answered = [m.text for m in conversation.messages if m.direction == "out"]
        number = said[0].split()[0]
        assert said == [*(f"{number} says 你好 {line}" for line in range(LINES)), "byebye"]
        assert answered == [f"answer to {line}" for line in said[:-1]]
