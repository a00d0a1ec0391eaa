"""The right word for what a program calls by another one: as `socketserver` has it, or with a slip.

A name that a server does not have gets one sentence, and so does an argument in the place of another one.
"""

import itertools
from abc import ABCMeta
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from manyhands.config.options import SERVER_OPTIONS
from manyhands.model.addresses import Address, address_of
from manyhands.model.usage_errors import Mistake, closest

_HOOK = "is a hook of the classes of manyhands.socketserver; a Server's connections are the handler's alone"

_INSTEAD = {
    "serve_forever": "run() serves until it is told to stop, start() does so in a thread of its own",
    "run_forever": "run() serves until it is told to stop, start() does so in a thread of its own",
    "serve": "run() serves until it is told to stop, start() does so in a thread of its own",
    "shutdown": "stop() asks for the end, close() waits for it",
    "terminate": "stop() asks for the end, close() waits for it",
    "join": "close() stops and waits, run() returns when that is done",
    "wait": "close() stops and waits, run() returns when that is done",
    "server_close": "close() stops, drains, and gives everything back",
    "server_address": "`addresses` has each one, with its port, when the server listens",
    "address": "`addresses` has each one, with its port, when the server listens",
    "host": "`addresses` has each one, with its port, when the server listens",
    "port": "`addresses` has each one, with its port, when the server listens",
    "socket": "each of `listeners` has a `socket`",
    "fileno": "each of `listeners` has a `fileno()`",
    "server_bind": "listen() binds every address, and run() and start() call it",
    "server_activate": "listen() binds every address, and run() and start() call it",
    "handle_request": "run() or start() serve every request; the classes of manyhands.socketserver serve one",
    "RequestHandlerClass": "the handler is the first argument of Server",
    "timeout": "idle_timeout and its like end connections, and drain_timeout a drain",
    "get_request": _HOOK,
    "verify_request": _HOOK,
    "process_request": _HOOK,
    "finish_request": _HOOK,
    "service_actions": _HOOK,
}

_ADDRESSES = "an address is a text, as in Server(Echo, 'tcp://127.0.0.1:8008')"

_KEYWORDS_INSTEAD = {
    "RequestHandlerClass": "the handler is the first argument: Server(Echo, 'tcp://127.0.0.1:8008')",
    "server_address": _ADDRESSES,
    "address": _ADDRESSES,
    "addresses": _ADDRESSES,
    "bind": _ADDRESSES,
    "host": _ADDRESSES,
    "port": _ADDRESSES,
    "bind_and_activate": "listen() binds, and run() and start() call it: there is nothing to leave out",
    "timeout": "idle_timeout ends silent connections, drain_timeout a drain",
    "threads": "engine='threads', and max_threads bounds them",
    "max_workers": "max_threads, max_children or max_fibers bounds those of the engine",
    "daemon_threads": "it needs no setting: a server drains within drain_timeout, and ends",
    "allow_reuse_address": "it needs no setting: a restarted server gets its port back",
}


def missing(server: object, name: str) -> AttributeError:
    """Return the error of a program that asks a server, or its class, for an attribute that is not there."""
    if isinstance(server, type):
        text = f"type object {server.__name__!r} has no attribute {name!r}"
    else:
        text = f"{type(server).__name__!r} object has no attribute {name!r}"
    if not name.startswith("_"):
        instead = _INSTEAD.get(name)
        near = None if instead else closest(name, [each for each in dir(server) if each[0] != "_"])
        if instead or near:
            text += f": {instead or f'did you mean {near}?'}"
    return AttributeError(text, name=name, obj=server)


_OF_EVERY_LISTENER = frozenset({"RequestHandlerClass", "server_address", "socket"})
"""What the constructor sets: to look for options that are like them would load a module for each server."""


def refuse_slip(name: str) -> None:
    """Refuse to set an attribute that a server does not have, where its name is nearly that of an option.

    Raises
    ------
    Mistake
        It is: the option would not change, and no word would be said. Other names are the program's own.
    """
    is_known = name in SERVER_OPTIONS or name in _OF_EVERY_LISTENER
    near = None if is_known else closest(name, SERVER_OPTIONS, 0.85)
    if near is not None:
        raise Mistake(
            f"a server has no option {name}: did you mean {near}? (An attribute of your own needs a name "
            "that is less like it.)"
        )


