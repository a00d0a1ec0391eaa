"""The environment that a program and its children run in, and whether their installation has gevent."""

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal, NamedTuple

from manyhands.config.option_types import OptionValue
from manyhands.model.usage_errors import MissingExtra, Mistake

OPTIONS_VARIABLE = "MANYHANDS_OPTIONS"
"""Carries the options to the program's processes, as one JSON object of names and values."""

LOG_VARIABLE = "MANYHANDS_LOG"
"""Carries what is to be logged, as one JSON object."""

CONTROL_VARIABLE = "MANYHANDS_CONTROL"
"""Carries where the control sockets are to be, as one JSON object."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

STARTUP = os.path.join(_PACKAGE, "launcher", "startup")
"""The folder whose `sitecustomize` makes the program import ours."""


class Log(NamedTuple):
    """What the program's processes write to standard error of what happens in their servers.

    Attributes
    ----------
    form : str or None
        `text` or `json`; None where no form was asked for, which is text where `access` is set.
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


class ControlPlaces(NamedTuple):
    """Where the control sockets of the program's processes are to be.

    Attributes
    ----------
    control, control_read : str or None
        The places of the one for everything, and of the one for reading alone, as `Server` takes them.
    """

    control: str | None
    control_read: str | None

    @property
    def are_any(self) -> bool:
        """Whether there is to be any."""
        return self != NO_CONTROL


NO_CONTROL = ControlPlaces(None, None)

ASKED_ABOVE = ControlPlaces("none", "none")
"""Of a program with workers, which are asked by way of their supervisor."""


def control_of(environment: Mapping[str, str]) -> ControlPlaces:
    """Return what an environment that `extend` made says of control sockets."""
    said = environment.get(CONTROL_VARIABLE)
    return NO_CONTROL if not said else ControlPlaces(**json.loads(said))


def extend(
    environment: Mapping[str, str],
    options: Mapping[str, OptionValue],
    log: Log = NO_LOG,
    control: ControlPlaces = NO_CONTROL,
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
    control : ControlPlaces
        Where the control sockets are to be.

    Returns
    -------
    dict of str to str
        A new environment.

    Raises
    ------
    Mistake
        manyhands is installed in a folder that `PYTHONPATH` cannot name.
    """
    if os.pathsep in STARTUP:
        raise Mistake(
            f"manyhands run needs to be installed in a folder without {os.pathsep!r} in its name, "
            f"not in {_PACKAGE!r}"
        )
    path = environment.get("PYTHONPATH", "")
    rest = [entry for entry in path.split(os.pathsep) if entry != STARTUP] if path else []
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join([STARTUP, *rest]),
        OPTIONS_VARIABLE: json.dumps(dict(options)),
        LOG_VARIABLE: json.dumps(log._asdict()) if log.is_wanted else "",
        CONTROL_VARIABLE: json.dumps(control._asdict()) if control.are_any else "",
    }


def has_gevent() -> bool:
    """Tell whether this installation has gevent, which the fiber engine needs."""
    return find_spec("gevent") is not None


def require_gevent(what: str) -> None:
    """Say what is missing, before anything starts.

    Parameters
    ----------
    what : str
        What needs gevent, as the sentence begins.

    Raises
    ------
    MissingExtra
        gevent is not installed.
    """
    if not has_gevent():
        raise MissingExtra(what, "gevent", "fibers")
