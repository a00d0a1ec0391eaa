"""`manyhands.install()`: ours in the place of the standard library's `socketserver`."""

import functools
import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeGuard

import manyhands.socketserver as ours
from manyhands.dropin import base, handlers, mixins, tcp
from manyhands.runtime.replacement import ReplacementFinder, spec_for

_NAME = "socketserver"

_SOURCES: dict[str, ModuleSpec] = {
    module.__name__: module.__spec__
    for module in (ours, base, tcp, mixins, handlers)
    if module.__spec__
}
"""Where the source of the public classes is, in the order in which `source` has it."""

_ABOUT_THE_MODULE = frozenset(
    [
        "__builtins__",
        "__cached__",
        "__file__",
        "__loader__",
        "__name__",
        "__package__",
        "__path__",
        "__spec__",
    ]
)
"""What the import system sets for each module, whatever is in it."""


def install() -> ModuleType:
    """Make `import socketserver` give `manyhands.socketserver`, in this process, from now on.

    Call it before anything that builds on the standard `socketserver` is imported: `http.server`,
    `xmlrpc.server`, `wsgiref.simple_server` and `logging.config` take its classes when they are
    imported. A second call does nothing. `manyhands run` does it for a program that is not to be changed,
    and for its children.

    Returns
    -------
    module
        What `import socketserver` gives from now on: `manyhands.socketserver`, whose public classes say
        from now on that they are of the module `socketserver`. (Under `manyhands run`, what it gave before.)

    Warns
    -----
    RuntimeWarning
        Modules that keep using the standard one, because they were imported too early, by name.

    Notes
    -----
    Not meant for two threads at once.
    """
    standard: Any = sys.modules.get(_NAME)
    if standard is not None and vars(standard).get("BaseServer") is ours.BaseServer:
        return standard  # type: ignore[no-any-return]  # a module
    _name_classes()
    # For what imports the module in ways of its own from now on, or once more: `importlib.util.find_spec`,
    # `importlib.reload`, an import after `del sys.modules["socketserver"]`.
    sys.meta_path.insert(0, ReplacementFinder(_NAME, __name__))
    spec = spec_for(_NAME, __name__)
    vars(ours).update(
        __name__=_NAME, __package__="", __spec__=spec, __loader__=spec.loader, __file__=spec.origin
    )
    sys.modules[_NAME] = ours
    if standard is not None:
        _warn_of(sorted(_users_of(standard)))
    return ours


def fill(names: dict[str, object]) -> None:
    """Put all that `manyhands.socketserver` has into a module's names: the same objects each time."""
    _name_classes()
    names |= {name: value for name, value in vars(ours).items() if name not in _ABOUT_THE_MODULE}


# Once: the second time, the lines would be moved again.
@functools.cache
def _name_classes() -> None:
    """Have the public classes say that they are of the module `socketserver`."""
    first_lines = _first_lines()
    for name in ours.__all__:
        kind: Any = getattr(ours, name)
        home, line = kind.__module__, vars(kind).get("__firstlineno__")
        # Pickles, logs and `repr` name a class by its module, and are to read as before.
        kind.__module__ = _NAME
        # Python 3.13 and later look for a class at its line, and forget that with the module; before, a class
        # is found by its name.
        if line is not None and home in first_lines:
            kind.__firstlineno__ = first_lines[home] + line


def _first_lines() -> dict[str, int]:
    """Return how many lines stand before those of each module in what `source` returns."""
    found, line = {}, 0
    for name, spec in _SOURCES.items():
        found[name] = line
        try:
            line += _data_of(spec).count(b"\n")
        except OSError:
            break  # an installation without sources
    return found


def _data_of(spec: ModuleSpec) -> bytes:
    loader: Any = spec.loader
    data: bytes = loader.get_data(spec.origin)
    return data


def source() -> str:
    """Return the source of the module `socketserver`, and behind it that of its classes from elsewhere.

    `inspect` looks for a class in the source of the module that the class says it is of.

    Raises
    ------
    OSError
        When the installation has no sources.
    """
    return b"".join(map(_data_of, _SOURCES.values())).decode()


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
