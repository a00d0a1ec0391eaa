"""The file of a transcript: its tables, and how it is opened and told from another one."""

import contextlib
import errno
import os
import sqlite3
import stat
import struct
from enum import Enum, auto
from pathlib import Path

from manyhands.model.usage_errors import Mistake

IN_MEMORY = ":memory:"
"""The name of a transcript that keeps nothing."""

APPLICATION_ID = 0x6D68_6E64
"""What marks an SQLite file as ours ("mhnd"; SQLite's `PRAGMA application_id`)."""

CANNOT_WRITE = "cannot write the transcript "
"""How the sentence begins for a file that cannot be opened."""

VERSION = 1
"""The version of the tables (`PRAGMA user_version`)."""

BUSY_TIMEOUT = 1.0
"""Seconds that a write waits for another desk that writes to the same file."""

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_COLUMNS = (
    "id, addresses, opened_at, closed_at FROM sessions",
    "id, session_id, number, name, peer, opened_at, ended_at, ending FROM calls",
    "id, call_id, direction, said_at, text FROM messages",
)

_LONGEST_LOG = 8 * 2**20
"""Bytes of the write-ahead log that stay on the disk: twice what SQLite copies into the file at once."""

_INDEX_HEADER = struct.Struct("=14xHI")
"""The size of a page and the number of frames in the log, as the log's index begins with them."""

_FRAME_HEADER = 24
"""Bytes before each page in the log."""

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


class Locked(Mistake):
    """Another program holds the lock of the file."""


def open_or_make(path: str, patience: float | None = None) -> sqlite3.Connection:
    """Open a transcript to write to it; make it when it is not there.

    Parameters
    ----------
    path : str
        The file.
    patience : float, optional
        Seconds to wait for another program that holds its lock; `BUSY_TIMEOUT` by default.

    Raises
    ------
    Mistake
        When that cannot be done, or it is something else than a transcript; `Locked` when it may be later.
    """
    try:
        if path != IN_MEMORY:
            _make(_path(path))
        return _prepared(connect(path), BUSY_TIMEOUT if patience is None else patience)
    except (sqlite3.Error, OSError) as error:
        kind = Locked if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY else Mistake
        raise kind(f"{CANNOT_WRITE}{path}: {_why(error)}") from None


class Found(Enum):
    """What has become of a transcript's files."""

    AS_THEY_WERE = auto()
    NOT_OPEN = auto()
    """They have not been opened yet."""

    MOVED = auto()
    """Another file, or none, has the transcript's name."""

    EMPTIED = auto()
    """The file has lost all that was in it."""

    LOG_CUT = auto()
    """The write-ahead log has lost some of what was in it."""

    LOG_REMOVED = auto()
    """The log, or its index, has no name any more; what was said is still in the one that is open."""


