"""`manyhands top --once`: two looks at a server, as plain text."""

import time
from collections.abc import Iterator

from manyhands.console.look import Snapshot, count_bytes, look
from manyhands.console.model import Model
from manyhands.console.spans import text_of
from manyhands.console.view import View
from manyhands.control.client import Client, ControlError

_ROWS = 100
"""Connections: as many as the protocol has on a page unless it is told otherwise."""

_NO_BOUND = 1000
"""Lines above the table, which has no screen to share with them."""


def lines(client: Client, view: View, interval: float, columns: int) -> Iterator[str]:
    """Look twice, and yield the lines.

    Parameters
    ----------
    client : Client
        A connection to the server.
    view : View
        Which connections, and how they are sorted.
    interval : float
        Seconds between the looks: the rates are those of this time.
    columns : int
        How wide the lines may be.

    Raises
    ------
    ControlError
        The server does not answer, or refuses to list connections so.
    """
    model = Model(view)
    view.fit(_ROWS)
    count_bytes(client)
    first = look(client, Snapshot(session=1, hello=client.hello), None)
    model.take(first)
    time.sleep(interval)
    second = look(client, first, model.wanted())
    if second.refusal:
        raise ControlError(second.refusal)
    model.take(second)
    for line in model.summary(columns, _NO_BOUND, has_sparklines=False):
        yield text_of(line)
    yield ""
    yield text_of(model.heading(columns))
    yield from _table(model, columns)


def _table(model: Model, columns: int) -> Iterator[str]:
    shown = model.columns(columns)
    view = model.view
    heads = [each.heading(view.sort, is_descending=view.is_descending) for each in shown]
    yield " ".join(heads).rstrip()
    for connection in model.connections:
        yield " ".join(column.text(connection) for column in shown).rstrip()
