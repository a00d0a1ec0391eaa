"""The options of `manyhands.Server` as its attributes: some may be changed while it runs.

A handler's `self.server` is a listener; there they are the attributes of the server that it belongs to.
"""

from collections.abc import Callable
from textwrap import dedent, fill
from typing import Any, Never, TypeVar

from manyhands.config.option import Option
from manyhands.config.options import SERVER_OPTIONS
from manyhands.model.usage_errors import Mistake

_Class = TypeVar("_Class", bound=type)

ADJUSTABLE = {name: option for name, option in SERVER_OPTIONS.items() if option.is_adjustable}
"""The options that may be changed while a server runs, by their names."""

# `engine` is not among them: it is the engine itself on a server, and the class's choice on a listener.
_SETTLED = SERVER_OPTIONS.keys() - ADJUSTABLE.keys() - {"engine"} | {"ssl_context"}


class OptionValues(dict[str, Any]):
    """What the options of one server are, by name; `ssl_context` is one of them here. Thread-safe.

    Parameters
    ----------
    values : dict
        All of them, checked.
    permit : callable
        Called with the name before a change; raises when the caller may make none.
    note_change : callable
        Called after a change.
    """

    def __init__(
        self,
        values: dict[str, Any],
        permit: Callable[[str], object],
        note_change: Callable[[], object],
    ) -> None:
        super().__init__(values)
        self._permit = permit
        self._note_change = note_change

    def __getattr__(self, name: str) -> Any:
        # A core reads the options of a drop-in class, which are attributes, in the same way.
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def change(self, **values: object) -> None:
        """Change options: all of them, or none.

        Raises
        ------
        Mistake
            When a value does not fit, or an option is settled when a server is made.
        """
        for name, value in values.items():
            if name not in ADJUSTABLE:
                raise settled(name, value)
            ADJUSTABLE[name].check(value)
            self._permit(name)
        self.update(values)
        self._note_change()

    def settled(self) -> dict[str, object]:
        """Return what is settled, for a listener's own attributes."""
        return {name: self[name] for name in _SETTLED}


class _OptionAttribute:
    """An option of a server as its attribute; `values_of` finds its `OptionValues`."""

    def __init__(self, name: str, help_text: str, values_of: Callable[[Any], OptionValues]) -> None:
        self.__doc__ = help_text
        self._name = name
        self._values_of = values_of

    def __get__(self, server: Any, kind: type) -> Any:
        return self if server is None else self._values_of(server)[self._name]

    def __set__(self, server: Any, value: object) -> None:
        self._values_of(server).change(**{self._name: value})


class _OfOwner:
    """An attribute of a listener that is its owner's.

    Raises
    ------
    RuntimeError
        When it is set by a handler that an earlier run of the server has left behind.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, listener: Any, kind: type) -> Any:
        return self if listener is None else listener.owner.options[self._name]

    def __set__(self, listener: Any, value: object) -> None:
        owner = listener.owner
        if listener.run is not owner.current_run:
            raise RuntimeError(f"{self._name} cannot be set: that run of the server has ended")
        owner.options.change(**{self._name: value})


class _Settled:
    """An attribute of a listener that is settled: its value is among the listener's own attributes.

    Each connection reads some. Without a `__get__` Python finds the value there by itself.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __set__(self, listener: Any, value: object) -> Never:
        raise settled(self._name, value)


def has_owners_options(listener: _Class) -> _Class:
    """Give a listener's class the options of its owner as attributes. A decorator."""
    for name in ADJUSTABLE:
        setattr(listener, name, _OfOwner(name))
    for name in _SETTLED:
        setattr(listener, name, _Settled(name))
    return listener


def has_option_attributes(
    values_of: Callable[[Any], OptionValues],
) -> Callable[[_Class], _Class]:
    """Give a server class its options as attributes, and its docstring a list of them. A decorator.

    Parameters
    ----------
    values_of : callable
        Returns the `OptionValues` of a server.
    """

    def decorate(owner: _Class) -> _Class:
        attributes = {
            "ssl_context": "what TLS connections are made with, where a program has made that"
        }
        for option in SERVER_OPTIONS.values():
            # `engine` is the engine itself, a property.
            if option.name != "engine":
                attributes[option.name] = _help(option)
        for name, help_text in attributes.items():
            setattr(owner, name, _OptionAttribute(name, help_text, values_of))
        owner.__doc__ = _documented(owner.__doc__)
        return owner

    return decorate


def settled(name: str, value: object) -> Mistake:
    """Return the mistake of a program that sets an option which is settled."""
    return Mistake(
        f"{name} is settled when a server is made: give it to Server(..., {name}={value!r})"
    )


def _help(option: Option) -> str:
    condition = option.condition()
    return f"{option.help} ({condition})" if condition else option.help


def _documented(docstring: str | None) -> str | None:
    if docstring is None:
        return None  # python -OO
    # Python 3.13 takes the indentation away by itself.
    first, _, rest = docstring.partition("\n")
    rows = "\n".join(map(_row, SERVER_OPTIONS.values()))
    return f"{first}\n{dedent(rest).rstrip()}\n\nOptions\n-------\n{rows}\n"


def _row(option: Option) -> str:
    unit = f" ({option.kind.unit})" if option.kind.unit else ""
    default = "none" if option.default is None else option.default
    adjustable = ", adjustable" if option.is_adjustable else ""
    help_text = fill(_help(option), 100, initial_indent="    ", subsequent_indent="    ")
    return f"{option.name} : {option.annotation}{unit}, default {default}{adjustable}\n{help_text}"
