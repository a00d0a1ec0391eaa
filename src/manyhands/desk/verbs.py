"""What the operator types, and what callers say to the desk itself: parsing only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

HELP = (
    "TEXT        answer the current caller",
    "/to N       make N the current caller; N is a number or a name, here and below",
    "/all TEXT   say it to everybody on the line",
    "/list       show who is on the line",
    "/kick N     end the call of N",
    "/help       show this",
    "/quit       close the desk",
    "//TEXT      answer with a line that begins with a slash",
)

LONGEST_NAME = 32
"""Characters of a caller's name: it stands before each of the caller's lines."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Say `text` to the current caller."""

    text: str


@dataclass(frozen=True, slots=True)
class To:
    """Make `whom`, a number or a name, the current caller."""

    whom: str


@dataclass(frozen=True, slots=True)
class All:
    """Say `text` to everybody."""

    text: str


@dataclass(frozen=True, slots=True)
class List:
    """Show who is on the line."""


@dataclass(frozen=True, slots=True)
class Kick:
    """End the call of `whom`, a number or a name."""

    whom: str


@dataclass(frozen=True, slots=True)
class Help:
    """Show the verbs."""


@dataclass(frozen=True, slots=True)
class Quit:
    """Close the desk."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty line."""


Order = Answer | To | All | List | Kick | Help | Quit | Nothing

_WITHOUT_WORDS: Mapping[str, Order] = {"/list": List(), "/help": Help(), "/quit": Quit()}
_WITH_WORDS: Mapping[str, tuple[Callable[[str], Order], str]] = {
    "/to": (To, "N"),
    "/all": (All, "TEXT"),
    "/kick": (Kick, "N"),
}

VERBS = tuple(sorted([*_WITHOUT_WORDS, *_WITH_WORDS]))
"""All verbs, for completion."""


class NotUnderstood(ValueError):  # noqa: N818 - what the operator is told
    """The operator's line is no order; the text says why, in one sentence."""


def parse(line: str) -> Order:
    """Read one line of the operator.

    Raises
    ------
    NotUnderstood
        It begins with a slash and is no verb, or has too many words or too few.
    """
    if not line.strip():
        return Nothing()
    if line.startswith("//"):
        return Answer(line[1:])
    if not line.startswith("/"):
        return Answer(line)
    verb, *rest = line.rstrip().split(maxsplit=1)
    return _order(verb, "".join(rest))


def _order(verb: str, rest: str) -> Order:
    if verb in _WITH_WORDS:
        order, what = _WITH_WORDS[verb]
        if not rest:
            raise NotUnderstood(f"{verb} needs more: {verb} {what}")
        return order(rest)
    if verb not in _WITHOUT_WORDS:
        raise NotUnderstood(
            f"there is no verb {verb}, only {', '.join(VERBS)}; "
            f"a line that begins with a slash is typed with two, /{verb}"
        )
    if rest:
        raise NotUnderstood(f"{verb} stands alone")
    return _WITHOUT_WORDS[verb]


def is_goodbye(text: str) -> bool:
    """Tell whether a caller's line says goodbye: `byebye`, in any case, spaces around it or none."""
    return text.strip().casefold() == "byebye"


def name_in(text: str) -> str | None:
    """Return NAME when a caller's line is `/name NAME`, which says who calls; None when it is not."""
    verb, *name = text.split() or [""]
    return " ".join(name) if verb == "/name" else None


def is_good_name(name: str) -> bool:
    """Tell whether a caller can be called `name`: short, printable, and no number, as calls have them."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and not name.isdecimal()
