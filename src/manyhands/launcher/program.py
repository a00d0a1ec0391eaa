"""The program that `manyhands run` is to run: checked before anything starts, and then put in our place.

Paths are strings here, as in the whole launcher: `pathlib` would be 3 ms of each start.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from importlib.util import find_spec
from typing import NoReturn
from zipimport import ZipImportError, zipimporter

from manyhands.model.usage_errors import Mistake

_MAINS = ("__main__.py", "__main__.pyc")
"""What a folder must hold to be a program (the documentation of `python PROGRAM`)."""


def command(words: Sequence[str]) -> list[str]:
    """Check the program and say how the interpreter is to be called for it.

    Parameters
    ----------
    words : sequence of str
        `PROGRAM [args]`, `-m MODULE [args]` or `-- PROGRAM [args]`.

    Returns
    -------
    list of str
        What follows the interpreter and its flags on the command line.

    Raises
    ------
    Mistake
        There is no such program or module, or it is none that Python can run.
    """
    if words and words[0].startswith("-m"):
        return _module_command(words)
    return _program_command(words[1:] if words and words[0] == "--" else words)


def _program_command(words: Sequence[str]) -> list[str]:
    program, *rest = words or [""]
    if not program:
        raise Mistake(
            "say which program to run: manyhands run [options] PROGRAM [args], or -m MODULE [args]"
        )
    _check_program(program)
    # Without it, the interpreter would take a name that begins with a dash for flags of its own.
    return ["--", program, *rest] if program.startswith("-") else [program, *rest]


def _module_command(words: Sequence[str]) -> list[str]:
    attached = words[0].removeprefix("-m")
    module, *rest = [attached, *words[1:]] if attached else words[1:] or [""]
    if not module:
        raise Mistake("say which module to run: manyhands run [options] -m MODULE [args]")
    _check_module(module)
    return ["-m", module, *rest]


def _check_program(path: str) -> None:
    """Check that a path is a program: a file, or a folder or zip file with a `__main__.py`."""
    if not os.path.exists(path):
        raise Mistake(f"there is no program {path!r}{_module_hint(path)}")
    if not os.access(path, os.R_OK):
        raise Mistake(f"the program {path!r} cannot be read: permission denied")
    if os.path.isdir(path):
        if not any(os.path.isfile(os.path.join(path, main)) for main in _MAINS):
            raise Mistake(f"the folder {path!r} is no program: it has no __main__.py")
    elif os.path.isfile(path) and not _has_main_if_zip(path):
        raise Mistake(f"the zip file {path!r} is no program: it has no __main__.py")


def _has_main_if_zip(path: str) -> bool:
    # The interpreter's own reader, which is loaded anyway; `zipfile` would be 10 ms of each start.
    try:
        archive = zipimporter(path)
    except ZipImportError:
        return True  # a file of another kind
    main = archive.find_spec("__main__")
    return main is not None and main.submodule_search_locations is None


def _module_hint(path: str) -> str:
    is_module = all(map(str.isidentifier, path.split("."))) and _find(path) is not None
    return f"; for the module of that name: manyhands run -m {path}" if is_module else ""


def _check_module(name: str) -> None:
    """Check that a name is that of a module which can be run, the current folder first on the path."""
    spec = _find(name) or _find_by_importing(name)
    if spec is None:
        hint = f"; for the file of that name: manyhands run {name}" if os.path.isfile(name) else ""
        raise Mistake(f"there is no module {name!r}{hint}")
    if spec.submodule_search_locations is not None:
        if _find(f"{name}.__main__") is None:
            raise Mistake(f"the module {name!r} is a package without __main__, so it cannot be run")
    elif spec.origin == "built-in" or isinstance(spec.loader, ExtensionFileLoader):
        raise Mistake(f"the module {name!r} is not written in Python, so it cannot be run")


def _find(name: str) -> ModuleSpec | None:
    """Find a module without importing anything, not even the packages that it is in."""
    path: Sequence[str] | None = None
    spec = None
    for depth in range(1, name.count(".") + 2):
        if depth > 1 and path is None:
            return None
        spec = _find_in(".".join(name.split(".")[:depth]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _find_in(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        # The interpreter that will run the module has the current folder first, this one has its own.
        places = _search_path() if path is None and finder is PathFinder else path
        spec = finder.find_spec(name, places)
        if spec is not None:
            return spec
    return None


def _search_path() -> list[str]:
    return sys.path if sys.flags.safe_path else [os.getcwd(), *sys.path]


def _find_by_importing(name: str) -> ModuleSpec | None:
    """Ask the import system, for packages that extend their path when they are imported."""
    package = _find(name.partition(".")[0])
    if package is None or package.submodule_search_locations is None:
        return None
    try:
        return find_spec(name)
    except Exception:  # noqa: BLE001 - whatever a package does when it is imported, it is not found
        return None


_LETTERS = re.compile("-[^mcWX]*")
"""The letters of a word of the interpreter's flags, up to one that takes a value (`-W`, `-X`) or names the
program (`-m`, `-c`): see `python --help`."""

_LONG_WITH_VALUE = "--check-hash-based-pycs"
"""The one long flag whose value is a word of its own."""


def interpreter_line(words: Sequence[str]) -> list[str]:
    """Return the command that runs the interpreter, with the flags of this process, on the program.

    Raises
    ------
    Mistake
        The interpreter was started so that it ignores `PYTHONPATH` or `sitecustomize`.
    """
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise Mistake(
            "Python was started with -E, -I or -S, so it would not look at what manyhands run puts "
            "into PYTHONPATH: start it without"
        )
    return [sys.executable, *_flags(sys.orig_argv), *words]


def replace_this_process(words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Turn this process into the interpreter, with the same flags, on the program; return only by raising.

    Parameters
    ----------
    words : sequence of str
        The program, and its arguments: see `command`.
    environment : mapping of str to str
        The program's environment.

    Raises
    ------
    Mistake
        The interpreter was started so that it ignores `PYTHONPATH` or `sitecustomize`, or it
        cannot be started again.
    """
    command_line = interpreter_line(words)
    try:
        os.execve(sys.executable, command_line, dict(environment))  # noqa: S606 - no shell is the point
    except (OSError, ValueError) as error:
        raise Mistake(f"cannot start {sys.executable!r} on {words[0]!r}: {error}") from error


def _flags(orig_argv: Sequence[str]) -> list[str]:
    """Pick the interpreter's own flags, such as `-u` and `-X dev`, out of its command line."""
    words = iter(orig_argv[1:])
    found: list[str] = []
    for word in words:
        if not word.startswith("-") or word in {"-", "--"}:
            break
        letters = word if word.startswith("--") else _LETTERS.findall(word)[0]
        rest = word.removeprefix(letters)
        if rest.startswith(("m", "c")):
            found += [letters] if letters != "-" else []
            break
        found.append(word)
        if rest in {"W", "X"} or word == _LONG_WITH_VALUE:
            found.append(next(words))
    return found
