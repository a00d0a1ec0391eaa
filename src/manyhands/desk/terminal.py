"""The operator's terminal: one prompt that says who is being answered and who waits to be read."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from manyhands.desk.prompt import Prompt
from manyhands.desk.shown import Shown
from manyhands.desk.switchboard import Status, Switchboard
from manyhands.desk.verbs import VERBS

_COLOURS = ("ansicyan", "ansigreen", "ansiyellow", "ansimagenta", "ansiblue", "ansired")
"""The colours of callers, in the order of their numbers; the first six differ."""

_STYLE = Style.from_dict(
    {f"caller-{n}": colour for n, colour in enumerate(_COLOURS)}
    | {"notice": "ansibrightblack", "you": "bold", "status": "reverse", "unread": "reverse bold"}
)


class Terminal:
    """A screen on a terminal, with a line editor.

    Parameters
    ----------
    switchboard : Switchboard
        Whose state the prompt shows.
    history : Path or None
        The file of what the operator typed before; None: it is forgotten.

    Notes
    -----
    `show`, `refresh` and `stop` may be called from any thread.
    """

    def __init__(self, switchboard: Switchboard, history: Path | None) -> None:
        self._prompt = Prompt(
            lambda: _message(switchboard.status(), get_app().output.get_size().columns),
            _STYLE,
            InMemoryHistory() if history is None else _History(str(history)),
            _Completer(switchboard),
        )

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
        """Tell whether the operator has begun a line."""
        return self._prompt.is_typing()

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Carry out lines until one says so, the operator leaves, or `stop`; return False."""
        self._prompt.run(carry_out)
        return False

    def stop(self) -> None:
        """Make `attend` return."""
        self._prompt.stop()


class _History(FileHistory):
    """A history that a full disk does not end."""

    def store_string(self, string: str) -> None:
        """Write a line to the file, if that can be done."""
        with contextlib.suppress(OSError):
            super().store_string(string)


class _Completer(Completer):
    """Completes verbs and, after those that need one, callers."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 - a hook
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        verb, space, begun = text.partition(" ")
        if space and verb in {"/to", "/kick"}:
            yield from self._callers(begun)
        elif not space and text.startswith("/"):
            matches = (verb for verb in VERBS if verb.startswith(text))
            yield from (Completion(f"{verb} ", -len(text), display=verb) for verb in matches)

    def _callers(self, begun: str) -> Iterable[Completion]:
        for call in self._switchboard.calls:
            if str(call.number).startswith(begun):
                yield Completion(str(call.number), -len(begun), display=call.label)
            elif call.name and call.name.casefold().startswith(begun.casefold()):
                yield Completion(call.name, -len(begun), display=call.label)


def _colour(number: int | None) -> str:
    return "" if number is None else f"class:caller-{(number - 1) % len(_COLOURS)}"


def _painted(line: Shown) -> StyleAndTextTuples:
    if not line.is_said:
        return [(f"class:notice {_colour(line.number)}", str(line))]
    style = "class:you" if line.is_own else ""
    return [(_colour(line.number), f"[{line.label}] "), (style, line.text)]


def _message(status: Status, width: int) -> StyleAndTextTuples:
    return [*_status_line(status, width), ("", "\n"), *_who(status), ("", "> ")]


def _status_line(status: Status, width: int) -> StyleAndTextTuples:
    count = "nobody" if not status.on_the_line else str(status.on_the_line)
    line = f" {count} on the line "
    unread = f" unread: {', '.join(status.unread)} " if status.unread else ""
    return [("class:status", line), ("class:unread", _cut(unread, width - get_cwidth(line) - 1))]


def _who(status: Status) -> StyleAndTextTuples:
    return [(_colour(status.number), f"{status.current} ")] if status.current else []


def _cut(text: str, width: int) -> str:
    """Shorten a text to so many columns: the status has one row, however many callers are unread."""
    if get_cwidth(text) <= width:
        return text
    columns = 1  # of the ellipsis
    for position, character in enumerate(text):
        columns += get_cwidth(character)
        if columns > width:
            return f"{text[:position]}…"
    return text
