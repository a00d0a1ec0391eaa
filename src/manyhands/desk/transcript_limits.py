"""What a transcript may hold: a size, an age; and what is removed when there is more."""

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from manyhands.model.usage_errors import Mistake

_AT_ONCE = 1000
"""Messages that are removed in one transaction: a few milliseconds, in which nothing is kept."""

_LONGEST = 0.05
"""Seconds that one look may remove for, while callers wait; the next look goes on."""

_INTERVAL = 60.0
"""Seconds between two looks for what is too old."""

_BETWEEN_WORDS = 3600.0
"""Seconds between two words on the size that has been reached."""

_TARGET = 0.9
"""How much of the size is left when it has been reached: not to remove a little at each line from then on."""

_SILENT = timedelta(days=7)
"""How long a call of another desk is silent that has lost its desk: one that is killed ends no call."""

_OLDEST_CALL = """
SELECT id FROM calls
WHERE ended_at IS NOT NULL
   OR session_id IN (SELECT id FROM sessions WHERE closed_at IS NOT NULL)
   OR (session_id IS NOT :session AND opened_at < :silent_since AND NOT EXISTS
       (SELECT 1 FROM messages WHERE call_id = calls.id AND said_at >= :silent_since))
ORDER BY id LIMIT 1
"""

_NEWEST_TOO_OLD = """
SELECT max(id) FROM
  (SELECT id, said_at FROM messages WHERE said_at <= ? ORDER BY id LIMIT ?)
WHERE said_at < ?
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a transcript may hold.

    Attributes
    ----------
    max_size : int or None
        Bytes; None: no bound. The oldest calls that have ended go first and, where none is left, what was
        said first in those under way.
    keep : timedelta or None
        How long what was said is kept; None: for ever.
    """

    max_size: int | None = None
    keep: timedelta | None = None


NO_LIMITS = Limits()

_SMALLEST = 256 * 1024
"""Bytes: an empty transcript has a tenth of it, and its write-ahead log may have more."""

_BYTES = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

_LONGEST_TIME = 36_500 * 86_400

_LONGEST_NUMBER = 12
"""Digits: Python refuses to read a number of thousands of them."""


def size(flag: str, text: str) -> int:
    """Read a size in bytes: `500k`, `100M`, `2G`, or a number of bytes.

    Raises
    ------
    Mistake
        When it is none, or too small.
    """
    factor = _BYTES.get(text[-1:].lower(), 0)
    value = _whole(text[:-1]) * factor if factor else _whole(text)
    if value < _SMALLEST:
        raise Mistake(f"{flag} must be a size of at least 256k, as 500k, 100M or 2G, not {text!r}")
    return value


def duration(flag: str, text: str) -> timedelta:
    """Read a time: `12h`, `90d`, `52w`.

    Raises
    ------
    Mistake
        When it is none, or longer than a century.
    """
    seconds = _whole(text[:-1]) * _SECONDS.get(text[-1:].lower(), 0)
    if not 0 < seconds <= _LONGEST_TIME:
        raise Mistake(f"{flag} must be a time up to 36500d, as 12h, 90d or 52w, not {text!r}")
    return timedelta(seconds=seconds)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else 0


