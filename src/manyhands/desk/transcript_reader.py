"""Reading transcripts: the conversations of all desks, while one of them may be writing."""

import sqlite3
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeGuard, TypeVar
from urllib.parse import quote

from manyhands.desk.transcript import Direction, as_text
from manyhands.desk.transcript_file import connect
from manyhands.model.escaping import encodable
from manyhands.model.usage_errors import Mistake

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_LONGEST_INTEGER = 18
"""Digits: an INTEGER of SQLite has 64 bits (https://www.sqlite.org/datatype3.html)."""

Value = TypeVar("Value")

_CALLS = """
SELECT id FROM calls
WHERE (opened_at >= :since OR ended_at >= :since OR EXISTS
       (SELECT 1 FROM messages WHERE call_id = calls.id AND said_at >= :since))
  AND (:caller IS NULL OR number = :number OR casefold(CAST(name AS BLOB)) = :caller
       OR peer = :caller OR peer LIKE :host ESCAPE '\\')
ORDER BY id
"""

_CALL = """
SELECT session_id, number, name, peer, opened_at, ended_at, ending,
       direction, said_at, text
FROM calls LEFT JOIN messages ON messages.call_id = calls.id AND said_at >= :since
WHERE calls.id = :call
ORDER BY messages.id
"""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One message: who said it (`in`: the caller, `out`: the operator, `notice`: the desk), when, what."""

    direction: str
    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One call with what was said in it. Times are UTC, ISO 8601; None for what is not known (yet)."""

    session: int
    number: int
    name: str | None
    peer: str
    opened_at: str
    ended_at: str | None
    ending: str | None
    messages: list[Spoken] = field(default_factory=list)


