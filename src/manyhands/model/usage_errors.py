"""Usage errors: what a person got wrong, as one sentence."""

from collections.abc import Iterable

MISTAKE = 2
"""The exit status for a person's mistake, as argparse and most tools have it."""

NOT_STARTED = 3
"""The exit status when the workers cannot serve, as gunicorn has it: no new start by itself will help."""


class Mistake(Exception):  # noqa: N818 - a mistake is not an error of the program, and is named for what it is
    """A user's mistake: a wrong address, option, path or name.

    The text is one sentence that says what was tried, on what, and what to do. The command line prints
    it after ``manyhands: `` and exits with status 2; it never shows a traceback for one.
    """


class MissingExtra(Mistake, ImportError):  # noqa: N818 - a mistake, like its base
    """Something needs a package that is an extra of manyhands, and is not installed.

    Parameters
    ----------
    what : str
        What needs it, as the sentence begins.
    package : str
        The package, as pip knows it.
    extra : str
        The extra that brings it.

    Notes
    -----
    The sentence never says to install `manyhands` by its name: in the public index that is another project.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs {package}, which is not here: pip install {package}, or in a checkout of "
            f"manyhands pip install '.[{extra}]'"
        )


def closest(word: str, words: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return the one of some words that is most like another one, if any is so to the degree of `cutoff`."""
    try:
        # For an error text alone: few programs load it.
        from difflib import get_close_matches  # noqa: PLC0415
    except ImportError:
        return None  # in a process that has changed its root or its user since
    return next(iter(get_close_matches(word, list(words), n=1, cutoff=cutoff)), None)


class NotStarted(RuntimeError):  # noqa: N818 - what became of the start
    """The workers of a server could not begin to serve; the text says why."""