def refuse_keywords(options: dict[str, Any]) -> None:
    """Refuse keywords that are no options of `Server`, but have another word there.

    Raises
    ------
    Mistake
        One of them is such a keyword.
    """
    for name in options:
        if name not in SERVER_OPTIONS and name in _KEYWORDS_INSTEAD:
            raise Mistake(f"{name!r} is no option of Server: {_KEYWORDS_INSTEAD[name]}")


def refuse_other_order(handler: object, addresses: Sequence[object]) -> None:
    """Refuse the order of `socketserver`, where the address comes first, and an address in two pieces.

    Raises
    ------
    Mistake
        It is one of these.
    """
    handlers = [each for each in addresses if callable(each)]
    if isinstance(handler, str | tuple | Address) and handlers:
        name = getattr(handlers[0], "__name__", "Handler")
        raise Mistake(
            f"the handler comes first, and its addresses after it: Server({name}, {_shown(handler)!r})"
        )
    for host, port in itertools.pairwise(addresses):
        if isinstance(host, str) and isinstance(port, int):
            raise Mistake(
                f"an address is one argument: write 'tcp://{host}:{port}', or the pair ({host!r}, {port})"
            )
    for each in addresses:
        if isinstance(each, list) and each and all(isinstance(part, str) for part in each):
            raise Mistake("addresses are arguments of their own: write Server(handler, *addresses)")


def _shown(given: object) -> str:
    """Return the address that stands in the handler's place, as it would be right."""
    try:
        return str(address_of(given))
    except Mistake:
        return "tcp://127.0.0.1:8008"


class ServerClass(ABCMeta):
    """The class of `Server` and of classes derived from it: it says the right word, and takes no options.

    On the classes of `manyhands.socketserver` options are attributes of the class. Here they would be seen in
    the place of those that hold.
    """

    def __setattr__(cls, name: str, value: object) -> None:
        """Set an attribute that is no option: those are descriptors, and so is what overrides one."""
        if not hasattr(type(value), "__get__"):
            _refuse_option_of_class(cls.__name__, name, value)
        super().__setattr__(name, value)

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any
    ) -> None:
        """Make a class, unless an option stands in it."""
        super().__init__(name, bases, namespace, **keywords)
        for each, value in namespace.items():
            if not hasattr(type(value), "__get__"):
                _refuse_option_of_class(name, each, value)

    if not TYPE_CHECKING:  # to type checkers such an attribute is an error already

        def __getattr__(cls, name: str) -> Any:
            """Say the right word."""
            raise missing(cls, name)


def _refuse_option_of_class(kind: str, name: str, value: object) -> None:
    if name in SERVER_OPTIONS:
        raise Mistake(
            f"{kind}.{name} = {value!r} would set nothing: options are the constructor's, as in "
            f"{kind}(handler, address, {name}={value!r})"
        )
    if not name.startswith("_"):
        refuse_slip(name)


_Class = TypeVar("_Class", bound=type)


def says_the_right_word(kind: _Class) -> _Class:
    """Have the objects of a class say the right word for attributes that they do not have. A decorator.

    Type checkers are not to see it: to them such an attribute is an error already.
    """

    def __getattr__(server: object, name: str) -> Any:  # noqa: N807 - the method
        raise missing(server, name)

    kind.__getattr__ = __getattr__  # type: ignore[attr-defined]
    return refuses_slips(kind)


def refuses_slips(kind: _Class) -> _Class:
    """Have the objects of a class refuse new attributes with nearly the name of an option. A decorator."""
    assign: Any = kind.__setattr__

    def __setattr__(server: Any, name: str, value: object) -> None:  # noqa: N807 - the method
        if name[0] != "_" and name not in vars(server) and not hasattr(type(server), name):
            refuse_slip(name)
        assign(server, name, value)

    kind.__setattr__ = __setattr__  # type: ignore[method-assign,assignment]
    return kind


def of_module(module: ModuleType) -> str | None:
    """Return the name of a handler class that a module has, if it has one of its own."""
    for name, value in vars(module).items():
        if (
            isinstance(value, type)
            and value.__module__ == module.__name__
            and hasattr(value, "handle")
        ):
            return name
    return None
