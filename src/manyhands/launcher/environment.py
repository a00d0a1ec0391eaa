"""The environment that a program and its children run in."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from manyhands.rules.kinds import OptionValue
from manyhands.rules.mistakes import Mistake

#: Carries the options to the program's processes, as one JSON object of names and values.
OPTIONS_VARIABLE = "MANYHANDS_OPTIONS"

#: The folder whose `sitecustomize` makes the program import ours.
STARTUP = Path(__file__).resolve().parent / "startup"


def extend(environment: Mapping[str, str], options: Mapping[str, OptionValue]) -> dict[str, str]:
    """Extend an environment so that Python processes in it use our `socketserver`.

    Parameters
    ----------
    environment : mapping of str to str
        The environment as it is; left alone.
    options : mapping of str to OptionValue
        The options that were given. They replace those of an outer `manyhands run`.

    Returns
    -------
    dict of str to str
        A new environment.

    Raises
    ------
    Mistake
        manyhands is installed in a folder that `PYTHONPATH` cannot name.
    """
    if os.pathsep in str(STARTUP):
        raise Mistake(
            f"manyhands run needs to be installed in a folder without {os.pathsep!r} in its name, "
            f"not in {str(STARTUP.parent.parent)!r}"
        )
    path = environment.get("PYTHONPATH", "")
    rest = [entry for entry in path.split(os.pathsep) if entry != str(STARTUP)] if path else []
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join([str(STARTUP), *rest]),
        OPTIONS_VARIABLE: json.dumps(dict(options)),
    }