class Housekeeping:
    """Removes what is beyond the limits of a transcript, a little at a time.

    Not thread-safe. Its methods raise what SQLite does; what they removed until then is removed.

    Parameters
    ----------
    limits : Limits
        How much the transcript may hold.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._next_look = 0.0
        self._next_word = 0.0
        self._is_shrinking = False
        self._is_done = False

    @property
    def is_done(self) -> bool:
        """Whether the last look has removed all that there was to remove."""
        return self._is_done

    def tidy(
        self, database: sqlite3.Connection, session: int | None, at_most: float = _LONGEST
    ) -> bool:
        """Remove for so many seconds; return whether it is to be told that the size has been reached.

        `session` is the one under way: its calls that have not ended are not removed.
        """
        end = time.monotonic() + at_most
        self._is_done = True
        if self._limits.keep is not None and time.monotonic() >= self._next_look:
            self._remove_older(database, session, datetime.now(UTC) - self._limits.keep, end)
        return self._limits.max_size is not None and self._shrink(
            database, session, self._limits.max_size, end
        )

    def _remove_older(
        self, database: sqlite3.Connection, session: int | None, since: datetime, end: float
    ) -> None:
        limit, now = _as_text(since), _as_text(datetime.now(UTC))
        while time.monotonic() < end:
            # What is from the future, as a clock that was wrong has left it, is as old as what is around it.
            newest = database.execute(_NEWEST_TOO_OLD, (now, _AT_ONCE, limit)).fetchone()
            removed = _remove(
                database,
                "SELECT id FROM messages WHERE id <= ? AND NOT said_at BETWEEN ? AND ? LIMIT ?",
                (*newest, limit, now, _AT_ONCE),
            )
            if not removed:
                self._next_look = time.monotonic() + _INTERVAL
                _remove_empty_calls(database, session, limit)
                return
        self._is_done = False

    def _shrink(
        self, database: sqlite3.Connection, session: int | None, max_size: int, end: float
    ) -> bool:
        if _size(database) <= max_size * (_TARGET if self._is_shrinking else 1):
            self._is_shrinking = False
            return False
        is_first, self._is_shrinking = not self._is_shrinking, True
        while _size(database) > max_size * _TARGET and _remove_oldest(database, session):
            if time.monotonic() >= end:
                self._is_done = False
                break
        if not is_first or time.monotonic() < self._next_word:
            return False
        # It is reached again and again from then on.
        self._next_word = time.monotonic() + _BETWEEN_WORDS
        return True


def _remove_oldest(database: sqlite3.Connection, session: int | None) -> bool:
    """Remove some of what was said first; return whether there was anything."""
    silent_since = _as_text(datetime.now(UTC) - _SILENT)
    values = {"session": session, "silent_since": silent_since}
    oldest = database.execute(_OLDEST_CALL, values).fetchone()
    if oldest is None:
        # Calls under way: they stay, with what was said last.
        return bool(_remove(database, "SELECT id FROM messages ORDER BY id LIMIT ?", (_AT_ONCE,)))
    if not _remove(
        database, "SELECT id FROM messages WHERE call_id = ? LIMIT ?", (oldest[0], _AT_ONCE)
    ):
        database.execute("DELETE FROM calls WHERE id = ?", oldest)
    return True


def _as_text(moment: datetime) -> str:
    """Write a time as the transcript has it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _remove(database: sqlite3.Connection, which: str, values: tuple[object, ...]) -> int:
    """Remove the messages that a query names; return how many."""
    removed = database.execute(
        f"DELETE FROM messages WHERE id IN ({which})",  # noqa: S608 - queries of this module
        values,
    ).rowcount
    # Gives the pages back, in a file that was made so; in an older one they are used again.
    # A script, whose statements are carried out to their ends: `execute` of Python 3.11 gives back one page.
    database.executescript("PRAGMA incremental_vacuum")
    return removed


def _remove_empty_calls(database: sqlite3.Connection, session: int | None, since: str) -> None:
    database.execute(
        "DELETE FROM calls WHERE coalesce(ended_at, opened_at) < ? "
        "AND NOT (session_id IS ? AND ended_at IS NULL) "
        "AND NOT EXISTS (SELECT 1 FROM messages WHERE call_id = calls.id)",
        (since, session),
    )
    database.execute(
        "DELETE FROM sessions WHERE closed_at IS NOT NULL AND closed_at < ? "
        "AND id NOT IN (SELECT session_id FROM calls)",
        (since,),
    )


def _size(database: sqlite3.Connection) -> int:
    pages, free, page_size = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_size


def give_back(database: sqlite3.Connection) -> None:
    """Shrink a file that was made without the means to shrink by itself, which writes all of it anew."""
    if not database.execute("PRAGMA auto_vacuum").fetchone()[0]:
        # Another desk may be at it, or the disk full: then the free pages are used again.
        with contextlib.suppress(sqlite3.Error):
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("VACUUM")
