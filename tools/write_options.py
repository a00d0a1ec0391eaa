"""Write docs/options.md and config/keywords.py from the one table of options.

A test says when that has not been done.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from manyhands.config.option import Option
from manyhands.config.options import DROP_IN_OPTIONS, OPTIONS, SERVER_OPTIONS

ROOT = Path(__file__).parent.parent

PAGE = ROOT / "docs" / "options.md"

MODULE = ROOT / "src" / "manyhands" / "config" / "keywords.py"

PAGE_HEAD = """\
# Options

Written by `tools/write_options.py` from `manyhands/config/options.py`.

An option has one name everywhere: the keyword of `manyhands.Server`, the class attribute of a drop-in
server or handler, and the flag of the command line. *Drop-in* is the default of the class attribute;
*Server* that of `manyhands.Server` and `manyhands serve`. *run* says which options `manyhands run` takes:
those that are class attributes. A hyphen says that the option is not taken there. On the command line a time
may have a unit: `90s`, `5m`, `2h`, `1d`.

A value that does not fit, and an option that does nothing without another one, is a `manyhands.Mistake`, a
sentence that names the option, and of a command status 2.

| option | flag | drop-in | Server | run | attribute of | what it does |
|---|---|---|---|---|---|---|
"""

MODULE_HEAD = '''\
"""What editors and type checkers know of the options. Imported by them alone.

Written by `tools/write_options.py` from the table, `manyhands/config/options.py`.
"""

from collections.abc import Callable, Sequence
from os import PathLike
from ssl import SSLContext
from typing import Any, Generic, Literal, Never, Self, TypedDict, TypeVar, overload

Handler = Callable[[Any, Any, Any], object]
"""Serves a connection, called with ``(request, client_address, server)``: a handler class, or a function."""

_Value_co = TypeVar("_Value_co", covariant=True)


class Settled(Generic[_Value_co]):
    """An attribute of `Server` that is settled when the server is made: it can only be read."""

    @overload
    def __get__(self, server: None, kind: type) -> Self: ...
    @overload
    def __get__(self, server: object, kind: type) -> _Value_co: ...
    def __get__(self, server: object, kind: type) -> Self | _Value_co:
        """Return the value."""
        raise NotImplementedError

    def __set__(self, server: object, value: Never) -> None:
        """Refuse: there is no value that may be set."""
'''


def page() -> str:
    """Return the text of the page."""
    return PAGE_HEAD + "".join(map(_row, OPTIONS))


def module() -> str:
    """Return the text of the module."""
    owners = dict.fromkeys(owner for option in OPTIONS.values() for owner in option.owners)
    return "\n\n".join(
        (
            MODULE_HEAD,
            _class(
                "ServerOptions(TypedDict, total=False)", "The keywords of `Server`.", _keywords()
            ),
            _class(
                "ServerAttributes", "The options of a `Server` as its attributes.", _attributes()
            ),
            *(
                _class(f"{owner}Options", f"The options of a `{owner}`.", _of(owner))
                for owner in owners
            ),
        )
    )


def _row(name: str) -> str:
    option = OPTIONS[name]
    drop_in = option.default_text if option.owners else "-"
    server = SERVER_OPTIONS[name].default_text if name in SERVER_OPTIONS else "-"
    owners = ", ".join(f"`{owner}`" for owner in option.owners) or "-"
    run = "yes" if name in DROP_IN_OPTIONS else "-"
    condition = option.condition("`")
    what = f"{option.help} ({condition})" if condition else option.help
    cells = (f"`{name}`", f"`{option.flag}`", drop_in, server, run, owners, what)
    return f"| {' | '.join(cells)} |\n"


def _class(head: str, docstring: str, attributes: Iterable[str]) -> str:
    return f'class {head}:\n    """{docstring}"""\n\n' + "".join(attributes)


def _keywords() -> Iterable[str]:
    return (_attribute(option, option.annotation) for option in SERVER_OPTIONS.values())


def _attributes() -> Iterable[str]:
    yield "    ssl_context: Settled[SSLContext | None]\n"
    for option in SERVER_OPTIONS.values():
        # `engine` is the engine itself, a property.
        if option.name != "engine":
            is_adjustable, annotation = option.is_adjustable, option.annotation
            yield _attribute(option, annotation if is_adjustable else f"Settled[{annotation}]")


def _of(owner: str) -> Iterable[str]:
    return (
        _attribute(option, option.annotation)
        for option in OPTIONS.values()
        if owner in option.owners
    )


def _attribute(option: Option, annotation: str) -> str:
    condition = f" ({option.condition()})" if option.condition() else ""
    unit = f"{option.kind.unit.capitalize()}, default" if option.kind.unit else "Default"
    default = "none" if option.default is None else option.default
    text = f"{option.help[0].upper()}{option.help[1:]}{condition}. {unit} {default}."
    lines = textwrap.wrap(f'"""{text}"""', 100)
    documented = textwrap.indent("\n".join(lines), "    ")
    return f"    {option.name}: {annotation}\n{documented}\n"


WRITTEN: Mapping[Path, Callable[[], str]] = {PAGE: page, MODULE: module}
"""The files, and what makes their texts."""

if __name__ == "__main__":
    for file, text in WRITTEN.items():
        file.write_text(text(), encoding="utf-8")
