"""The environment that a program and its children run in."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from manyhands.config.option_types import OptionValue
from manyhands.model.usage_errors import Mistake

#: Carries the options to the program's processes, as one JSON object of names and values.
OPTIONS_VARIABLE = "MANYHANDS_OPTIONS"

#: Carries what is to be logged, as one JSON object.
LOG_VARIABLE = "MANYHANDS_LOG"

#: The folder whose `sitecustomize` makes the program import ours.
STARTUP = Path(__file__).resolve().parent / "startup"


class Log(NamedTuple):
    """What the program's processes write to standard error of what happens in their servers.

    Attributes
    ----------
    form : str or None
        `text` or `json`; None where nobody asked, which is text where `access` is set.
    access : bool
        Whether each connection that ends is told of.
    """

    form: Literal["text", "json"] | None
    access: bool

    @property
    def is_wanted(self) -> bool:
        """Whether anything is to be written."""
        return self.form is not None or self.access


NO_LOG = Log(None, access=False)


def log_of(environment: Mapping[str, str]) -> Log:
    """Return what an environment that `extend` made says of the log."""
    said = environment.get(LOG_VARIABLE)
    return NO_LOG if not said else Log(**json.loads(said))


def extend(
    environment: Mapping[str, str], options: Mapping[str, OptionValue], log: Log = NO_LOG
) -> dict[str, str]:
    """Extend an environment so that Python processes in it use our `socketserver`.

    Parameters
    ----------
    environment : mapping of str to str
        The environment as it is; left alone.
    options : mapping of str to OptionValue
        The options that were given. They replace those of an outer `manyhands run`.
    log : Log
        What is to be logged.

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
        LOG_VARIABLE: json.dumps(log._asdict()) if log.is_wanted else "",
    }
