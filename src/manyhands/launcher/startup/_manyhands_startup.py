"""The stand-in for `socketserver`, made when it is first imported and not before.

What the program was given (options, a control socket) is set up then, or with `manyhands.socketserver`.

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
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_NAME = "socketserver"

_OURS = "manyhands.socketserver"

_SETTING_UP = "manyhands.launcher.takeover"

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
    elif _OURS in sys.modules:
        _set_up()


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
        cls, name: str, path: "Sequence[str] | None" = None, _target: object = None
    ) -> "ModuleSpec | None":
        if name == _NAME:
            return cls._replacement()
        if name == _OURS:
            return _with_set_up(name, path)
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
        return None if is_for_green_copy() else spec_for(_NAME, _SETTING_UP)


def _with_set_up(name: str, path: "Sequence[str] | None") -> "ModuleSpec | None":
    """Find ours; once it is imported, what the program was given is set up.

    So a program that uses our classes by our names has its options, and its workers, too.
    """
    from importlib.machinery import PathFinder  # noqa: PLC0415 - see the top of the file

    spec = PathFinder.find_spec(name, path)
    loader = None if spec is None else spec.loader
    if loader is None:
        return spec
    execute = loader.exec_module

    def exec_module(module: "ModuleType") -> None:
        execute(module)
        # The loader of a zip file is that of other modules too.
        if module.__name__ == _OURS:
            _set_up()

    loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def _set_up() -> None:
    # What imports this, on its way to `manyhands.socketserver`, sets up itself.
    if _SETTING_UP not in sys.modules:
        from manyhands.launcher.takeover import set_up  # noqa: PLC0415 - see the top of the file

        set_up()


def _take_over() -> None:
    """Put ours in the place of the module that is there."""
    _Finder.is_looking_for_ours = True
    try:
        from manyhands.launcher.takeover import take_over  # noqa: PLC0415 - see the top of the file
    finally:
        _Finder.is_looking_for_ours = False
    take_over()
