"""The program that `manyhands run` is to run, checked before anything starts."""

import os
import sys
import zipfile
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from manyhands.model.usage_errors import Mistake

#: What a folder or a zip file must hold to be a program (the documentation of `python PROGRAM`).
_MAINS = ("__main__.py", "__main__.pyc")


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
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises on a path that is too long
        raise Mistake(f"there is no program {path!r}{_module_hint(path)}")
    if not os.access(path, os.R_OK):
        raise Mistake(f"the program {path!r} cannot be read: permission denied")
    if Path(path).is_dir():
        if not any((Path(path) / main).is_file() for main in _MAINS):
            raise Mistake(f"the folder {path!r} is no program: it has no __main__.py")
    elif Path(path).is_file() and zipfile.is_zipfile(path):
        _check_zip(path)


def _check_zip(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        if not set(_MAINS) & set(archive.namelist()):
            raise Mistake(f"the zip file {path!r} is no program: it has no __main__.py")


def _module_hint(path: str) -> str:
    is_module = all(map(str.isidentifier, path.split("."))) and _find(path) is not None
    return f"; for the module of that name: manyhands run -m {path}" if is_module else ""


def _check_module(name: str) -> None:
    """Check that a name is that of a module which can be run, the current folder first on the path."""
    spec = _find(name) or _find_by_importing(name)
    if spec is None:
        hint = f"; for the file of that name: manyhands run {name}" if Path(name).is_file() else ""
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
    return sys.path if sys.flags.safe_path else [str(Path.cwd()), *sys.path]


def _find_by_importing(name: str) -> ModuleSpec | None:
    """Ask the import system, for packages that extend their path when they are imported."""
    package = _find(name.partition(".")[0])
    if package is None or package.submodule_search_locations is None:
        return None
    try:
        return find_spec(name)
    except Exception:  # noqa: BLE001 - whatever a package does when it is imported, it is not found
        return None
