"""From ``MODULE:HANDLER`` on a command line to the object that it names."""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from manyhands.model.usage_errors import Mistake, closest


def load_handler(reference: str) -> Callable[[Any, Any, Any], Any]:
    """Import what `reference` names.

    Parameters
    ----------
    reference
        ``package.module:Handler``, or ``folder/file.py:Handler``; what stands after the colon may be
        dotted. Modules are looked for in the current folder first.

    Raises
    ------
    Mistake
        When there is no such thing, or it could not be imported.
    """
    module_name, colon, name = reference.rpartition(":")
    if not colon or not module_name or not all(map(str.isidentifier, name.split("."))):
        raise Mistake(
            f"{reference!r} names no handler: write MODULE:HANDLER, such as {_example(reference)}"
        )
    handler: Callable[[Any, Any, Any], Any] = _found(_imported(module_name), module_name, name)
    return handler


def _example(reference: str) -> str:
    """Return what was perhaps meant by what names no handler."""
    module, dot, name = reference.rpartition(".")
    # Not by `pathlib`, which fails at what can be no name of a file.
    if any(os.path.isfile(f"{reference}{end}") for end in ("", ".py")):  # noqa: PTH113
        return f"{reference}:Echo"
    # With a dot in the place of the colon.
    return f"{module}:{name}" if dot and module and name.isidentifier() else "shop.handlers:Echo"


def _found(module: ModuleType, module_name: str, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            hint = _shadowed(module, module_name) or _suggestion(found, part)
            raise Mistake(f"{module_name} has no {name}{hint}") from None
        except Exception as error:  # noqa: BLE001 - a property or a module's __getattr__ may raise anything
            raise Mistake(f"{name} of {module_name} cannot be had: {_said(error)}") from None
    return found


def _suggestion(found: object, name: str) -> str:
    """Name what may have been misspelt, and the classes that are defined in a module or a class."""
    if not isinstance(found, ModuleType | type):
        return ""
    home = found.__name__ if isinstance(found, ModuleType) else found.__module__
    classes = [
        name
        for name, value in vars(found).items()
        if isinstance(value, type) and value.__module__ == home
    ]
    near = closest(name, [other for other, value in vars(found).items() if callable(value)])
    there = f"; its classes are {', '.join(classes)}" if classes else ""
    return f"{there}; did you mean {near}?" if near else there


def _shadowed(module: ModuleType, name: str) -> str:
    """Say so when a file of the current folder was meant, and a module of that name was imported before."""
    file, itself = Path(f"{name}.py"), getattr(module, "__file__", None)
    if not file.is_file() or (isinstance(itself, str) and Path(itself).resolve() == file.resolve()):
        return ""
    return f", for that is {itself or 'built in'}; the file here is {file}:HANDLER"


def _imported(name: str) -> ModuleType:
    name, here = name.removeprefix("./"), str(Path.cwd())
    # People expect `manyhands serve shop:Echo` to find ./shop.py, as `python -m` does.
    sys.path.insert(0, here)
    try:
        return _from_file(Path(name)) if name.endswith(".py") else _module(name)
    except (Mistake, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise Mistake(f"there is no module {error.name} (looked in {here} first)") from None
        raise Mistake(_why(name, error)) from None
    except BaseException as error:  # noqa: BLE001 - whatever the user's module raises, be it SystemExit, is the user's to mend
        raise Mistake(_why(name, error)) from None


def _module(name: str) -> ModuleType:
    if "/" in name:
        hint = f"; there is a file {name}.py" if Path(f"{name}.py").is_file() else ""
        raise Mistake(
            f"{name!r} is no name of a module{hint}: write package.module or folder/file.py"
        )
    if name.startswith("."):
        raise Mistake(f"{name!r} is a relative name, and there is nothing that it is relative to")
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    if path.is_dir():
        raise Mistake(f"{path} is a folder, not a Python file")
    if not path.is_file():
        raise Mistake(f"there is no file {path}")
    # As `python FILE` has it: what the file imports may lie beside it.
    sys.path.insert(0, str(path.resolve().parent))
    # Not by its name: a file called time.py is meant, not the module that is imported already.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise Mistake(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _why(name: str, error: BaseException) -> str:
    return f"{name} cannot be imported: {_said(error)}{_place(error)}"


def _said(error: BaseException) -> str:
    """Return the kind and the text of an exception, in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - the exception is a user's class, and so is its __str__
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException) -> str:
    """Say where the user's code raised an exception; a syntax error says that itself."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith("<frozen importlib")]
    if isinstance(error, SyntaxError) or not theirs or theirs[-1].filename == __file__:
        return ""
    return f" ({theirs[-1].filename}:{theirs[-1].lineno})"
