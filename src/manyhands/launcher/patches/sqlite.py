"""SQLite's wait for a database that another connection has locked, by which it would hold up all fibers.

A connection's own wait, its `timeout`, is set to nothing, so that a call fails at once where the database is
locked. Then the call is made again, in a thread of the system's, with the wait that the program asked for.
"""

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec
from itertools import chain
from types import ModuleType
from typing import Any, Literal, TypeVar

from gevent.lock import RLock

from manyhands.launcher.patches.waiting import call_in_native_thread, is_fiber

Result = TypeVar("Result")

_MODULE = "_sqlite3"

_TIMEOUT = "busy_timeout"

BUSY = 5
"""SQLITE_BUSY, the lowest byte of the codes of a locked database (sqlite.org/rescode.html)."""

_PARAMETERS = (
    "database", "timeout", "detect_types", "isolation_level", "check_same_thread", "factory",
    "cached_statements", "uri",
)  # fmt: skip
"""The parameters of `sqlite3.connect`, in their order."""

DEFAULT_TIMEOUT = 5.0
"""Seconds, as `sqlite3.connect` has it."""


class _Patience:
    """How long a connection waits for the database, and whose turn it is to use it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.turn = RLock()


class PatientConnection:
    """What comes before a connection's class."""

    patience = _Patience(DEFAULT_TIMEOUT)  # of one that its own constructor uses

    def cursor(self, factory: Any = None) -> Any:
        """Make a cursor whose waits let other fibers run."""
        kind = _sqlite().Cursor if factory is None else factory
        base: Any = super()
        return base.cursor(_patient(PatientCursor, kind) if isinstance(kind, type) else kind)

    def execute(self, *arguments: Any) -> Any:
        """Make a cursor, and execute a statement with it."""
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        """Make a cursor, and execute a statement with it for each set of parameters."""
        return self.cursor().executemany(*arguments)

    def executescript(self, *arguments: Any) -> Any:
        """Make a cursor, and execute several statements with it."""
        return self.cursor().executescript(*arguments)

    def commit(self) -> None:
        """Commit the transaction."""
        base: Any = super()
        _patiently(self, base.commit)

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> Literal[False]:
        connection: Any = self
        if kind is not None:
            connection.rollback()
            return False
        try:
            self.commit()
        except BaseException:
            connection.rollback()
            raise
        return False


class PatientCursor:
    """What comes before a cursor's class."""

    connection: Any

    def execute(self, *arguments: Any) -> Any:
        """Execute a statement."""
        base: Any = super()
        if arguments and isinstance(arguments[0], str) and _TIMEOUT in arguments[0]:
            return _asked_for_timeout(self.connection, lambda: base.execute(*arguments))
        return _patiently(self.connection, lambda: base.execute(*arguments))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """Execute a statement for each set of parameters."""
        base: Any = super()
        rest = iter(parameters)
        under_way: list[Any] = []

        def noted() -> Iterator[Any]:
            # What was executed stays so: the second try begins with the set that found the database locked.
            for each in chain(tuple(under_way), rest):
                under_way[:] = [each]
                yield each

        return _patiently(self.connection, lambda: base.executemany(sql, noted()))

    def executescript(self, *arguments: Any) -> Any:
        """Execute several statements."""
        base: Any = super()
        # Some may be done when one finds the database locked, so there is no second try: it waits at once.
        return _in_thread(self.connection, lambda: base.executescript(*arguments))


@functools.cache
def _patient(behaviour: type, base: type) -> Any:
    if issubclass(base, behaviour):
        return base
    return type(
        base.__name__, (behaviour, base), {"__module__": base.__module__, "__doc__": base.__doc__}
    )


def _patiently(connection: Any, call: Callable[[], Result]) -> Result:
    with connection.patience.turn:
        try:
            return call()
        except _sqlite().OperationalError as error:
            if error.sqlite_errorcode & 0xFF != BUSY or connection.patience.seconds <= 0:
                raise
        return _in_thread(connection, call)


def _in_thread(connection: Any, call: Callable[[], Result]) -> Result:
    """Make a call with SQLite's own wait; in a fiber, in a thread of the system's."""
    with connection.patience.turn:
        if not is_fiber():
            return _waiting(connection, call)
        done: Result = call_in_native_thread(_waiting, None, connection, call)
        return done


def _asked_for_timeout(connection: Any, call: Callable[[], Result]) -> Result:
    """Have the program ask for another wait, or hear which one is set."""
    with connection.patience.turn:
        _set_timeout(connection, connection.patience.seconds)
        try:
            done = call()
            asking = _sqlite().Cursor(connection)
            asking.row_factory = None  # a tuple, whatever the program's rows are
            (milliseconds,) = asking.execute(f"PRAGMA {_TIMEOUT}").fetchone()
            connection.patience.seconds = milliseconds / 1000
        finally:
            _set_timeout(connection, 0)
    return done


def _waiting(connection: Any, call: Callable[[], Result]) -> Result:
    _set_timeout(connection, connection.patience.seconds)
    try:
        return call()
    finally:
        _set_timeout(connection, 0)


def _set_timeout(connection: Any, seconds: float) -> None:
    _sqlite().Cursor(connection).execute(f"PRAGMA {_TIMEOUT} = {int(seconds * 1000)}")


def _sqlite() -> Any:
    return sys.modules[_MODULE]


def _make_patient(module: Any) -> None:
    plain = module.connect

    def connect(*arguments: Any, **keywords: Any) -> Any:
        """Open a database, as `sqlite3.connect` documents it."""
        given = {**dict(zip(_PARAMETERS, arguments, strict=False)), **keywords}
        kind, seconds = (
            given.get("factory", module.Connection),
            given.get("timeout", DEFAULT_TIMEOUT),
        )
        is_usual = isinstance(kind, type) and issubclass(kind, module.Connection)
        if (
            not is_usual
            or not isinstance(seconds, int | float)
            or len(arguments) > len(_PARAMETERS)
        ):
            return plain(*arguments, **keywords)
        # All fibers are one thread, so the check has nothing to find; the thread of a second try is ours.
        given |= {
            "timeout": 0,
            "check_same_thread": False,
            "factory": _patient(PatientConnection, kind),
        }
        made = plain(given.pop("database"), **given) if "database" in given else plain(**given)
        made.patience = _Patience(seconds)
        return made

    connect.__module__ = plain.__module__
    module.connect = connect


class _Hook:
    """Finds the module when the program imports it, which most programs do not."""

    @classmethod
    def find_spec(
        cls, name: str, _path: object = None, _target: object = None
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
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
        _make_patient(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def patch_sqlite() -> None:
    """Have connections of `sqlite3` wait for a locked database in a way that lets other fibers run."""
    if _MODULE in sys.modules:
        _make_patient(sys.modules[_MODULE])
    else:
        sys.meta_path.insert(0, _Hook)
