"""What stands in the place of a module of the standard library, as the import system sees it.

The import system, and programs that drive it themselves (`importlib.util.LazyLoader`, `module_from_spec`,
`runpy`, `reload`), find a source file like any other. Imports next to nothing: a program may want to load the
module late, and patch first what it imports.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.machinery import SourceFileLoader as _SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType

TYPE_CHECKING = False  # typing is a heavy import; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


class SourceFileLoader(_SourceFileLoader):
    """Loads the replacement into whichever module object it is given, as often as it is asked to.

    (It has the name of the loader that programs know. They print it, and look for its kind.)

    Parameters
    ----------
    name : str
        The name of the replaced module.
    provider : str
        The module of ours that has the contents. Its function `fill` puts the names into the module, the same
        objects each time, and its function `source` returns the text that people read. Imported when the
        contents are wanted, and not before.
    """

    def __init__(self, name: str, provider: str) -> None:
        # There is no such file, so `linecache` and `inspect` ask for `get_source`: that of the classes
        # is in several files.
        super().__init__(name, f"{__file__.rpartition('runtime')[0]}{name}.source.py")
        self._provider = provider

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - as the import system calls it
        """Return the code that fills a module."""
        program = f"__import__({self._provider!r}, fromlist=['fill']).fill(globals())"
        code: CodeType = compile(program, self.path, "exec", dont_inherit=True)
        return code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - as the import system calls it
        """Return the source of what the module holds."""
        text: str = __import__(self._provider, fromlist=["source"]).source()
        return text

    def get_data(self, path: str) -> bytes:
        """Return the contents of a file, the source for its own path."""
        return self.get_source(self.name).encode() if path == self.path else super().get_data(path)


def spec_for(name: str, provider: str) -> ModuleSpec:
    """Return how the import system is to load the replacement of a module: see `SourceFileLoader`."""
    loader = SourceFileLoader(name, provider)
    spec = spec_from_file_location(name, loader.path, loader=loader)
    assert spec is not None  # noqa: S101 - tells the type checker: a loader was given
    return spec


def is_for_green_copy() -> bool:
    """Tell whether eventlet imports a copy with its own sockets (`eventlet.green`, `import_patched`).

    These stand in the places of the standard library's then, and the copy is to be the standard library's.
    """
    return getattr(sys.modules.get("socket"), "__name__", "socket") != "socket"


class ReplacementFinder:
    """Has `import` find the replacement of a module: for `sys.meta_path`.

    Parameters
    ----------
    name, provider : str
        See `SourceFileLoader`.
    """

    def __init__(self, name: str, provider: str) -> None:
        self._name = name
        self._provider = provider

    def find_spec(
        self, name: str, _path: "Sequence[str] | None" = None, _target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """Return where a module is; None for any other than the replaced one."""
        return (
            spec_for(name, self._provider)
            if name == self._name and not is_for_green_copy()
            else None
        )
