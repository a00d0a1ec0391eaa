"""Reading transcripts: the conversations of all desks, while one of them may be writing."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from manyhands.desk.transcript import as_text, connect
from manyhands.model.escaping import encodable
from manyhands.model.usage_errors import Mistake

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_LONGEST_INTEGER = 18
"""Digits: an INTEGER of SQLite has 64 bits (https://www.sqlite.org/datatype3.html)."""

_QUERY = """
SELECT calls.id, session_id, number, name, peer, opened_at, ended_at, ending,
       direction, said_at, text
FROM calls LEFT JOIN messages ON messages.call_id = calls.id AND said_at >= :since
WHERE (opened_at >= :since OR ended_at >= :since OR said_at >= :since)
  AND (:caller IS NULL OR number = :number OR casefold(name) = :caller
       OR peer = :caller OR peer LIKE :host ESCAPE '\\')
ORDER BY calls.id, messages.id
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
        file = Path(path).expanduser()
        if not file.is_file():
            raise Mistake(f"there is no transcript {path}")
        if file.stat().st_size == 0:
            raise Mistake(f"the file {path} is empty: no desk has written a transcript to it")
        self._database = _open(path)
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
        try:
            rows = self._database.execute(_QUERY, _parameters(caller, since))
            for _, group in groupby(rows, key=lambda row: row[0]):
                yield _conversation(list(group))
        except sqlite3.Error as error:
            raise Mistake(f"cannot read the transcript {self._path}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()


def _open(path: str) -> sqlite3.Connection:
    location = quote(str(Path(path).expanduser().absolute()))
    try:
        # What a killed desk left in the write-ahead log can be recovered only by a process that may write
        # (SQLITE_READONLY_RECOVERY). For a file that may only be read, mode=rw falls back to reading.
        return _checked(f"file:{location}?mode=rw", path)
    except sqlite3.Error as error:
        raise Mistake(f"cannot read the transcript {path}: {error}") from None


def _checked(uri: str, path: str) -> sqlite3.Connection:
    try:
        return connect(uri)
    except Mistake as mistake:
        raise Mistake(str(mistake).replace(uri, path)) from None


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


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _conversation(rows: list[tuple[Any, ...]]) -> Conversation:
    session, number, name, peer, opened_at, ended_at, ending = rows[0][1:8]
    messages = [Spoken(*row[8:]) for row in rows if row[8] is not None]
    return Conversation(session, number, name, peer, opened_at, ended_at, ending, messages)


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
