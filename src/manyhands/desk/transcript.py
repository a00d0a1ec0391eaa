"""The transcript: everything said at a desk, in an SQLite file, each row committed before it is shown."""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

from manyhands.desk.commit_queue import SLOW
from manyhands.desk.transcript_file import (
    CANNOT_WRITE,
    IN_MEMORY,
    Files,
    Found,
    Locked,
    open_or_make,
)
from manyhands.desk.transcript_limits import NO_LIMITS, Housekeeping, Limits, give_back
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.locks import Latch

_FULL_TIDY = 60.0
"""Seconds that are spent at most on what is beyond the limits when a transcript is opened."""

_BREATH = 0.005
"""Seconds between two steps of that, for those who wait for the lock."""

_MOMENT = 0.5
"""Seconds in which all that is done with a file is over, at its close."""

_GLANCE = 0.05
"""Seconds to wait for another program's lock when a file is opened anew."""

_LASTING = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    UnicodeError,
    OverflowError,
)
"""Errors of what is written, not of the file."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""Errors that do not go away (https://www.sqlite.org/rescode.html)."""

_TABLES_CHANGED = ("no such table", "no such column", "has no column")
"""What SQLite says, with its most general code, when another program has removed or changed a table."""


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


class Damaged(NotKept):
    """The file is no transcript any more."""


class TablesChanged(NotKept):
    """Another program has removed or changed a table, for a while perhaps."""


class Refused(NotKept):
    """The transcript does not take what was to be written, now or later."""


