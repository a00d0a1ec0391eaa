"""The transcript: everything said at a desk, in an SQLite file, each row committed before it is shown."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

from manyhands.model.usage_errors import Mistake

IN_MEMORY = ":memory:"
"""The name of a transcript that keeps nothing."""

APPLICATION_ID = 0x6D68_6E64
"""What marks an SQLite file as ours ("mhnd"; SQLite's `PRAGMA application_id`)."""

VERSION = 1
"""The version of the tables (`PRAGMA user_version`)."""

BUSY_TIMEOUT = 1.0
"""Seconds that a write waits for another desk that writes to the same file."""

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY,
    addresses TEXT NOT NULL,
    opened_at TEXT NOT NULL,
    closed_at TEXT
);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES sessions (id),
    number INTEGER NOT NULL,
    name TEXT,
    peer TEXT NOT NULL,
    opened_at TEXT NOT NULL,
    ended_at TEXT,
    ending TEXT
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    call_id INTEGER NOT NULL REFERENCES calls (id),
    direction TEXT NOT NULL CHECK (direction IN ('in', 'out', 'notice')),
    said_at TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_of_a_session ON calls (session_id);
CREATE INDEX IF NOT EXISTS messages_of_a_call ON messages (call_id);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


class Direction(StrEnum):
    """Who said a message."""

    IN = "in"
    """The caller."""

    OUT = "out"
    """The operator."""

    NOTICE = "notice"
    """The desk itself, to the caller."""


class NotKept(Exception):  # noqa: N818 - what happened to what was said
    """What was said could not be written to the transcript; the text says why, as SQLite puts it."""


class Transcript:
    """The writing end of a transcript.

    Parameters
    ----------
    path : str
        The file, which is made when it is not there, readable for its owner only; or `IN_MEMORY`.

    Raises
    ------
    Mistake
        When it cannot be opened or written, or is something else than a transcript.

    Notes
    -----
    Thread-safe. Each method has committed when it returns, but for `together`. The file is in WAL mode with
    ``synchronous = NORMAL``: a commit survives the end of the process, `kill -9` included, at once,
    and the loss of power from the next checkpoint on (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """

    def __init__(self, path: str) -> None:
        # Reentrant: the methods that write are called within `together` too.
        self._lock = threading.RLock()
        self._database = _open(path)
        self._opened_at = _now()
        self._session: int | None = None
        self.addresses: Sequence[str] = ()
        """Where the desk listens; kept with its first call, so that a desk without calls leaves no trace."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def open_call(self, number: int, peer: str) -> int:
        """Write that a call has begun; return its id in the transcript.

        Raises
        ------
        NotKept
            When it could not be written; so do all methods that write.
        """
        now = _now()
        with self._committed() as database:
            if self._session is None:
                self._session = _insert(
                    database,
                    "sessions (addresses, opened_at) VALUES (?, ?)",
                    (" ".join(self.addresses), self._opened_at),
                )
            return _insert(
                database,
                "calls (session_id, number, peer, opened_at) VALUES (?, ?, ?, ?)",
                (self._session, number, peer, now),
            )

    def name_call(self, call_id: int, name: str) -> None:
        """Write the name that a caller has given itself."""
        with self._committed() as database:
            database.execute("UPDATE calls SET name = ? WHERE id = ?", (name, call_id))

    def keep(self, direction: Direction, said: Iterable[tuple[int, str]]) -> None:
        """Write messages, all of them or none.

        Parameters
        ----------
        direction : Direction
            Who said them.
        said : iterable of (int, str)
            For each message the id of its call, and its text.
        """
        now = _now()
        rows = [(call_id, direction, now, text) for call_id, text in said]
        with self._committed() as database:
            database.executemany(
                "INSERT INTO messages (call_id, direction, said_at, text) VALUES (?, ?, ?, ?)", rows
            )

    def end_call(self, call_id: int, ending: str) -> None:
        """Write that a call is over, and why."""
        with self._committed() as database:
            database.execute(
                "UPDATE calls SET ended_at = ?, ending = ? WHERE id = ?", (_now(), ending, call_id)
            )

    def close_session(self) -> None:
        """Write that the desk closes."""
        with self._committed() as database:
            database.execute(
                "UPDATE sessions SET closed_at = ? WHERE id = ?", (_now(), self._session)
            )

    def close(self) -> None:
        """Close the file; nothing can be kept any more."""
        with self._lock:
            self._database.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit all that the calling thread writes in the context together, or nothing of it.

        Raises
        ------
        NotKept
            When something could not be written; it ends the context.
        """
        with self._committed():
            yield

    @contextmanager
    def _committed(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._database.in_transaction:
                yield self._database  # within `together`, which commits
                return
            session = self._session
            try:
                # Immediately: a transaction that wants to write later than it began may be refused at once,
                # without the wait for the other desk (https://www.sqlite.org/lang_transaction.html).
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException as error:
                # A row of the session that was rolled back is written again with the next call.
                self._session = session
                self._roll_back()
                if isinstance(error, sqlite3.Error):
                    raise NotKept(str(error)) from error
                raise

    def _roll_back(self) -> None:
        try:
            self._database.execute("ROLLBACK")
        except sqlite3.Error:
            # SQLite has rolled back by itself, or there was nothing to roll back.
            return


def _insert(database: sqlite3.Connection, what: str, row: tuple[object, ...]) -> int:
    """Insert one row; return its id."""
    return database.execute(f"INSERT INTO {what}", row).lastrowid or 0


def _now() -> str:
    return as_text(datetime.now(UTC))


def as_text(moment: datetime) -> str:
    """Write a time as the transcript has it: UTC, ISO 8601, microseconds; so texts sort as times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _open(path: str) -> sqlite3.Connection:
    try:
        if path != IN_MEMORY:
            _make(Path(path).expanduser())
        return _prepared(connect(path))
    except (sqlite3.Error, OSError) as error:
        raise Mistake(f"cannot write the transcript {path}: {_why(error)}") from None


def _make(file: Path) -> None:
    """Make the file before SQLite does, which would let every user of the machine read what is said."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def connect(path: str) -> sqlite3.Connection:
    """Open an SQLite file, and check that it is a transcript or empty.

    Raises
    ------
    Mistake
        When it is neither.
    sqlite3.Error
        When it cannot be opened.
    """
    name = path if path == IN_MEMORY or path.startswith("file:") else Path(path).expanduser()
    database = sqlite3.connect(
        name,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions begin where this module says so
        check_same_thread=False,  # `Transcript` has a lock
        uri=path.startswith("file:"),
    )
    try:
        _check(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection, path: str) -> None:
    # An empty file has no mark yet: `_prepared` makes a transcript of it.
    kind = _pragma(database, "application_id")
    is_empty = not database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    if kind != APPLICATION_ID and not is_empty:
        raise Mistake(f"{path} is an SQLite file, but no transcript of manyhands")
    if _pragma(database, "user_version") > VERSION:
        raise Mistake(f"the transcript {path} was written by a newer manyhands")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    value: int = database.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    try:
        # Readers go on while a desk writes (https://www.sqlite.org/wal.html).
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_TABLES)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
