"""`manyhands.install()`: ours in the place of the standard library's `socketserver`."""

import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import TypeGuard

import manyhands.socketserver as ours

_NAME = "socketserver"


def install() -> ModuleType:
    """Make `import socketserver` give `manyhands.socketserver`, in this process, from now on.

    Call it before anything that builds on the standard `socketserver` is imported: `http.server`,
    `xmlrpc.server`, `wsgiref.simple_server` and `logging.config` take its classes when they are
    imported. A second call does nothing. `manyhands run` does it for a program that is not to be changed,
    and for its children.

    Returns
    -------
    module
        `manyhands.socketserver`, whose public classes say from now on that they are of the module
        `socketserver`.

    Warns
    -----
    RuntimeWarning
        Modules that keep using the standard one, because they were imported too early, by name.

    Notes
    -----
    Not meant for two threads at once.
    """
    standard = sys.modules.get(_NAME)
    if standard is ours:
        return ours
    # Pickles, logs and `repr` name a class by its module, and are to read as before.
    for name in ours.__all__:
        getattr(ours, name).__module__ = _NAME
    sys.modules[_NAME] = ours
    if standard is not None:
        _warn_of(sorted(_users_of(standard)))
    return ours


def _warn_of(users: list[str]) -> None:
    if users:
        warnings.warn(
            f"manyhands.install() came too late for {', '.join(users)}: imported before it, they "
            "keep using the standard library's socketserver",
            RuntimeWarning,
            stacklevel=3,
        )


def _users_of(standard: ModuleType) -> Iterator[str]:
    """Name the modules that hold the standard module, its classes, or classes derived from them."""
    own = {
        value
        for value in _contents(standard)
        if _is_class(value) and value.__module__ == standard.__name__
    }
    # A copy: another thread may import something meanwhile.
    for name, module in list(sys.modules.items()):
        if module is not standard and any(
            value is standard or (_is_class(value) and not own.isdisjoint(value.__mro__))
            for value in _contents(module)
        ):
            yield name


def _contents(module: object) -> list[object]:
    """List what a module holds, without waking one that loads on the first look-up."""
    try:
        return list(object.__getattribute__(module, "__dict__").values())
    except AttributeError:
        return []  # anything can be in sys.modules


def _is_class(value: object) -> TypeGuard[type]:
    """Tell a class from a proxy that says it is one and fails when asked (isinstance would ask)."""
    return issubclass(type(value), type)
