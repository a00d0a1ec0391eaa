"""What stands over the table for a while: a text, a question, a choice, a line to type."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from manyhands.console.spans import Line, span
from manyhands.model.usage_errors import Mistake

STYLES = {
    "": "",
    "label": "dim",
    "strong": "bold",
    "warning": "yellow",
    "bad": "bold red",
    "drawn": "cyan",
}
"""How spans look. All are the terminal's own colours, so they are readable on any background."""


def painted(lines: Sequence[Line]) -> Text:
    """Return lines as Textual shows them. Nothing in a text is taken for markup."""
    text = Text("\n").join(
        Text.assemble(*((each.text, STYLES[each.style]) for each in line)) for line in lines
    )
    text.no_wrap = True
    return text


def said(text: str, style: str = "") -> Text:
    """Return one line that a server said, or that has something of it in it."""
    return painted([(span(text, style),)])


_LEAVING: list[BindingType] = [
    Binding("escape", "leave", "back"),
    Binding("ctrl+c", "app.leave_top", "quit", show=False, priority=True),
]


class Page(ModalScreen[str]):
    """Lines to read, which may change meanwhile; the result is the one of `keys` that ended it, or ``""``.

    Parameters
    ----------
    title : str
        What it is about.
    lines : callable
        Returns the lines.
    keys : mapping of str to str
        More keys, and what they do.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*_LEAVING, Binding("q", "leave", "back", show=False)]

    def __init__(
        self, title: str, lines: Callable[[], Sequence[Line]], keys: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._keys = keys or {}
        self._shown: Sequence[Line] | None = None
        # Held, as below: a dialog may be taken down before it is there.
        self._text = Static()
        self._scroll = VerticalScroll(self._text)

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        keys = [*self._keys.items(), ("Esc", "back")]
        with Vertical(classes="dialog wide"):
            yield Static(said(self._title, "strong"))
            yield self._scroll
            yield Static(said("   ".join(f"{key} {does}" for key, does in keys), "label"))

    def on_mount(self) -> None:
        """Show the text; the keys scroll it."""
        self.refresh_text()
        self._scroll.focus()

    def refresh_text(self) -> None:
        """Show what the lines are now."""
        lines = self._lines()
        if lines != self._shown:
            self._shown = lines
            text = painted(lines)
            text.no_wrap = False
            self._text.update(text)

    def on_key(self, event: Key) -> None:
        """End with one of the keys."""
        if event.key in self._keys:
            # What is bound to the key beneath would be done as well.
            event.stop()
            self.dismiss(event.key)

    def action_leave(self) -> None:
        """End without a key."""
        self.dismiss("")


class Question(ModalScreen[bool]):
    """A question to which the answer is yes or no; what is at hand is no.

    Parameters
    ----------
    question : list of Line
        What is asked.
    yes, no : str
        What the two mean.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *_LEAVING,
        Binding("y", "answer(True)", "yes"),
        Binding("n", "answer(False)", "no"),
    ]

    def __init__(self, question: Sequence[Line], yes: str, no: str) -> None:
        super().__init__()
        self._question = question
        self._no = Button(said(f"{no} (n)"), id="no", compact=True)
        self._yes = Button(said(f"{yes} (y)"), id="yes", compact=True)

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        with Vertical(classes="dialog"):
            yield Static(painted(self._question))
            yield Horizontal(self._no, self._yes)

    def on_mount(self) -> None:
        """Have Enter mean no."""
        self._no.focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take the answer."""
        self.dismiss(event.button is self._yes)

    def action_answer(self, is_yes: bool) -> None:
        """Take the answer of a key."""
        self.dismiss(is_yes)

    def action_leave(self) -> None:
        """Take no for an answer."""
        self.dismiss(False)


class Choice(ModalScreen[int]):
    """One of several lines; the result is its number, -1 if none was chosen.

    Parameters
    ----------
    title : str
        What is chosen.
    lines : list of Line
        What there is.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*_LEAVING, Binding("q", "leave", "back", show=False)]

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        with Vertical(classes="dialog wide"):
            yield Static(said(self._title, "strong"))
            yield OptionList(*(Option(painted([line])) for line in self._lines))
            yield Static(said("Enter choose   Esc back", "label"))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """End with the line."""
        self.dismiss(event.option_index)

    def action_leave(self) -> None:
        """End without one."""
        self.dismiss(-1)


class Prompt(ModalScreen[str | None]):
    """A line to type; the result is the line, or None.

    Parameters
    ----------
    title : list of Line
        What is to be typed.
    value : str
        What stands there at first.
    check : callable
        Raises a `Mistake` for what cannot be taken, whose sentence is shown then.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*_LEAVING]

    def __init__(
        self, title: Sequence[Line], value: str = "", check: Callable[[str], object] = str
    ) -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._check = check
        self._hint = Static(said("Enter take it   Esc back", "label"))

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        with Vertical(classes="dialog wide"):
            yield Static(painted(self._title))
            yield Input(self._value, compact=True)
            yield self._hint

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """End with the line, if it can be taken."""
        try:
            self._check(event.value)
        except Mistake as mistake:
            self._hint.update(said(str(mistake), "bad"))
        else:
            self.dismiss(event.value)

    def action_leave(self) -> None:
        """End without a line."""
        self.dismiss(None)
