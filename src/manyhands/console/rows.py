"""The table of connections on the screen: one page, of which only those cells are drawn anew that change."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.message import Message
from textual.widgets import DataTable

from manyhands.console.figures import Connection
from manyhands.console.table import Column


class Table(DataTable[Text]):
    """The table. Its rows are places on the screen, through which connections move."""

    # As the base has it, but shown among the keys.
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "look")]

    class Fits(Message):
        """There is room for so many rows now."""

        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

    class Turned(Message):
        """The person goes beyond the last row, or before the first one; with 0 to the first of all."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class Sorted(Message):
        """The person clicks at a heading."""

        def __init__(self, field: str) -> None:
            super().__init__()
            self.field = field

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=0, id="connections")
        self._shown: list[Connection] = []
        self._texts: list[list[str]] = []
        self._heads: list[tuple[str, int]] = []
        self._sorted_by: list[str] = []

    @property
    def selected(self) -> Connection | None:
        """The connection under the cursor."""
        return self._shown[self.cursor_row] if 0 <= self.cursor_row < len(self._shown) else None

    def head(self, columns: Sequence[Column], sort: str, *, is_descending: bool) -> None:
        """Have these columns. It begins anew only when they are others, or the order is."""
        heads = [(c.heading(sort, is_descending=is_descending), c.columns + 1) for c in columns]
        if heads == self._heads:
            return
        self._heads, self._sorted_by, self._texts = heads, [c.field for c in columns], []
        row = self.cursor_row
        self.clear(columns=True)
        for number, (title, width) in enumerate(heads):
            self.add_column(Text(title), width=width, key=str(number))
        self.show(columns, self._shown)
        self.move_cursor(row=row)

    def show(self, columns: Sequence[Column], connections: Sequence[Connection]) -> None:
        """Show these connections in the columns."""
        self._shown = [*connections]
        texts = [[column.text(each) for column in columns] for each in connections]
        for row, (before, now) in enumerate(zip(self._texts, texts, strict=False)):
            for column, text in enumerate(now):
                if before[column] != text:
                    self.update_cell(str(row), str(column), Text(text))
        for row in range(len(texts), len(self._texts)):
            self.remove_row(str(row))
        for row in range(len(self._texts), len(texts)):
            self.add_row(*map(Text, texts[row]), key=str(row))
        self._texts = texts

    def on_resize(self, event: Resize) -> None:
        """Say how many rows there is room for, below the headings."""
        self.post_message(self.Fits(event.size.height - 1))

    def action_cursor_down(self) -> None:
        """Go down; from the last row to the next page."""
        if self.cursor_row >= self.row_count - 1:
            self.post_message(self.Turned(1))
        else:
            super().action_cursor_down()

    def action_cursor_up(self) -> None:
        """Go up; from the first row to the page before."""
        if self.cursor_row <= 0:
            self.post_message(self.Turned(-1))
        else:
            super().action_cursor_up()

    def action_page_down(self) -> None:
        """Show the next page."""
        self.post_message(self.Turned(1))

    def action_page_up(self) -> None:
        """Show the page before."""
        self.post_message(self.Turned(-1))

    def action_scroll_home(self) -> None:
        """Show the first page."""
        self.post_message(self.Turned(0))

    action_scroll_top = action_scroll_home

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by the column."""
        event.stop()
        if field := self._sorted_by[event.column_index]:
            self.post_message(self.Sorted(field))
