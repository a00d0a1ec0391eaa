"""Reloads a server with workers whenever a file of its program changes, while the program is written."""

import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.workers.file_watch import FileWatch

MOST_NAMED = 10
"""Files that the event names: a merge changes many."""


class ReloadOnChange:
    """Has the workers replaced when the files change that their templates tell of.

    Parameters
    ----------
    reload
        Begins a reload, and tells its outcome. Thread-safe.

    Raises
    ------
    MissingExtra
        When the package `watchfiles` is not here.
    """

    def __init__(self, reload: Callable[[Callable[[str | None], object]], object]) -> None:
        self._reload = reload
        self._files: frozenset[str] = frozenset()
        self._watch = FileWatch((), self._change)
        self._is_watching = False

    def follow(self, files: Collection[str], *, is_whole: bool) -> None:
        """Watch the files of the program that a template has imported; of one that has failed, those too.

        For the thread of the supervisor's loop.
        """
        self._files = frozenset(files) if is_whole else self._files | frozenset(files)
        self._watch.watch(self._files)
        if not self._is_watching and self._files:
            self._watch.start()
            self._is_watching = True

    def _change(self, changed: Sequence[str]) -> None:
        """Reload. In the thread of the watch."""
        if event_hub.has_subscribers:
            named = tuple(map(_short, changed[:MOST_NAMED]))
            event_hub.emit(events.ProgramChanged(len(changed), named))
        self._reload(_leave_alone)

    def end(self) -> None:
        """Watch no more."""
        if self._is_watching:
            self._watch.stop()


def _short(file: str) -> str:
    """Return a path as seen from the current folder, where the file is below that."""
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - as text: no path is made of it
    return file.removeprefix(here)


def _leave_alone(_failure: Any) -> None:
    """Do nothing: events tell of the outcome."""
