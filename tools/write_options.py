"""Write docs/options.md from the one table of options. A test says when that has not been done."""

from pathlib import Path

from manyhands.config.option import NEEDS, OnEngine, OneOf
from manyhands.config.options import ATTRIBUTES, OPTIONS, Option
from manyhands.server import OPTIONS as SERVER_KEYWORDS

PAGE = Path(__file__).parent.parent / "docs" / "options.md"

HEAD = """\
# Options

Written by `tools/write_options.py` from `manyhands/config/options.py`.

An option has one name everywhere: the keyword of `manyhands.Server`, the class attribute of a drop-in
server or handler, and the flag of the command line. *Drop-in* is the default of the class attribute;
*Server* that of `manyhands.Server` and `manyhands serve`. *run* says which options `manyhands run` takes:
those that are class attributes. A hyphen says that the option is not taken there.

A value that does not fit, and an option that does nothing without another one, is a `manyhands.Mistake`, a
sentence that names the option, and of a command status 2.

| option | flag | drop-in | Server | run | attribute of | what it does |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    return HEAD + "".join(_row(option) for option in OPTIONS)


def _row(option: Option) -> str:
    drop_in = _value(option, served=False) if option.owners else "-"
    server = _value(option, served=True) if option.name in SERVER_KEYWORDS else "-"
    owners = ", ".join(f"`{owner}`" for owner in option.owners) or "-"
    run = "yes" if option.name in ATTRIBUTES else "-"
    what = option.help + _needs(option.name)
    cells = (f"`{option.name}`", f"`{option.flag}`", drop_in, server, run, owners, what)
    return f"| {' | '.join(cells)} |\n"


def _needs(name: str) -> str:
    need = NEEDS.get(name)
    if isinstance(need, OneOf):
        return f" (with {' or '.join(f'`{other}`' for other in need.names)})"
    return f" (on the engine `{need.name}`)" if isinstance(need, OnEngine) else ""


def _value(option: Option, *, served: bool) -> str:
    value = option.default_for(served=served)
    return "none" if value is None else f"{value} {option.unit}".rstrip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