class Transcript:
    """The writing end of a transcript.

    Parameters
    ----------
    path : str
        The file, which is made when it is not there, readable for its owner only; or `IN_MEMORY`.
    limits : Limits
        How much it may hold. What is beyond them is removed here, and then by `tidy`.

    Raises
    ------
    Mistake
        When it cannot be opened or written, or is something else than a transcript. A file whose disk does
        not answer within `SLOW` seconds is opened later: until then all methods wait for it. So is one whose
        lock another program holds: until `open_anew` has opened it nothing can be kept.

    Notes
    -----
    Thread-safe. Each method has committed when it returns, but for `together`. The file is in WAL mode with
    ``synchronous = NORMAL``: a commit survives the end of the process, `kill -9` included, at once,
    and the loss of power from the next checkpoint on (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """

    def __init__(self, path: str, limits: Limits = NO_LIMITS) -> None:
        # Reentrant: the methods that write are called within `together` too.
        self._lock = threading.RLock()
        self._path = path
        self._limits = limits
        self._housekeeping = Housekeeping(limits)
        self._opened_at = now()
        self._session: int | None = None
        self.file = 1
        """Counts the files that this transcript has been in: a call's id is good for one of them."""

        self.addresses: Sequence[str] = ()
        """Where the desk listens; kept with its first call, so that a desk without calls leaves no trace."""

        self._open_in_time()

    def _open_in_time(self) -> None:
        """Open the file, or leave that under way: all methods wait for it then, as for any commit."""
        is_begun, is_over = Latch(), Latch()
        failures: list[Exception] = []

        def open_() -> None:
            with self._lock:
                is_begun.set()
                try:
                    self._open_first()
                except Exception as failure:  # noqa: BLE001 - the constructor raises it
                    failures.append(failure)
            if not failures and self._limits != NO_LIMITS:
                self._tidy_all()
            is_over.set()

        try:
            # In a thread: no signal ends a call of the system for a disk that does not answer.
            threading.Thread(target=open_, name="manyhands-opening", daemon=True).start()
        except RuntimeError:
            open_()  # the system has no thread left
        # Before that, another one might have the lock first.
        is_begun.wait()
        if is_over.wait(SLOW) and failures:
            raise failures[0]

    def _open_first(self) -> None:
        self._files = Files(self._path, is_open=False)
        # Until there is another one: what is written raises, as it does after `close`.
        self._database = sqlite3.connect(IN_MEMORY, check_same_thread=False)
        self._database.close()
        with suppress(Locked):
            self._database = open_or_make(self._path)
            self._files = Files(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def open_call(
        self, number: int, peer: str, at: str | None = None, name: str | None = None
    ) -> int:
        """Write that a call has begun, now or at a time as `as_text` writes it; return its id in the file.

        Raises
        ------
        NotKept
            When it could not be written; so do all methods that write.
        """
        with self._committed() as database:
            if self._session is None:
                self._session = _insert(
                    database,
                    "sessions (addresses, opened_at) VALUES (?, ?)",
                    (" ".join(self.addresses), self._opened_at),
                )
            return _insert(
                database,
                "calls (session_id, number, name, peer, opened_at) VALUES (?, ?, ?, ?, ?)",
                (self._session, number, name, peer, at or now()),
            )

    def has_call(self, call_id: int, number: int) -> bool:
        """Tell whether a call of this desk's is still in the file: another program may have removed it."""
        with self._committed() as database:
            found = database.execute(
                "SELECT 1 FROM calls WHERE id = ? AND session_id IS ? AND number = ?",
                (call_id, self._session, number),
            )
            return found.fetchone() is not None

    def name_call(self, call_id: int, name: str) -> None:
        """Write the name that a caller has given itself."""
        with self._committed() as database:
            database.execute("UPDATE calls SET name = ? WHERE id = ?", (name, call_id))

    def keep(
        self, direction: Direction, said: Iterable[tuple[int, str]], at: str | None = None
    ) -> None:
        """Write messages, all of them or none.

        Parameters
        ----------
        direction : Direction
            Who said them.
        said : iterable of (int, str)
            For each message the id of its call, and its text.
        at : str, optional
            When, as `as_text` writes it; by default now.
        """
        at = at or now()
        rows = [(call_id, direction, at, text) for call_id, text in said]
        with self._committed() as database:
            database.executemany(
                "INSERT INTO messages (call_id, direction, said_at, text) VALUES (?, ?, ?, ?)", rows
            )

    def end_call(self, call_id: int, ending: str, at: str | None = None) -> None:
        """Write that a call is over, now or at a time, and why."""
        with self._committed() as database:
            database.execute(
                "UPDATE calls SET ended_at = ?, ending = ? WHERE id = ?",
                (at or now(), ending, call_id),
            )

    def close_session(self) -> None:
        """Write that the desk closes."""
        with self._committed() as database:
            database.execute(
                "UPDATE sessions SET closed_at = ? WHERE id = ?", (now(), self._session)
            )

    def close(self) -> None:
        """Close the file; nothing can be kept any more. One whose disk hangs is left to the process's end."""
        if self._lock.acquire(timeout=_MOMENT):
            try:
                # SQLite touches the index at the end, which may have been cut.
                self._files.look()
                self._database.close()
                self._files.close()
            finally:
                self._lock.release()

    def wait_for_others(self, seconds: float) -> None:
        """Wait so long from now on for another program that holds the lock of the file."""
        with self._lock, suppress(sqlite3.Error):
            self._database.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def look(self) -> Found:
        """Look whether the file, and what SQLite keeps beside it, are still there under their names.

        SQLite would go on writing to files that were moved or removed.

        Raises
        ------
        Damaged
            What was said has been cut off.
        """
        with self._lock:
            found = self._files.look()
        if found is Found.EMPTIED:
            raise Damaged("the file has been emptied")
        if found is Found.LOG_CUT:
            raise Damaged("its write-ahead log has been emptied")
        return found

    def open_anew(self) -> None:
        """Go on in the file that has the name now, which is made when it is not there.

        Raises
        ------
        NotKept
            When it cannot be opened. Nothing can be kept until another call has opened it.
        """
        with self._lock:
            # What is in the write-ahead log, which has the old name, belongs to the file that was moved.
            self._empty_log()
            self._close_file()
            self._files.remove_log()
            self._open_next()

    def open_again(self) -> bool:
        """Open the same file again, whose log was removed; return whether all of that is in the file.

        Raises
        ------
        NotKept
            When another program reads the file just now, or it cannot be opened.
        """
        with self._lock:
            # The index may be that of another program's log already.
            is_whole = not self._files.is_log_another()
            if is_whole and not self._empty_log():
                raise NotKept("its log was removed, and another program reads the file")
            self._close_file()
            self._open_file()
        return is_whole

    def _empty_log(self) -> bool:
        """Copy the write-ahead log into the file; return whether all of it is there."""
        with suppress(sqlite3.Error):
            (row,) = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            _, frames, copied = row
            return bool(frames == copied)
        return False

    def put_aside(self) -> str:
        """Rename a file that is damaged, and begin a new one; return the new name of the old one.

        Raises
        ------
        NotKept
            When it cannot be renamed, or the new one cannot be opened.
        """
        aside = f"{self._path}.damaged-{datetime.now():%Y%m%dT%H%M%S}"  # noqa: DTZ005 - for the operator's eyes
        with self._lock:
            try:
                Path(self._path).expanduser().rename(Path(aside).expanduser())
                with suppress(FileNotFoundError):
                    # Before SQLite, at the end of the connection, copies it into what is left of the file.
                    Path(f"{self._path}-wal").expanduser().rename(Path(f"{aside}-wal").expanduser())
            except OSError as error:
                raise NotKept(f"{self._path} cannot be renamed: {error.strerror}") from None
            self._close_file()
            self._open_next()
        return aside

    def _close_file(self) -> None:
        with suppress(sqlite3.Error):
            self._database.close()
        self._files.close()

    def _open_next(self) -> None:
        self._session = None
        self.file += 1
        self._open_file()

    def _open_file(self) -> None:
        try:
            # Callers may be waiting; and it is tried again.
            self._database = open_or_make(self._path, _GLANCE)
        except Mistake as mistake:
            why = str(mistake).removeprefix(f"{CANNOT_WRITE}{self._path}: ")
            raise NotKept(why) from None
        self._files = Files(self._path)

    def tidy(self) -> bool:
        """Remove some of what is beyond the limits; return whether it is to be told that the size is reached.

        Raises
        ------
        NotKept
            When it could not be done.
        """
        with self._lock:
            try:
                return self._housekeeping.tidy(self._database, self._session)
            except sqlite3.Error as error:
                raise _not_kept(error) from error

    def log_size(self) -> int:
        """Return how many bytes the write-ahead log has; it grows for as long as another program reads."""
        return self._files.log_size()

    def _tidy_all(self) -> None:
        """Remove all that is beyond the limits, as far as `_FULL_TIDY` goes; what is left is for `tidy`."""
        end = time.monotonic() + _FULL_TIDY
        # Another desk may be writing to the file.
        with suppress(NotKept, sqlite3.Error):
            while not self._housekeeping.is_done and time.monotonic() < end:
                # A little at a time: the desk may be open by now, and keeps what is said in between.
                self.tidy()
                time.sleep(_BREATH)
            with self._lock:
                give_back(self._database)

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
            if self._is_in_transaction():
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
                if isinstance(error, (sqlite3.Error, *_LASTING)):
                    raise _not_kept(error) from error
                raise

    def _is_in_transaction(self) -> bool:
        try:
            return self._database.in_transaction
        except sqlite3.Error as error:
            raise _not_kept(error) from error  # it is closed: the next file could not be opened

    def _roll_back(self) -> None:
        try:
            self._database.execute("ROLLBACK")
        except sqlite3.Error:
            # SQLite has rolled back by itself, or there was nothing to roll back.
            return


def _insert(database: sqlite3.Connection, what: str, row: tuple[object, ...]) -> int:
    """Insert one row; return its id."""
    return database.execute(f"INSERT INTO {what}", row).lastrowid or 0


def _not_kept(error: Exception) -> NotKept:
    if isinstance(error, _LASTING):
        return Refused(str(error))
    # Extended codes have the kind in their lower byte.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return Damaged(str(error))
    is_of_tables = any(sign in str(error) for sign in _TABLES_CHANGED)
    return TablesChanged(str(error)) if is_of_tables else NotKept(str(error))


def now() -> str:
    """Return the time as the transcript has it."""
    return as_text(datetime.now(UTC))


def as_text(moment: datetime) -> str:
    """Write a time as the transcript has it: UTC, ISO 8601, microseconds; so texts sort as times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
