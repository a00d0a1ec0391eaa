"""An option: its name everywhere, its default, and what it takes."""

from dataclasses import dataclass, replace

from manyhands.rules.kinds import Choice, Kind, OptionValue, Switch
from manyhands.rules.mistakes import Mistake

LONGEST_SHOWN = 100
"""Characters of a value that does not fit which a sentence shows whole."""

SHOWN = 60
"""Characters of a longer one: enough to know it again."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, its default, what it takes and whose class attribute it is.

    Attributes
    ----------
    name : str
        The keyword and the class attribute.
    default : OptionValue
        The class attribute's value when nobody sets it.
    kind : Kind
        What it takes.
    unit : str
        The unit of its value: `seconds`, `bytes`, ...; ``""`` where it has none.
    help : str
        What it does, for `--help`.
    owners : tuple of str
        The classes of `manyhands.socketserver` that have the attribute; none when only
        `manyhands.Server` and `manyhands serve` have the option.
    may_be_none : bool
        Whether None (`none` on the command line) turns it off.
    server_default : OptionValue
        The default of `manyhands.Server` and `manyhands serve` where theirs is another one.
    """

    name: str
    default: OptionValue
    kind: Kind
    unit: str
    help: str
    owners: tuple[str, ...]
    may_be_none: bool = False
    server_default: OptionValue = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether its flag takes no value."""
        return isinstance(self.kind, Switch)

    def default_for(self, *, served: bool) -> OptionValue:
        """Say the default: of `manyhands.Server` when served, else of the drop-in classes."""
        return self.default if not served or self.server_default is None else self.server_default

    def as_served(self) -> "Option":
        """Return the option as `manyhands.Server` takes it: no None that leaves a choice to the class."""
        is_chosen_here = self.server_default is not None and isinstance(self.kind, Choice)
        return replace(self, may_be_none=False) if is_chosen_here else self

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
        if not (self.may_be_none and value is None) and not self.kind.fits(value):
            raise self._mistake(self.name, value)

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
