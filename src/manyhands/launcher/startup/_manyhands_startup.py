"""The stand-in for `socketserver`, made when it is first imported and not before.

Every Python process of the program runs this at its start, most of them for nothing, so it imports
next to nothing: neither `manyhands` nor `threading` or `socket`, which a program may want to patch
first (as gevent does).

On fibers gevent has to patch all of these before the program imports them, and each process pays for that
(about 0.3 s).
"""

import sys
from os import environ, sep

TYPE_CHECKING = False  # typing is a heavy import; type checkers know the name
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_NAME = "socketserver"

#: The folder that holds the package, four levels up from this file (pathlib is a heavy import).
_HOME = __file__.rsplit(sep, 4)[0]

#: How `MANYHANDS_OPTIONS` says so, which `json.dumps` wrote (json is a heavy import).
_ON_FIBERS = '"engine": "fibers"'


def prepare() -> None:
    """Make this process import ours as `socketserver`."""
    sys.meta_path.insert(0, _Finder)
    if _ON_FIBERS in environ.get("MANYHANDS_OPTIONS", ""):
        _patch()
    if _NAME in sys.modules:
        _take_over()


def _patch() -> None:
    """Have all that waits in this process let fibers run."""
    try:
        import _manyhands_patch  # type: ignore[import-not-found]  # noqa: PLC0415 - beside this file
    except ImportError:
        return  # a child of another installation; if it becomes a server, `takeover` says so
    _Finder.is_looking_for_ours = True
    try:
        _manyhands_patch.patch()
    finally:
        _Finder.is_looking_for_ours = False


class _Finder:
    """Knows where `socketserver` is, and for that moment where `manyhands` is."""

    is_looking_for_ours = False

    @classmethod
    def find_spec(
        cls, name: str, _path: object = None, _target: object = None
    ) -> "ModuleSpec | None":
        if name == _NAME:
            return cls._replacement()
        if name == "manyhands" and cls.is_looking_for_ours:
            from importlib.machinery import PathFinder  # noqa: PLC0415 - see the top of the file

            # The launcher's own copy, wherever the program's path leads.
            return PathFinder.find_spec(name, [_HOME])
        return None

    @classmethod
    def _replacement(cls) -> "ModuleSpec | None":
        cls.is_looking_for_ours = True
        try:
            # See the top of the file; this brings little more than itself.
            from manyhands.runtime.replacement import is_for_green_copy, spec_for  # noqa: PLC0415
        finally:
            cls.is_looking_for_ours = False
        return None if is_for_green_copy() else spec_for(_NAME, "manyhands.launcher.takeover")


def _take_over() -> None:
    """Put ours in the place of the module that is there."""
    _Finder.is_looking_for_ours = True
    try:
        from manyhands.launcher.takeover import take_over  # noqa: PLC0415 - see the top of the file
    finally:
        _Finder.is_looking_for_ours = False
    take_over()
