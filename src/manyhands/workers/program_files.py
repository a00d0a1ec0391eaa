"""The files of a program, and what has changed of them."""

import os
import site
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

Look = Mapping[str, tuple[int, int, int]]
"""What files are like, by their paths: inode, size, and when each was written, in nanoseconds."""

QUIET = 0.1
"""Seconds without a change until what has changed is told: an editor, or a merge, writes several files."""

PATIENCE = 1.0
"""Seconds of that while a file is missing: what removes files, or their folder, mostly makes them anew."""

LONGEST = 10.0
"""Seconds after which what has changed is told although it goes on: a program may write files of its own."""

_MOST_FILES = 20_000
"""Files that are looked at, in all: more than a program has of its own."""


def program_files(
    modules: Mapping[str, object], elsewhere: Iterable[str] | None = None
) -> set[str]:
    """Return where the files of a program are, to be watched. What it imports later is not among them.

    Parameters
    ----------
    modules : mapping
        What the program has imported: `sys.modules`.
    elsewhere : iterable of str, optional
        Folders whose modules are not the program's own, with all that is below them; None: those of the
        standard library, of installed packages, and of this one.

    Returns
    -------
    set of str
        The folders of the modules that are written in Python, and the files of the others.
    """
    others = [Path(folder) for folder in (_installed() if elsewhere is None else elsewhere)]
    files = {Path(file).absolute() for file in map(_file_of, list(modules.values())) if file}
    own = (file for file in files if not any(map(file.is_relative_to, others)))
    return {str(file.parent if is_source(file.name) else file) for file in own}


def is_source(name: str) -> bool:
    """Tell whether a file's name is that of a module, and not of what an editor puts beside one."""
    # `.#shop.py` is a lock of Emacs, `flycheck_shop.py` a copy for its checker.
    return name.endswith(".py") and not name.startswith((".", "flycheck_"))


def look_at(paths: Collection[str]) -> Look:
    """Look at files, and at the modules in folders (not in folders below them), as they are now."""
    found: dict[str, tuple[int, int, int]] = {}
    for path in sorted(paths):
        for file, entry in _files_at(path):
            if len(found) >= _MOST_FILES:
                return found
            with suppress(OSError):  # it has gone meanwhile, or is a link that leads nowhere
                about = entry.stat()
                found[file] = (about.st_ino, about.st_size, about.st_mtime_ns)
    return found


class Changes:
    """What has changed since that was told last, once the files are left alone. Knows no clock.

    Parameters
    ----------
    paths : collection of str
        The files and folders that are watched.
    look : Look
        What is there now.
    """

    def __init__(self, paths: Collection[str], look: Look) -> None:
        self._paths = paths
        self._told = self._last = look
        self._since = self._begun = 0.0

    @property
    def are_pending(self) -> bool:
        """Whether something has changed that is not told yet."""
        return self._last != self._told

    def see(self, look: Look, now: float) -> list[str]:
        """Take in another look; return the files that have changed, when that is to be told.

        Parameters
        ----------
        look : Look
            What is there now, at the same paths.
        now : float
            Seconds, on a clock that is not set back.
        """
        if look != self._last:
            if not self.are_pending:
                self._begun = now
            self._last, self._since = look, now
        quiet = PATIENCE if self._told.keys() - look.keys() else QUIET
        if not self.are_pending or (now - self._since < quiet and now - self._begun < LONGEST):
            return []
        files = self._told.keys() | look.keys()
        changed = sorted(file for file in files if self._told.get(file) != look.get(file))
        self._told = look
        return changed

    def follow(self, paths: Collection[str], look: Look) -> None:
        """Go on with other paths, and what is there now. What has changed where both are is still told."""
        staying = {file: about for file, about in self._told.items() if _is_at(file, paths)}
        new = {file: about for file, about in look.items() if not _is_at(file, self._paths)}
        self._paths, self._told = paths, {**staying, **new}
        self._last = self._told


def _is_at(file: str, paths: Collection[str]) -> bool:
    return file in paths or str(Path(file).parent) in paths


def _files_at(path: str) -> Iterator[tuple[str, "os.DirEntry[str] | Path"]]:
    try:
        with os.scandir(path) as entries:
            # All at once: what is done with them must not keep the folder's descriptor.
            there = [entry for entry in entries if is_source(entry.name)]
    except NotADirectoryError:
        yield path, Path(path)
    except OSError:
        return  # it is not there (yet), or is another user's
    else:
        yield from ((entry.path, entry) for entry in there)


def _file_of(module: object) -> str | None:
    # Not by `getattr`: a lazy module would be loaded by that. What stands among the modules may be anything.
    try:
        file = object.__getattribute__(module, "__dict__").get("__file__")
    except AttributeError:
        return None
    return file if isinstance(file, str) else None


def _installed() -> set[str]:
    """Return the folders of what is installed, and of this package, which need not be."""
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    folders = {sysconfig.get_path(name) for name in names}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    folders.add(str(Path(__file__).parent.parent))
    return folders | {str(Path(folder).resolve()) for folder in folders}