class Files:
    """The file of a transcript, and the two that SQLite keeps beside it, as they were when it was opened.

    SQLite itself does not look whether the files that it has open still have their names
    (https://www.sqlite.org/howtocorrupt.html, section 2.4).

    Parameters
    ----------
    path : str
        The transcript's.
    is_open : bool
        Whether SQLite has them open; else they are to be opened.
    """

    def __init__(self, path: str, *, is_open: bool = True) -> None:
        self._path = path
        self._is_open = is_open
        self._log, self._index = (str(_path(path)) + end for end in ("-wal", "-shm"))
        self._identity = identity(path)
        self._beside = {file: identity(file) for file in (self._log, self._index)}
        # Open for as long as SQLite has the index open: a close would give up the locks that it holds there
        # (POSIX locks, fcntl(2); https://www.sqlite.org/howtocorrupt.html, section 2.2).
        self._index_reader: int | None = None
        self._index_size = 0 if self._beside[self._index] is None else file_size(self._index)

    def look(self) -> Found:
        """Look what has become of them. To be called before SQLite touches them."""
        if not self._is_open:
            return Found.NOT_OPEN
        if self._path == IN_MEMORY:
            return Found.AS_THEY_WERE
        self._restore_index()
        if identity(self._path) != self._identity:
            return Found.MOVED
        if not file_size(self._path):
            return Found.EMPTIED
        return self._look_beside()

    def _look_beside(self) -> Found:
        if self._has_lost_frames():
            return Found.LOG_CUT
        if any(known not in {None, identity(file)} for file, known in self._beside.items()):
            return Found.LOG_REMOVED
        return Found.AS_THEY_WERE

    def log_size(self) -> int:
        """Return the size of the write-ahead log in bytes; 0 when there is none."""
        return 0 if self._beside[self._log] is None else file_size(self._log)

    def close(self) -> None:
        """Give back what was needed to look. Not before SQLite has closed the files."""
        reader, self._index_reader = self._index_reader, None
        if reader is not None:
            os.close(reader)

    def is_log_another(self) -> bool:
        """Tell whether another program has begun a log in the place of the one that was removed."""
        return identity(self._log) not in {None, self._beside[self._log]} and bool(
            file_size(self._log)
        )

    def remove_log(self) -> None:
        """Remove what is left beside a file that was moved: it would be applied to the next one."""
        for file, known in self._beside.items():
            # Unless another desk has begun the next one, or has this one open.
            if self._is_open and known is not None and identity(file) == known:
                with contextlib.suppress(OSError):
                    Path(file).unlink()
            # The next file of this name may get the same number from the disk.
            self._beside[file] = None

    def _restore_index(self) -> None:
        # The index is mapped into memory: a touch of what has been cut off it would kill the process (SIGBUS,
        # mmap(2)). SQLite makes it anew from the log when it finds zeros.
        if identity(self._index) == self._beside[self._index] is not None:
            size = file_size(self._index)
            if size < self._index_size:
                with contextlib.suppress(OSError):
                    os.truncate(self._index, self._index_size)
            self._index_size = max(size, self._index_size)

    def _has_lost_frames(self) -> bool:
        """Tell whether the log is shorter than its index says (https://www.sqlite.org/walformat.html)."""
        if identity(self._log) != self._beside[self._log] or self._beside[self._log] is None:
            return False
        # The size first: a log that is begun anew is cut after its index has forgotten it.
        size = file_size(self._log)
        try:
            if self._index_reader is None:
                self._index_reader = os.open(self._index, os.O_RDONLY | os.O_CLOEXEC)
            header = os.pread(self._index_reader, _INDEX_HEADER.size, 0)
        except OSError:
            return False
        if len(header) < _INDEX_HEADER.size:
            return False
        page_size: int
        frames: int
        page_size, frames = _INDEX_HEADER.unpack(header)
        return size < frames * (page_size + _FRAME_HEADER)


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from others that had its name; None when there is none."""
    try:
        found = _path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def file_size(path: str) -> int:
    """Return the size of a file in bytes."""
    try:
        return _path(path).stat().st_size
    except OSError:
        return 1  # it has just gone, which the next look finds


def _path(path: str) -> Path:
    return Path(path).expanduser()


def _make(file: Path) -> None:
    """Make the file before SQLite does, which would let every user of the machine read what is said."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
    if not is_file:
        raise OSError(errno.EINVAL, f"it is no file ({IN_MEMORY} keeps nothing)")


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
        uri or (path if path == IN_MEMORY else _path(path).absolute()),
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


def _prepared(database: sqlite3.Connection, patience: float) -> sqlite3.Connection:
    try:
        database.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
        # Before the tables: a file that is made so gives pages back when rows are removed.
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        # Readers go on while a desk writes (https://www.sqlite.org/wal.html).
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        # Small again after one large transaction, such as VACUUM.
        database.execute(f"PRAGMA journal_size_limit = {_LONGEST_LOG}")
        database.executescript(_TABLES)
        for columns in _COLUMNS:
            # A table of another program's, or an older one's, is found before the first caller calls.
            database.execute(f"SELECT {columns} LIMIT 0")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
