"""The caller's terminal: a prompt, and the desk's lines above it."""

from collections.abc import Callable, Sequence
from typing import Self

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.styles import Style

from manyhands.desk.prompt import Prompt
from manyhands.desk.shown import Shown
from manyhands.model.escaping import escape

_STYLE = Style.from_dict({"desk": "ansicyan", "notice": "ansibrightblack", "you": "bold"})


class ClientTerminal:
    """A screen and a keyboard on a terminal, with a line editor.

    Notes
    -----
    `show`, `refresh` and `stop` may be called from any thread.
    """

    def __init__(self) -> None:
        self._prompt = Prompt(lambda: [("", "> ")], _STYLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: all has been shown when `attend` returns."""

    def show(self, lines: Sequence[Shown], source: int | None = None) -> None:
        """Print lines above the prompt; `source` waits until its last ones are printed."""
        self._prompt.show([_painted(line) for line in lines], source)

    def refresh(self) -> None:
        """Draw the prompt anew."""
        self._prompt.refresh()

    def is_typing(self) -> bool:
        """Tell whether a line has been begun."""
        return self._prompt.is_typing()

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Carry out lines until one says so, the caller leaves, or `stop`; return False."""

        def echo_and_carry_out(text: str) -> bool:
            self._prompt.show([[("class:you", f"> {escape(line)}")] for line in text.split("\n")])
            return carry_out(text)

        self._prompt.run(echo_and_carry_out)
        return False

    def stop(self) -> None:
        """Make `attend` return."""
        self._prompt.stop()


def _painted(line: Shown) -> StyleAndTextTuples:
    return [("class:notice" if line.text.startswith("desk: ") else "class:desk", str(line))]
