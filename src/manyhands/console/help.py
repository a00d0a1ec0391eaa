"""What the keys do."""

from manyhands.console.spans import Line, span
from manyhands.console.view import FILTERS

_KEYS = (
    ("↑ ↓", "go to a connection; beyond the last one is the next page"),
    ("PgDn PgUp", "the next page, and the one before; Home the first one"),
    ("Enter", "look at a connection, and where its handler stands"),
    ("< >", "sort by the column at the left, or at the right; a click at a heading does it, too"),
    ("r", "sort the other way round"),
    ("/", "filter: a part of peer, handler or id, and words such as"),
    ("", FILTERS),
    ("Esc", "show all of them again"),
    ("v", "the next server of the process, then all of them"),
    ("x", "close a connection, after a question"),
    ("s", "suspend listeners, or have them accept clients again"),
    ("l", "look at the limits, and change one"),
    ("t", "tell a room"),
    ("q, Ctrl-C", "leave; the server goes on"),
)

_WORDS = (
    "open = accepted - closed, always. Refused ones are closed, too: no handler has seen them.",
    "silent: since the client's last byte. waiting: bytes that wait for the client in its outbox; missed:",
    "pieces of it that were dropped. hub late by: how long all fibers wait behind one that does not let go.",
    "A dash stands for what the system does not tell.",
)


def lines() -> list[Line]:
    """Return the lines of the help."""
    keys = [(span(key.ljust(12), "strong"), span(does)) for key, does in _KEYS]
    return [*keys, (), *((span(words),) for words in _WORDS)]
