"""SQLite's wait for a database that another connection has locked, by which it would hold up all fibers.

SQLite looks, sleeps and looks again, and sleeps by a function of its VFS, the layer below it that knows the
system (sqlite.org/vfs.html). Here that function lets other fibers run.
"""

import ctypes
import functools
import importlib.util
import sys
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import MethodDescriptorType, ModuleType
from typing import Any

import gevent
from gevent.lock import RLock

from manyhands.launcher.patches.waiting import is_fiber
from manyhands.runtime.main_code import throw_at_next_wait
from manyhands.runtime.unpatched import original

_MODULE = "_sqlite3"

_plain_sleep: Callable[[float], None] = original(time, "sleep")

_Sleep = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class _VFS(ctypes.Structure):
    """`struct sqlite3_vfs`, as far as its function `xSleep` (sqlite.org/c3ref/vfs.html)."""


_VFS._fields_ = [
    ("iVersion", ctypes.c_int), ("szOsFile", ctypes.c_int), ("mxPathname", ctypes.c_int),
    ("pNext", ctypes.POINTER(_VFS)), ("zName", ctypes.c_char_p), ("pAppData", ctypes.c_void_p),
    ("xOpen", ctypes.c_void_p), ("xDelete", ctypes.c_void_p), ("xAccess", ctypes.c_void_p),
    ("xFullPathname", ctypes.c_void_p), ("xDlOpen", ctypes.c_void_p), ("xDlError", ctypes.c_void_p),
    ("xDlSym", ctypes.c_void_p), ("xDlClose", ctypes.c_void_p), ("xRandomness", ctypes.c_void_p),
    ("xSleep", ctypes.c_void_p),
]  # fmt: skip


def _sleep(_vfs: object, microseconds: int) -> int:
    if not is_fiber():
        _plain_sleep(microseconds / 1e6)
        return microseconds
    end = time.monotonic() + microseconds / 1e6
    failure: BaseException | None = None
    while (left := end - time.monotonic()) > 0:
        try:
            gevent.sleep(left)
        except BaseException as raised:  # noqa: BLE001 - raised below
            failure = raised
    if failure is not None:
        # SQLite passes no exception on. As in a thread, what a signal raises comes when the call is over.
        throw_at_next_wait(failure)
    return microseconds


_patient_sleep = _Sleep(_sleep)


def _patch_waits(module: Any) -> None:
    """Have SQLite sleep by `_sleep`, in each VFS that sleeps as the default one does."""
    try:
        library: Any = ctypes.CDLL(getattr(module, "__file__", None))
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_VFS)
        default = library.sqlite3_vfs_find(None)
    except (OSError, AttributeError):
        return  # linked in another way: its waits are left as they are
    # SQLite calls it for as long as the process is there, also when the modules have been cleared.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_patient_sleep))
    plain = default.contents.xSleep
    layer = default
    while layer:
        if layer.contents.xSleep == plain:
            layer.contents.xSleep = ctypes.cast(_patient_sleep, ctypes.c_void_p)
        layer = layer.contents.pNext


# A connection with `check_same_thread=False` is one that threads share; SQLite has a second one wait while a
# first one is in a call. But all fibers are one thread, and SQLite would let the second one in meanwhile.

_FROM_OUTSIDE = frozenset({"interrupt", "__enter__"})
"""What is meant for another thread, or does nothing to the database."""


def _in_turn(method: Any) -> Any:
    @functools.wraps(method, updated=())
    def in_turn(self: Any, *arguments: Any, **keywords: Any) -> Any:
        with self.turn:
            return method(self, *arguments, **keywords)

    return in_turn


def _methods_in_turn(kind: type, plain: type) -> dict[str, Any]:
    names = [
        name
        for name, value in vars(plain).items()
        if isinstance(value, MethodDescriptorType) and name not in _FROM_OUTSIDE
    ]
    return {name: _in_turn(getattr(kind, name)) for name in names}


def _attribute_in_turn(kind: Any, name: str) -> Any:
    descriptor = getattr(kind, name)
    return property(descriptor.__get__, _in_turn(descriptor.__set__))


def _subclass(kind: type, **names: Any) -> Any:
    about = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (kind,), about | names)


@functools.cache
def _shared_cursor(kind: Any) -> Any:
    return _subclass(
        kind,
        turn=property(lambda self: self.connection.turn),
        __next__=_in_turn(kind.__next__),
        **_methods_in_turn(kind, _sqlite().Cursor),
    )


@functools.cache
def _shared_connection(kind: Any) -> Any:
    plain: Any = _sqlite().Connection

    def make(cls: Any, *_arguments: Any, **_keywords: Any) -> Any:
        made = kind.__new__(cls)
        made.turn = RLock()
        return made

    plain_cursor: Any = _sqlite().Cursor

    def cursor(self: Any, factory: Any = plain_cursor) -> Any:
        is_usual = isinstance(factory, type) and issubclass(factory, plain_cursor)
        return kind.cursor(self, _shared_cursor(factory) if is_usual else factory)

    def through_cursor(name: str) -> Any:
        # As in C: not by the program's own `cursor`.
        shared = _shared_cursor(plain_cursor)
        return lambda self, *arguments: getattr(plain.cursor(self, shared), name)(*arguments)

    names = _methods_in_turn(kind, plain) | {"__new__": make, "cursor": _in_turn(cursor)}
    for name in ("isolation_level", "autocommit"):
        if hasattr(plain, name):  # the second one from Python 3.12 on
            names[name] = _attribute_in_turn(kind, name)
    for name in ("execute", "executemany", "executescript"):
        if getattr(kind, name) is getattr(plain, name):
            names[name] = _in_turn(functools.wraps(getattr(plain, name))(through_cursor(name)))
    return _subclass(kind, **names)


def _sqlite() -> Any:
    return sys.modules[_MODULE]


def _patch_connect(module: Any) -> None:
    plain = module.connect

    @functools.wraps(plain)
    def connect(*arguments: Any, **keywords: Any) -> Any:
        kind = keywords.get("factory", module.Connection)
        is_usual = isinstance(kind, type) and issubclass(kind, module.Connection)
        if is_usual and not keywords.get("check_same_thread", True):
            keywords["factory"] = _shared_connection(kind)
        return plain(*arguments, **keywords)

    module.connect = connect


class _Hook:
    """Finds the module when the program imports it, which most programs do not."""

    is_looking = False

    @classmethod
    def find_spec(
        cls, name: str, _path: object = None, _target: object = None
    ) -> ModuleSpec | None:
        if name != _MODULE or cls.is_looking:
            return None
        cls.is_looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            cls.is_looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _patch(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _patch(module: Any) -> None:
    _patch_waits(module)
    _patch_connect(module)


def patch_sqlite() -> None:
    """Have connections of `sqlite3` wait for a locked database in a way that lets other fibers run."""
    if _MODULE in sys.modules:
        _patch(sys.modules[_MODULE])
    else:
        sys.meta_path.insert(0, _Hook)
