"""How this process was started, in a few words, for the clients of its control sockets."""

import os
import sys

LONGEST = 100
"""Characters of the name."""


class OwnName:
    """The name of this process."""

    def __init__(self) -> None:
        self.given = ""
        """What a command calls it; empty: it is as the command line says."""

    def __str__(self) -> str:
        return (self.given or _as_started())[:LONGEST]


def program() -> list[str]:
    """Return the program of this process as its command line names it: its file, or ``-m`` and its module."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    # A file has none, and of a folder or a zip file it is that of the `__main__` within.
    if spec is None or spec.name == "__main__":
        return [os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"]
    return ["-m", spec.name.removesuffix(".__main__")]


def _as_started() -> str:
    words = program()
    if words[0] == "-m":
        words = ["manyhands"] if words[1] == "manyhands" else ["python", *words]
    return " ".join([*words, *sys.argv[1:3]])


own_name = OwnName()
"""That of this process."""
