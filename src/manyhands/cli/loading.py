"""From ``MODULE:HANDLER`` on a command line to the object that it names."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from manyhands.rules.mistakes import Mistake


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
    if not colon or not module_name or not name:
        raise Mistake(
            f"{reference!r} names no handler: write MODULE:HANDLER, such as shop.handlers:Echo"
        )
    found: Any = _imported(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise Mistake(f"{module_name} has no {name}{_suggestion(found)}")
        found = getattr(found, part)
    handler: Callable[[Any, Any, Any], Any] = found
    return handler


def _suggestion(module: object) -> str:
    handlers = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == getattr(module, "__name__", None)
    ]
    return f"; its classes are {', '.join(handlers)}" if handlers else ""


def _imported(name: str) -> ModuleType:
    # People expect `manyhands serve shop:Echo` to find ./shop.py, as `python -m` does.
    sys.path.insert(0, str(Path.cwd()))
    try:
        return _from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except Mistake:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise Mistake(
                f"there is no module {error.name} (looked in {Path.cwd()} first)"
            ) from None
        raise Mistake(_why(name, error)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's module raises is the user's to mend
        raise Mistake(_why(name, error)) from None


def _from_file(path: Path) -> ModuleType:
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
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{name} cannot be imported: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
