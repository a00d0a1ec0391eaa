"""Write the tables of verbs in docs/control.md from the verbs. A test says when that has not been done."""

from collections.abc import Iterator
from pathlib import Path

from manyhands.control.params import Fields, Param
from manyhands.control.process_verbs import VERBS

PAGE = Path(__file__).parent.parent / "docs" / "control.md"

BEGIN, END = "<!-- verbs: written by tools/write_verbs.py -->\n", "<!-- end of verbs -->\n"


def page() -> str:
    """Return the text of the page, with its tables as they are now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{tables()}{END}{after}"


def tables() -> str:
    """Return the table of verbs, and that of their parameters."""
    verbs = "".join(
        f"| `{verb.name}` | {'yes' if verb.writes else ''} | {verb.help} |\n" for verb in VERBS
    )
    params = "".join(
        f"| `{verb.name}` | `{name}` | {param.kind.expected} | {_help(param)} |\n"
        for verb in VERBS
        for name, param in _params(verb.params)
    )
    return (
        f"\n| verb | changes something | |\n|---|---|---|\n{verbs}"
        f"\n| of | parameter | must be | |\n|---|---|---|---|\n{params}\n"
    )


def _help(param: Param) -> str:
    return f"{param.help} (required)" if param.is_required else param.help


def _params(params: tuple[Param, ...], place: str = "") -> Iterator[tuple[str, Param]]:
    for param in params:
        yield f"{place}{param.name}", param
        if isinstance(param.kind, Fields):
            yield from _params(param.kind.members, f"{place}{param.name}.")


WRITTEN = {PAGE: page}
"""The file, and what makes its text."""

if __name__ == "__main__":
    for file, text in WRITTEN.items():
        file.write_text(text(), encoding="utf-8")
