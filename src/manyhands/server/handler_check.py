"""Checks that an object can serve as a handler, and on which addresses, before anything is bound."""

import functools
import inspect
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any

from manyhands.model.addresses import Address
from manyhands.model.usage_errors import Mistake, closest
from manyhands.server.other_names import of_module
from manyhands.server.stand_ins import ProgramElsewhere

_EXPECTED = (
    "it must be a class derived from BaseRequestHandler, or callable with "
    "(request, client_address, server)"
)


def check_handler(handler: object, addresses: Sequence[Address]) -> None:
    """Check that `handler` can be called for a client, and fits every one of the addresses.

    Raises
    ------
    Mistake
        When it cannot be called, does not fit an address, or when there is no address.
    """
    if isinstance(handler, ProgramElsewhere):
        return  # it binds its addresses itself, and has its own handlers
    if not addresses:
        raise Mistake("a server needs an address to listen on, such as tcp://127.0.0.1:8008")
    # The order gives the most telling error: no handler at all, a server, one that never runs, the wrong
    # kind.
    if not callable(handler) or not _takes_a_request(handler):
        raise Mistake(f"{described(handler)} is no handler: {_expected_for(handler)}")
    _refuse_servers(handler)
    _refuse_what_does_not_block(handler)
    for address in addresses:
        # Of a socket that systemd gives only the descriptor tells the kind: the listener checks it later.
        if not address.is_given:
            check_kind(handler, address, is_stream=address.is_stream)
    _refuse_without_work(handler)
    _refuse_handle_with_arguments(handler)


def described(handler: object) -> str:
    """Return the name by which a handler's author knows it, for error texts."""
    if isinstance(handler, functools.partial):
        return f"functools.partial of {described(handler.func)}"
    if isinstance(handler, ModuleType):
        return f"the module {handler.__name__}"
    name = _attribute(handler, "__name__")
    if isinstance(name, str):
        return name
    is_plain = isinstance(handler, str | bytes | int | float | None)
    return repr(handler) if is_plain else f"an object of the class {type(handler).__name__}"


def _expected_for(handler: object) -> str:
    """Say what a handler must be, and what would be right in the place of what was given."""
    if isinstance(handler, ModuleType):
        name = of_module(handler)
        return f"{_EXPECTED}, as {handler.__name__}.{name} is" if name else _EXPECTED
    if isinstance(handler, str):
        return f"{_EXPECTED}; a name is for `manyhands serve {handler}`"
    kind = type(handler)
    if not callable(handler) and callable(_attribute(kind, "handle")):
        return (
            f"{_EXPECTED}; give the class {kind.__name__} itself, and the server makes the objects"
        )
    return _EXPECTED


def _attribute(thing: object, name: str) -> object:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a program's own __getattr__ may raise anything
        return None


def _takes_a_request(handler: Any) -> bool:
    if inspect.isclass(handler) and issubclass(handler, type):
        return False  # a metaclass: it would make a class of the request
    try:
        signature = inspect.signature(handler)
    except Exception:  # noqa: BLE001 - a `__signature__` can be anything
        return True  # as of a callable written in C, which may have no signature
    try:
        signature.bind(None, None, None)
    except TypeError:
        return False
    return True


def _innermost(handler: Any) -> Any:
    """Return the function or class behind partial objects."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler


def _bases(handler: object) -> list[type]:
    mro = _attribute(_innermost(handler), "__mro__")
    return [kind for kind in mro if isinstance(kind, type)] if isinstance(mro, tuple) else []


def _refuse_servers(handler: object) -> None:
    """Refuse server classes: some could be called with three arguments, and would serve no client."""
    for kind in _bases(handler):
        # By name: importing the classes here would be a circle, and `BaseServer` may be the standard
        # library's.
        is_ours = (kind.__module__, kind.__name__) == ("manyhands.server.server", "Server")
        if is_ours or kind.__name__ == "BaseServer":
            raise Mistake(f"{described(handler)} is a server, not a handler: {_EXPECTED}")


_STEPS = ("__init__", "setup", "handle", "finish")
"""What a handler class may do its work in."""


def _name(kind: type) -> tuple[str, str]:
    return kind.__module__.partition(".")[0], kind.__name__


def _refuse_without_work(handler: object) -> None:
    """Refuse handler classes that have none of the steps themselves: each client would be closed at once."""
    # By name, as of servers below: the standard library's classes are bases as well.
    kinds = _bases(handler)
    names = [kind.__name__ for kind in kinds]
    if "BaseRequestHandler" not in names:
        return
    own = [kind for kind in kinds if _name(kind) not in _LIBRARY]
    # The bases themselves are what they are: each connection is closed at once.
    if not own or any(step in vars(kind) for kind in own for step in _STEPS):
        return
    near = closest("handle", [name for kind in own for name in vars(kind)])
    has_not = f"{described(handler)} has no `handle`, which is what serves a client"
    raise Mistake(f"{has_not}: did you mean that by {near}?" if near else has_not)


def _refuse_handle_with_arguments(handler: object) -> None:
    """Refuse handler classes whose `handle` cannot be called: each client would be closed with an error."""
    own = [kind for kind in _bases(handler) if _name(kind) not in _LIBRARY]
    # A constructor of its own may call it with anything.
    if any({"__init__", "__new__"} & set(vars(kind)) for kind in own):
        return
    found = inspect.getattr_static(_innermost(handler), "handle", None)
    # A static method, or a decorator's object, can do anything.
    mistake = _missing_argument(found) if isinstance(found, FunctionType) else None
    if mistake is not None:
        raise Mistake(
            f"{described(handler)}.handle is called without arguments ({mistake}): "
            "the connection is self.request, and its client's address self.client_address"
        )


def _missing_argument(method: FunctionType) -> str | None:
    try:
        signature = inspect.signature(method)
    except Exception:  # noqa: BLE001 - a `__signature__` can be anything
        return None
    try:
        signature.bind(None)
    except TypeError as error:
        return str(error)
    return None


_LIBRARY = {
    (module, f"{kind}RequestHandler")
    for module in ("manyhands", "socketserver")
    for kind in ("Base", "Stream", "Datagram", "Framed")
} | {("builtins", "object")}
"""The package and the name of each class whose steps do nothing by themselves."""


def _refuse_what_does_not_block(handler: object) -> None:
    """Refuse coroutine functions and generator functions: a call runs nothing of them."""
    work = _innermost(handler)
    if inspect.isclass(work):
        called = {f".{hook}": _attribute(work, hook) for hook in ("setup", "handle", "finish")}
    else:
        called = {"": work if inspect.isroutine(work) else type(work).__call__}
    for name, function in called.items():
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise Mistake(
                f"{described(handler)}{name} is `async`, and would never run: handlers are plain, blocking "
                "code"
            )
        if inspect.isgeneratorfunction(function):
            raise Mistake(
                f"{described(handler)}{name} is a generator (it has a `yield`), and would never run"
            )


def check_kind(handler: object, address: Address, *, is_stream: bool) -> None:
    """Check that a handler is for the requests of an address: connections, or datagrams.

    Raises
    ------
    Mistake
        When it is for the other kind.
    """
    # By name: the standard library's handler classes serve here as well, and have the same two kinds.
    kinds = [kind.__name__ for kind in _bases(handler)]
    wrong = "DatagramRequestHandler" if is_stream else "StreamRequestHandler"
    if wrong in kinds:
        raise Mistake(f"{described(handler)} is a {wrong}, which cannot serve {address}")
