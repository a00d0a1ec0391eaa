"""The plain screen, whose output may not be read."""

import os
from collections.abc import Iterator

import pytest

from manyhands.desk.screens import PlainScreen, notice
from tests.desk.kit import wait_for
from tests.support.workers import Worker

LINE = "x" * 1000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(read_end)


def test_what_the_server_tells_waits_for_no_output(pipe: tuple[int, int], worker: Worker) -> None:
    read_end, write_end = pipe
    with open(write_end, "w", encoding="utf-8") as output, PlainScreen(read_end, output) as screen:  # noqa: PTH123 - a descriptor
        for _ in range(200):
            worker.do(screen.tell, [notice(LINE)])
        waiting = worker.spawn(screen.show, [notice(LINE)] * 200, 1)
        worker.spawn(screen.show, [notice(LINE)], 1)
        worker.do(screen.tell, [notice("the last")])
        read = bytearray()

        def has_all() -> bool:
            read.extend(os.read(read_end, 65536))
            return read.count(b"\n") == 402

        wait_for(has_all, lambda: f"{read.count(10)} lines")
        waiting.result(20)
