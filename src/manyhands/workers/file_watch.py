"""Watching the files of a program while it is written: when they change, it is to be started anew.

On watchfiles, which has the kernel tell of changes. The disk is looked at now and then all the same: the
kernel tells nothing of a folder that is made anew, of a link that leads elsewhere, of another machine's disk.
"""

import importlib
import logging
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from manyhands.model.usage_errors import MissingExtra
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.unpatched import native_thread_id, start_native_thread
from manyhands.workers.program_files import Changes, Look, is_source, look_at

STOP_TIMEOUT = 5.0
"""Seconds that `FileWatch.stop` waits for the thread, which may be calling `on_change`."""

_STEP = 0.05
"""Seconds between two looks at files that are changing; and until the thread notices that it is to stop."""

_REST = 1.0
"""Seconds until the disk is looked at although the kernel has told of no change."""

_REST_AFTER_LOOK = 20
"""How many times as long as a look took the next one is put off: on a slow disk it would have no end."""


class FileWatch:
    """Calls a function when files of a program have changed, once for all that change together.

    Parameters
    ----------
    paths : collection of str
        Files, and folders whose modules are meant (those in folders below them are not). What is not there is
        watched for.
    on_change : callable
        Called with the paths of the files that have changed, in a thread of the system's, one call after the
        other; what changes during one is told with the next. It may call `watch` and `stop`. What it raises
        is reported, and the watch goes on.

    Raises
    ------
    MissingExtra
        When the package `watchfiles` is not here.
    """

    def __init__(self, paths: Collection[str], on_change: Callable[[list[str]], object]) -> None:
        self._notify = _watchfiles()
        self._on_change = on_change
        self._wanted = _seen(paths)
        self._is_stopping, self._has_ended = Latch(), Latch()
        self._has_ended.set()
        self._thread: int | None = None
        self._look_took = 0.0
        renew_in_copies(self, FileWatch._leave_to_the_original)

    def start(self) -> None:
        """Begin to watch: what changes from now on is told. A watch that was stopped cannot start again.

        Raises
        ------
        RuntimeError
            When the system has no thread left.
        """
        self.watch(self._wanted[0])
        self._has_ended = Latch()
        try:
            start_native_thread(self._run, name="manyhands-file-watch")
        except RuntimeError:
            self._has_ended.set()
            raise

    def watch(self, paths: Collection[str]) -> None:
        """Watch these paths from now on. What has changed at those that were watched before is still told.

        Thread-safe.
        """
        self._wanted = _seen(paths)

    def stop(self) -> None:
        """Watch no more: when this has returned, no call of the function begins. Thread-safe.

        Waits for a call that is under way, `STOP_TIMEOUT` seconds at the most. Once more does no harm.
        """
        self._is_stopping.set()
        if self._thread != native_thread_id():
            self._has_ended.wait(STOP_TIMEOUT)

    def _leave_to_the_original(self) -> None:
        # The thread is the original's.
        self._is_stopping.set()
        self._has_ended.set()

    def _run(self) -> None:
        self._thread = native_thread_id()
        changes = Changes(*self._wanted)
        try:
            while not self._is_stopping.is_set():
                try:
                    self._watch_wanted(changes)
                except Exception as error:  # noqa: BLE001 - of `on_change`, or no memory, say
                    print_uncaught(error)
                    self._is_stopping.wait(_STEP)
        finally:
            self._has_ended.set()

    def _watch_wanted(self, changes: Changes) -> None:
        """Watch the paths that are wanted now, until others are, or one of the folders is another folder."""
        wanted = paths, look = self._wanted
        changes.follow(paths, look)
        folders, due = _folders(paths), 0.0
        has_ended = _Question(lambda: self._is_stopping.is_set() or self._wanted is not wanted)
        with closing(self._notices(folders, has_ended)) as notices:
            for named in notices:
                are_folders = not folders.keys().isdisjoint(named)
                is_meant = are_folders or any(_is_meant(path, paths) for path in named)
                # Of a log that is written beside the program there are notices all the time.
                if not is_meant and time.monotonic() < due:
                    continue
                self._tell(changes, paths, has_ended)
                # One that is made anew may have the old one's inode.
                if are_folders or _folders(paths) != folders:
                    return
                due = time.monotonic() + max(_REST, _REST_AFTER_LOOK * self._look_took)

    def _notices(
        self, folders: Mapping[str, object], has_ended: "_Question"
    ) -> Generator[Collection[str]]:
        """Yield the paths of what changes in the folders from now on; and none, again and again."""
        there = [folder for folder, identity in folders.items() if identity is not None]
        step = round(1000 * _STEP)
        try:
            for changes in self._notify(
                *there,
                watch_filter=None,
                debounce=step,
                step=step,
                stop_event=has_ended,
                rust_timeout=step,
                yield_on_timeout=True,
                raise_interrupt=False,
                recursive=False,
                ignore_permission_denied=True,
            ):
                yield [path for _, path in changes]
        except (OSError, RuntimeError):
            # A folder has just gone, or the user has no watch left (max_user_watches in inotify(7)).
            while not (has_ended.is_set() or self._is_stopping.wait(_REST)):
                yield []

    def _tell(self, changes: Changes, paths: Collection[str], has_ended: "_Question") -> None:
        """Call the function, if files have changed, as soon as they are left alone."""
        while not has_ended.is_set():
            began = time.monotonic()
            look = look_at(paths)
            now = time.monotonic()
            self._look_took = now - began
            changed = changes.see(look, now)
            if changed:
                self._on_change(changed)
            if not changes.are_pending:
                return
            self._is_stopping.wait(_STEP)


class _Question:
    """A function as the event that watchfiles looks at."""

    def __init__(self, answer: Callable[[], bool]) -> None:
        self.is_set = answer


def _watchfiles() -> Callable[..., Iterator[Collection[tuple[object, str]]]]:
    try:
        module: Any = importlib.import_module("watchfiles")
    except ImportError:
        raise MissingExtra("--reload", "watchfiles", "reload") from None
    # It logs each change, of files that do not matter too.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    notify: Callable[..., Iterator[Collection[tuple[object, str]]]] = module.watch
    return notify


def _seen(paths: Collection[str]) -> tuple[frozenset[str], Look]:
    absolute = frozenset(str(Path(path).absolute()) for path in paths)
    return absolute, look_at(absolute)


def _is_meant(path: str, paths: Collection[str]) -> bool:
    return path in paths or is_source(Path(path).name)


def _folders(paths: Collection[str]) -> dict[str, tuple[int, int] | None]:
    """Return the folders to be watched, those that paths name or are in, and which each of them is now."""
    places = {each: Path(each) for each in paths}
    folders = {path if path.is_dir() else path.parent for path in places.values()}
    return {str(folder): _identity(folder) for folder in folders}


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        about = folder.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino
