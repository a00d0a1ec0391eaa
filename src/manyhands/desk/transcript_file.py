"""The file of a transcript: its tables, and how it is opened and told from another one."""

import os
import sqlite3
from pathlib import Path

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


def open_or_make(path: str) -> sqlite3.Connection:
    """Open a transcript to write to it; make it when it is not there.

    Raises
    ------
    Mistake
        When that cannot be done, or it is something else than a transcript.
    """
    try:
        if path != IN_MEMORY:
            _make(Path(path).expanduser())
        return _prepared(connect(path))
    except (sqlite3.Error, OSError) as error:
        raise Mistake(f"cannot write the transcript {path}: {_why(error)}") from None


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from others that had its name; None when there is none."""
    try:
        found = Path(path).expanduser().stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def file_size(path: str) -> int:
    """Return the size of a file in bytes."""
    try:
        return Path(path).expanduser().stat().st_size
    except OSError:
        return 1  # it has just gone, which the next look finds


def _make(file: Path) -> None:
    """Make the file before SQLite does, which would let every user of the machine read what is said."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def connect(path: str, uri: str | None = None) -> sqlite3.Connection:
    """Open an SQLite file, and check that it is a transcript or empty.

    Parameters
    ----------
    path : str
        The file.
    uri : str, optional
        How SQLite is to open it (https://www.sqlite.org/uri.html).

    Raises
    ------
    Mistake
        When it is neither.
    sqlite3.Error
        When it cannot be opened.
    """
    database = sqlite3.connect(
        uri or (path if path == IN_MEMORY else Path(path).expanduser().absolute()),
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions begin where this module says so
        check_same_thread=False,  # `Transcript` has a lock
        uri=uri is not None,
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
        # Before the tables: a file that is made so gives pages back when rows are removed.
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
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
