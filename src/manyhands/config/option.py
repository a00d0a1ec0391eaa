"""An option: a row of the one table, and what follows from it; and options that need one another."""

from collections.abc import Callable, Mapping
from typing import Any

from manyhands.config.option_types import Choice, OptionType, OptionValue, Switch
from manyhands.model.usage_errors import Mistake

LONGEST_SHOWN = 100
"""Characters of a value that does not fit which a sentence shows whole."""

SHOWN = 60
"""Characters of a longer one: enough to know it again."""

_SAME: OptionValue = "the default of the classes"


class Option:
    """One option. Immutable.

    Plain, and no dataclass: every program that imports the drop-in makes the table, and `dataclasses` alone
    takes as long as the rest of this package.

    Attributes
    ----------
    name : str
        The keyword of `Server`, the class attribute and, with dashes, the flag.
    kind : OptionType
        What it takes, and the unit of that.
    help : str
        What it does, for `--help`, ``docs/options.md`` and editors.
    group : str
        What it is about: ``engine``, ``listener``, ``tls``, ``limits``, ``opening``, ``deadlines``,
        ``outbox``, ``drain``, ``workers``, ``control`` or ``handler``.
    default : OptionValue
        The class attribute's value; with `of_server` that of `Server`.
    may_be_none : bool
        Whether None (`none` on the command line) turns it off.
    owners : tuple of str
        The classes of `manyhands.socketserver` that have the attribute; none when only `Server` has it.
    is_unset : bool
        Whether the owners leave it unset, for programs ask whether an attribute of that name is there.
    is_of_server : bool
        Whether it is a keyword of `manyhands.Server`.
    is_adjustable : bool
        Whether it may be set while a `Server` runs; if not, it is settled when the server is made.
    engines : tuple of str
        The engines that go by it. One that a single engine goes by is refused on the others.
    needs : tuple of str
        Options of which one must be on, else this one does nothing and is refused.
    """

    __slots__ = (
        "_server_default",
        "default",
        "engines",
        "group",
        "help",
        "is_adjustable",
        "is_of_server",
        "is_unset",
        "kind",
        "may_be_none",
        "name",
        "needs",
        "owners",
    )

    def __init__(  # noqa: PLR0913 - the columns of the table
        self,
        name: str,
        kind: OptionType,
        help: str,  # noqa: A002 - argparse's word for it
        *,
        group: str,
        default: OptionValue = None,
        server_default: OptionValue = _SAME,
        or_none: bool = False,
        owners: tuple[str, ...] = (),
        is_unset: bool = False,
        is_of_server: bool = True,
        is_adjustable: bool = False,
        engines: tuple[str, ...] = (),
        needs: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.group = group
        self.default = default
        self._server_default = server_default
        self.may_be_none = or_none or default is None
        self.owners = owners
        self.is_unset = is_unset
        self.is_of_server = is_of_server
        self.is_adjustable = is_adjustable
        self.engines = engines
        self.needs = needs

    def of_server(self) -> "Option":
        """Return the option as `manyhands.Server` has it: its default, and no None for the engine."""
        if self._server_default is _SAME:
            return self
        own = Option.__new__(Option)
        for slot in Option.__slots__:
            setattr(own, slot, getattr(self, slot))
        own.default = self._server_default
        # None leaves a choice to the class, which `Server` has none of; elsewhere it is "no bound".
        own.may_be_none = self.may_be_none and not isinstance(self.kind, (Choice, Switch))
        return own

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether its flag takes no value."""
        return isinstance(self.kind, Switch)

    @property
    def annotation(self) -> str:
        """The type of its values, as a type checker reads it."""
        return self.kind.annotation + (" | None" if self.may_be_none else "")

    @property
    def default_text(self) -> str:
        """The default with its unit."""
        return "none" if self.default is None else f"{self.default} {self.kind.unit}".rstrip()

    def condition(self, quote: str = "") -> str:
        """Say without what the option does nothing, in words that may follow its help; else ``""``."""
        if self.needs:
            return f"with {' or '.join(f'{quote}{name}{quote}' for name in self.needs)}"
        return f"on the engine {quote}{self.engines[0]}{quote}" if len(self.engines) == 1 else ""

    def parse(self, text: str) -> OptionValue:
        """Read the word that follows the flag.

        Raises
        ------
        Mistake
            The word does not fit; the sentence names the flag and quotes the word.
        """
        if self.may_be_none and text == "none":
            return None
        try:
            value = self.kind.read(text)
        except ValueError:
            raise self._mistake(self.flag, text) from None
        if not self.kind.fits(value):
            raise self._mistake(self.flag, text)
        return value

    def check(self, value: object) -> None:
        """Check the value of a keyword or a class attribute.

        Raises
        ------
        Mistake
            The value does not fit; the sentence names the option and shows the value.
        """
        if not self.fits(value):
            raise self._mistake(self.name, value)

    def fits(self, value: object) -> bool:
        """Tell whether a value is one that the option takes."""
        return (value is None and self.may_be_none) or self.kind.fits(value)

    def _mistake(self, called: str, value: object) -> Mistake:
        none = ", or none" if self.may_be_none else ""
        return Mistake(f"{called} must be {self.kind.expected}{none}, not {_shown(value)}")


def _shown(value: object) -> str:
    # A repr of thousands of digits is itself an error, and no help.
    if isinstance(value, int) and abs(value) >= 1e100:
        return "such a number"
    shown = repr(value)
    if len(shown) <= LONGEST_SHOWN:
        return shown
    if isinstance(value, str):
        return f"{shown[:SHOWN]}... ({len(value)} characters, {len(value.encode(errors='replace'))} bytes)"
    return f"{shown[:SHOWN]}..."


def defaults(options: Mapping[str, Option]) -> dict[str, Any]:
    """Return the defaults of options by name."""
    return {name: option.default for name, option in options.items()}


def refuse_useless(
    given: Mapping[str, object],
    options: Mapping[str, Option],
    called: Callable[[str], str] = str,
) -> None:
    """Refuse options that do nothing without others: what was meant with them would not happen, untold.

    Parameters
    ----------
    given : mapping
        The values that were given, each of which fits by itself.
    options : mapping
        The options that could be given. One that is given its default asks for nothing, and is no mistake.
    called : callable
        Turns the name of an option into what a person calls it: the keyword, or the flag.

    Raises
    ------
    Mistake
        One of them needs another one; the sentence names both.
    """
    values = {**defaults(options), **given}
    for name, value in given.items():
        option = options[name]
        if value is not None and value != option.default:
            _refuse_without_others(option, values, called)


def _refuse_without_others(
    option: Option, values: Mapping[str, object], called: Callable[[str], str]
) -> None:
    # `wait` is what happens without any limit.
    met = [name for name in option.needs if values.get(name) and values[name] != "wait"]
    if option.needs and not met:
        *most, last = map(called, option.needs)
        others = f"{', '.join(most)} or {last}" if most else last
        raise Mistake(f"{called(option.name)} without {others} is of no use")
    engine = values.get("engine")
    # None, as in programs that choose theirs by a class, may be any.
    if len(option.engines) == 1 and engine not in {None, *option.engines}:
        raise Mistake(
            f"{called(option.name)} is of no use on the engine {engine}: it is one of the engine "
            f"{option.engines[0]}"
        )
