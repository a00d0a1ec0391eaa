"""What is printed in the very moments in which a question begins and ends."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pyte

from manyhands.dropin.above_the_prompt import printing_above


class Terminal(io.StringIO):
    """A terminal; with `then`, something happens right after a text was written."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = pyte.Screen(40, 6)
        self._stream = pyte.Stream(self.screen)
        self.then: Callable[[str], None] = lambda text: None

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._stream.feed(text.replace("\n", "\r\n"))
        self.then(text)
        return len(text)

    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display if row.strip()]


@contextmanager
def at_a_terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    with redirect_stdout(terminal), redirect_stderr(io.StringIO()):
        yield terminal


def in_another_thread(act: Callable[[], None]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def test_what_another_thread_prints_right_after_the_question_goes_above_it() -> None:
    def then(text: str) -> None:
        if text == "answer> ":
            in_another_thread(lambda: print("something else"))

    with at_a_terminal() as terminal:
        terminal.then = then
        with printing_above("answer> ", lambda: "[#2] "):
            assert terminal.rows() == ["[#2] something else", "answer>"]


def test_a_line_that_begins_when_the_answer_has_come_is_not_lost() -> None:
    with at_a_terminal() as terminal, printing_above("answer> ", lambda: "[#2] "):
        late = terminal.write  # as a thread that is in the middle of `print` has it
    late("no end yet")
    assert terminal.rows() == ["answer> [#2] no end yet"]


def test_lines_that_have_not_ended_are_printed_when_the_answer_has_come() -> None:
    with at_a_terminal() as terminal, printing_above("answer> ", lambda: "[#2] "):
        print("mine", end="")
        in_another_thread(lambda: print("another's", end=""))
        assert terminal.rows() == ["answer>"]
    assert sorted(terminal.rows()) == ["[#2] mine", "answer> [#2] another's"]
