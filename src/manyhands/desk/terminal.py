"""The terminals of the operator and of the client: what their prompts say, and how lines look above them."""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from manyhands.desk import marked_rows
from manyhands.desk.encodings import OFFERED
from manyhands.desk.operator import VERBS
from manyhands.desk.prompt import Prompt
from manyhands.desk.screens import ScreenLine
from manyhands.desk.switchboard import Status, Switchboard
from manyhands.model.escaping import escape

_COLOURS = ("ansicyan", "ansigreen", "ansiyellow", "ansimagenta", "ansiblue", "ansired")
"""The colours of callers, in the order of their numbers; the first six differ."""

_LONGEST_WRITE = 0.5
"""Seconds that the operator waits for the disk that the history is on."""

_OPERATOR_STYLE = Style.from_dict(
    {f"caller-{n}": colour for n, colour in enumerate(_COLOURS)}
    | {"notice": "ansibrightblack", "you": "bold", "status": "reverse", "unread": "reverse bold"}
)

_CLIENT_STYLE = Style.from_dict({"desk": "ansicyan", "notice": "ansibrightblack", "you": "bold"})


class ClientTerminal(Prompt):
    """The client's: what is typed stays on the screen, among the desk's lines."""

    def __init__(self) -> None:
        super().__init__(lambda: [("", "> ")], _paint_for_client, _CLIENT_STYLE)

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Prompt until `carry_out` returns False, the person leaves, or `stop`; return False."""

        def echo_and_carry_out(text: str) -> bool:
            typed = [f"> {escape(line)}" for line in text.split("\n")]
            self.show([ScreenLine("", line, is_said=True, is_own=True) for line in typed])
            return carry_out(text)

        return super().attend(echo_and_carry_out)


def _paint_for_client(line: ScreenLine) -> StyleAndTextTuples:
    if line.is_own:
        return [("class:you", line.text)]
    is_notice = not line.is_said or line.text.startswith("desk: ")
    return [("class:notice" if is_notice else "class:desk", str(line))]


class OperatorTerminal(Prompt):
    """The operator's: its prompt says which caller the operator answers, and which ones have unread lines.

    Parameters
    ----------
    switchboard : Switchboard
        The calls.
    history : Path or None
        The file of what the operator typed before; None: it is forgotten.
    """

    def __init__(self, switchboard: Switchboard, history: Path | None) -> None:
        super().__init__(
            lambda: _message(switchboard.status(), get_app().output.get_size().columns),
            _paint_for_operator,
            _OPERATOR_STYLE,
            InMemoryHistory() if history is None else _History(str(history)),
            _Completer(switchboard),
        )


class _History(FileHistory):
    """A history that a full disk does not end, and for which the operator does not wait long."""

    _writer: threading.Thread | None = None

    def store_string(self, string: str) -> None:
        """Write a line to the file, if that can be done."""
        # One that is still at it has a disk that hangs.
        if self._writer is None or not self._writer.is_alive():
            self._writer = threading.Thread(target=self._store, args=[string], daemon=True)
            # No thread can be had: then a line is forgotten.
            with contextlib.suppress(RuntimeError):
                self._writer.start()
                self._writer.join(_LONGEST_WRITE)

    def _store(self, string: str) -> None:
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
        elif space and verb == "/encoding":
            caller, has_caller, name = begun.rpartition(" ")
            yield from self._encodings(name) if has_caller and caller else self._callers(begun)
        elif not space and text.startswith("/"):
            matches = (verb for verb in VERBS if verb.startswith(text))
            yield from (Completion(f"{verb} ", -len(text), display=verb) for verb in matches)

    def _encodings(self, begun: str) -> Iterable[Completion]:
        matches = (name for name in OFFERED if name.startswith(begun.lower()))
        yield from (Completion(name, -len(begun)) for name in matches)

    def _callers(self, begun: str) -> Iterable[Completion]:
        for call in self._switchboard.calls:
            if str(call.number).startswith(begun):
                yield Completion(str(call.number), -len(begun), display=call.label)
            elif call.name and call.name.casefold().startswith(begun.casefold()):
                yield Completion(call.name, -len(begun), display=call.label)


def _colour(number: int | None) -> str:
    return "" if number is None else f"class:caller-{(number - 1) % len(_COLOURS)}"


def _paint_for_operator(line: ScreenLine) -> StyleAndTextTuples:
    if not line.is_said:
        return [(f"class:notice {_colour(line.number)}", str(line))]
    style = "class:you" if line.is_own else ""
    label = f"[{line.label}] "
    # Not the application's, which the thread that shows a line has not got.
    columns = shutil.get_terminal_size().columns
    return [
        (_colour(line.number), label),
        (style, with_marked_rows(line.text, get_cwidth(label), columns)),
    ]


def with_marked_rows(text: str, column: int, columns: int) -> str:
    """Mark those rows of a long line that the operator would take for a line of its own."""
    return marked_rows.with_marked_rows(text, column, columns, width=get_cwidth)


def _message(status: Status, width: int) -> StyleAndTextTuples:
    current = [(_colour(status.number), f"{status.current} ")] if status.current else []
    return [*_status_line(status, width), ("", "\n"), *current, ("", "> ")]


def _status_line(status: Status, width: int) -> StyleAndTextTuples:
    count = "nobody" if not status.on_the_line else str(status.on_the_line)
    line = f" {count} on the line "
    unread = f" unread: {', '.join(status.unread)} " if status.unread else ""
    return [("class:status", line), ("class:unread", _cut(unread, width - get_cwidth(line) - 1))]


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