class TranscriptReader:
    """The reading end of a transcript.

    What is damaged in a row is read as far as it can be: text that is no UTF-8 has U+FFFD in it, and a time
    that is none is ``""``, or None where it may be unknown.

    Parameters
    ----------
    path : str
        The file. It is only read.

    Raises
    ------
    Mistake
        When it is not there, cannot be read, or is no transcript.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        _refuse_nothing(path)
        self._database = _open(path)
        # Else one text that is no UTF-8 would be the end of all reading.
        self._database.text_factory = self._decoded
        self.is_damaged = False
        """Whether some of what was read so far could not be read as it was written."""

        # SQLite's own comparisons know the case of ASCII letters only.
        self._database.create_function("casefold", 1, _casefold, deterministic=True)

    def conversations(
        self, caller: str | None = None, since: datetime | None = None
    ) -> Iterator[Conversation]:
        """Give back conversations, oldest first.

        Parameters
        ----------
        caller : str, optional
            Only those with this caller: a number, a name (in any case), an address with or without
            the port.
        since : datetime, optional
            Only what was said from then on, and the calls that began or ended since.

        Raises
        ------
        Mistake
            When the file turns out to be damaged.
        """
        parameters = _parameters(caller, since)
        for (call,) in self._rows(_CALLS, parameters):
            rows = self._rows(_CALL, {"since": parameters["since"], "call": call})
            # A desk may have removed it meanwhile.
            if rows:
                yield self._conversation(rows)

    def _rows(self, query: str, parameters: dict[str, object]) -> list[tuple[object, ...]]:
        """Read all rows at once: while a query is under way, the log of a desk that writes only grows."""
        try:
            return self._database.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise Mistake(f"cannot read the transcript {self._path}: {error}") from None

    def _decoded(self, text: bytes) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError:
            self.is_damaged = True
            return text.decode(errors="replace")

    def _conversation(self, rows: list[tuple[object, ...]]) -> Conversation:
        call = _Row(rows[0][:7])
        conversation = Conversation(
            session=call.number(),
            number=call.number(),
            name=call.text_or_none(),
            peer=call.text(),
            opened_at=call.time(),
            ended_at=call.time_or_none(),
            ending=call.text_or_none(),
        )
        self.is_damaged |= call.is_damaged
        for row in rows:
            # A call in which nothing was said has one row without a message.
            if row[7:] != (None, None, None):
                message = _Row(row[7:])
                conversation.messages.append(
                    Spoken(message.direction(), message.time(), message.text())
                )
                self.is_damaged |= message.is_damaged
        return conversation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()


def _refuse_nothing(path: str) -> None:
    """Refuse a file that is not there, or has nothing in it."""
    try:
        found = Path(path).expanduser().stat()
    except FileNotFoundError:
        raise Mistake(f"there is no transcript {path}") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Mistake(f"cannot read the transcript {path}: {why}") from None
    if not stat.S_ISREG(found.st_mode):
        raise Mistake(f"cannot read the transcript {path}: it is no file")
    if found.st_size == 0:
        raise Mistake(f"the file {path} is empty: no desk has written a transcript to it")


def _open(path: str) -> sqlite3.Connection:
    location = quote(str(Path(path).expanduser().absolute()))
    try:
        # What a killed desk left in the write-ahead log can be recovered only by a process that may write
        # (SQLITE_READONLY_RECOVERY). For a file that may only be read, mode=rw falls back to reading.
        return connect(path, f"file:{location}?mode=rw")
    except sqlite3.Error as error:
        raise Mistake(f"cannot read the transcript {path}: {error}") from None


def _parameters(caller: str | None, since: datetime | None) -> dict[str, object]:
    caller = None if caller is None else encodable(caller)
    plain = (
        ""
        if caller is None
        else caller.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    )
    return {
        "since": as_text(since) if since else "",
        "caller": None if caller is None else caller.casefold(),
        "number": _number(caller),
        "host": f"{plain}:%",
    }


def _number(caller: str | None) -> int | None:
    """Return the number of a call, if it is one that SQLite could hold."""
    if caller is None or not caller.isdecimal() or len(caller) > _LONGEST_INTEGER:
        return None
    return int(caller)


def _casefold(text: object) -> str | None:
    # As bytes: SQLite would not call this with a text that is no UTF-8, and give up.
    return text.decode(errors="replace").casefold() if isinstance(text, bytes) else None


class _Row:
    """Reads the values of one row, of whatever types SQLite has them: any column takes any value."""

    def __init__(self, values: Sequence[object]) -> None:
        self._values = iter(values)
        self.is_damaged = False

    def number(self) -> int:
        """Read a number; 0 when it is none."""
        value = next(self._values)
        return value if isinstance(value, int) else self._damaged(0)

    def text(self) -> str:
        """Read a text."""
        value = self.text_or_none()
        return self._damaged("") if value is None else value

    def text_or_none(self) -> str | None:
        """Read a text, or None."""
        value = next(self._values)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return self._damaged(value.decode(errors="replace"))
        return self._damaged(str(value))

    def time(self) -> str:
        """Read a time; "" when it is none."""
        return self.time_or_none() or self._damaged("")

    def time_or_none(self) -> str | None:
        """Read a time, or None; a text that is no time is None too."""
        value = next(self._values)
        return value if value is None or _is_time(value) else self._damaged(None)

    def direction(self) -> str:
        """Read who has said it; the desk when that cannot be read."""
        value = next(self._values)
        if isinstance(value, str) and value in list(Direction):
            return value
        return self._damaged(str(Direction.NOTICE))

    def _damaged(self, value: Value) -> Value:
        self.is_damaged = True
        return value


def _is_time(value: object) -> TypeGuard[str]:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value).astimezone())
    except (ValueError, OverflowError):
        return False


def moment(text: str, now: datetime) -> datetime:
    """Read what `--since` takes: `2h` before `now` (also s, m, d, w), or an ISO 8601 date or time.

    Raises
    ------
    Mistake
        When it is neither. A time without a zone is this machine's local time.
    """
    count, unit = text[:-1], text[-1:]
    try:
        if count.isdecimal() and unit in _UNITS:
            return now - timedelta(**{_UNITS[unit]: int(count)})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Mistake(
            f"{text!r} is no time: write 30m, 2h or 3d for a time that long ago, or an ISO date or "
            "time such as 2026-07-01 or 2026-07-01T15:30"
        ) from None
