"""The screen of `manyhands top`, in Textual. What it shows and asks is `Model`'s."""

import asyncio
import contextlib
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from manyhands.console import help as help_lines
from manyhands.console.dialog_flow import DialogFlow
from manyhands.console.dialogs import Page, painted
from manyhands.console.feed import Feed, Request
from manyhands.console.model import ACTIONS, Model
from manyhands.console.rows import Table
from manyhands.console.signals import EndingSignals
from manyhands.console.spans import Line, span
from manyhands.console.view import View
from manyhands.control.client import Client
from manyhands.control.discovery import Follower

_SIGNALLED = 128
"""What a shell adds to the number of a signal that ended a command."""

_FURNITURE = 4
"""Rows of the heading, the table's own heading, the message and the keys."""

_LOW = 16
"""Rows of a terminal that has none to spare."""


class News(Message):
    """There is a new snapshot, or an answer."""


class Top(App[int]):
    """The screen; its result is the exit status.

    Parameters
    ----------
    client : Client
        A connection to the server.
    follower : Follower
        Finds the server again.
    view : View
        Which connections are shown at first.
    interval : float
        Seconds between two looks.
    """

    TITLE = "manyhands top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { overflow: hidden; }
    #summary { height: auto; }
    #heading { height: 1; margin: 1 0 0 0; }
    #heading.low { margin: 0; }
    #message { height: 1; }
    #connections { height: 1fr; overflow: hidden; scrollbar-size: 0 0; }
    #connections > .datatable--cursor { text-style: reverse; }
    #connections > .datatable--header { text-style: bold; }
    ModalScreen { align: center middle; }
    .dialog { border: round ansi_bright_black; padding: 0 1; width: auto; max-width: 100%; height: auto;
              max-height: 100%; }
    .dialog Horizontal { height: auto; width: auto; margin: 1 0 0 0; }
    .dialog Static { width: auto; }
    .wide { width: 96%; max-width: 120; }
    .wide Static { width: 100%; }
    .wide VerticalScroll { height: auto; max-height: 70vh; }
    .wide OptionList { height: auto; max-height: 70vh; border: none; padding: 0; text-wrap: nowrap;
                       text-overflow: ellipsis; }
    .dialog Button { margin: 0 2 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave_top", "quit"),
        Binding("ctrl+c", "leave_top", "quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False, priority=True),
        Binding("question_mark,h,f1", "help", "help", key_display="?"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("escape", "clear_filter", show=False),
        Binding("less_than_sign", "sort(-1)", "sort", key_display="< >"),
        Binding("greater_than_sign", "sort(1)", show=False),
        Binding("r", "reverse", "reverse"),
        Binding("v", "next_server", "server"),
        Binding("x,delete", "close", "close", key_display="x"),
        Binding("s", "suspend", "suspend"),
        Binding("l", "limits", "limits"),
        Binding("t", "tell", "tell"),
    ]

    def __init__(self, client: Client, follower: Follower, view: View, interval: float) -> None:
        # The terminal's own colours, which are readable on its background; and without any under NO_COLOR.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.model = Model(view)
        self._dialogs = DialogFlow(self, self.model, self._ask)
        self._feed = Feed(follower, interval, self._tell)
        self._client = client
        self.signals = EndingSignals()
        self._is_told = False
        self._goes_to: int | None = None
        self._session = 0
        # Held, for news may still come when the screen is taken down.
        self._summary = Static(id="summary")
        self._heading = Static(id="heading")
        self._table = Table()
        self._message = Static(id="message")
        self._shown: dict[Static, list[Line]] = {}
        self._useful: set[str] = set()

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield self._summary
        yield self._heading
        yield self._table
        yield self._message
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin to follow the server."""
        loop = asyncio.get_running_loop()
        # A signal comes in the middle of anything.
        self.signals.take(lambda number: loop.call_soon_threadsafe(self.exit, _SIGNALLED + number))
        self._feed.want(self.model.wanted())
        self._feed.start(self._client)

    def on_unmount(self) -> None:
        """Let go of the server, and of the signals."""
        self._feed.stop()
        self.signals.give_back()

    # What comes from the feed, in its thread and then here.

    def _tell(self) -> None:
        # One message, however much news there is until it is read.
        if not self._is_told:
            self._is_told = True
            # The screen may just have ended.
            with contextlib.suppress(RuntimeError):
                self.post_message(News())

    def on_news(self) -> None:
        """Take what is new, and show it."""
        self._is_told = False
        if self._feed.failure is not None:
            raise self._feed.failure
        self._feed.take_answers()
        self.model.take(self._feed.snapshot)
        if self.model.session != self._session:
            self._session = self.model.session
            self._leave_dialogs()
        self._show()

    def _leave_dialogs(self) -> None:
        # What they ask and say is about another process.
        while isinstance(self.screen_stack[-1], ModalScreen):
            self.pop_screen()

    # What is shown.

    def on_resize(self) -> None:
        """Fit everything into the terminal."""
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        if not self.screen_stack:
            return  # the screen is taken down
        for screen in self.screen_stack:
            if isinstance(screen, Page):
                screen.refresh_text()
        columns, rows = self.size
        is_low = rows < _LOW
        self._heading.set_class(is_low, "low")
        # The table has a third of the terminal at least, however much there is to say above it.
        most = max(1, rows - _FURNITURE - (not is_low) - rows // 3)
        trouble = self.model.trouble
        said = span(trouble, "bad") if trouble else span(self.model.said, "warning")
        self._write(self._summary, self.model.summary(columns, most))
        self._write(self._heading, [self.model.heading(columns, self._feed.rest)])
        self._write(self._message, [(said,)])
        self._show_table()
        self._show_keys()

    def _write(self, place: Static, lines: list[Line]) -> None:
        if self._shown.get(place) != lines:
            self._shown[place] = lines
            place.update(painted(lines))

    def _show_table(self) -> None:
        model, table = self.model, self._table
        columns, selected = model.columns(self.size.width), table.selected
        table.head(columns, model.view.sort, is_descending=model.view.is_descending)
        if model.page is None:
            return
        table.show(columns, model.connections)
        ids = [each.id for each in model.connections]
        if self._goes_to is not None and model.is_current:
            table.move_cursor(row=self._goes_to % max(1, len(ids)))
            self._goes_to = None
        elif selected is not None and selected.id in ids:
            # The cursor stays with its connection.
            table.move_cursor(row=ids.index(selected.id))

    def _show_keys(self) -> None:
        # Only when they are others: made anew at each look, faster than a busy machine paints them, they
        # would never be seen.
        useful = {action for action in ("next_server", *ACTIONS) if self.check_action(action, ())}
        if useful != self._useful:
            self._useful = useful
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - a hook
        """Hide the keys that do nothing here."""
        if action == "next_server":
            return len(self.model.all_servers) > 1
        return self.model.may(action) if action in ACTIONS else True

    # What the keys do.

    def _want(self) -> None:
        self._feed.want(self.model.wanted())
        self._show()

    def _ask(self, request: Request) -> None:
        if not self._feed.ask(request):
            self.model.said = (
                "the server has not answered what it was asked before: nothing was done"
            )
        self._show()

    def on_table_fits(self, event: Table.Fits) -> None:
        """Have as many rows on a page as there is room for."""
        if self.model.view.fit(event.rows):
            self._want()

    def on_table_turned(self, event: Table.Turned) -> None:
        """Show the next page, or the one before, with the cursor at its near end; or the first one."""
        if self.model.turn(event.step):
            self._goes_to = -1 if event.step < 0 else 0
            self._want()

    def on_table_sorted(self, event: Table.Sorted) -> None:
        """Sort by a column."""
        self.model.view.sort_by(event.field)
        self._begin_page()

    def action_sort(self, step: int) -> None:
        """Sort by the column at the left or at the right."""
        self.model.sort_by_neighbour(step, self.size.width)
        self._begin_page()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self.model.view.sort_by(self.model.view.sort)
        self._begin_page()

    def action_next_server(self) -> None:
        """Show the next server of the process."""
        self.model.next_scope()
        self._begin_page()

    def action_clear_filter(self) -> None:
        """Show all connections."""
        self.model.view.filter("")
        self._begin_page()

    def _begin_page(self) -> None:
        self._goes_to = 0
        self._want()

    def action_leave_top(self) -> None:
        """Leave."""
        self.exit(0)

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Page("manyhands top", help_lines.lines))

    def action_filter(self) -> None:
        """Ask for a filter."""
        self._dialogs.filter(self._begin_page)

    def on_data_table_row_selected(self) -> None:
        """Look at a connection."""
        self.action_look()

    def action_look(self) -> None:
        """Show the details of the connection under the cursor."""
        if self._table.selected is not None:
            self._dialogs.look(self._table.selected, self._want)

    def action_close(self) -> None:
        """Close the connection under the cursor, after a question."""
        if self._table.selected is not None:
            self._dialogs.close(self._table.selected)

    def action_suspend(self) -> None:
        """Suspend listeners or resume them."""
        self._dialogs.suspend()

    def action_limits(self) -> None:
        """Show the limits, and have one adjusted."""
        self._dialogs.limits()

    def action_tell(self) -> None:
        """Tell a line to a room."""
        self._dialogs.tell()


def show(client: Client, follower: Follower, view: View, interval: float) -> int:
    """Show the screen until a person or a signal ends it; return the exit status. The rest is as of `Top`."""
    top = Top(client, follower, view, interval)
    status = top.run()
    top.signals.forget()
    # What fails in Textual has been printed, and there is no result then.
    return top.return_code or 0 if status is None else status
