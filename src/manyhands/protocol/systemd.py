"""The variables of systemd: which descriptors it gave to a process, and how often it wants a word of it."""

from collections.abc import Mapping
from typing import NamedTuple

from manyhands.model.usage_errors import Mistake

VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""How systemd tells of the descriptors (sd_listen_fds(3)). Removed once read: no child is to take them for
its own."""

FIRST = 3
"""The first descriptor that is given: SD_LISTEN_FDS_START in sd_listen_fds(3)."""

MOST = 65_536
"""A number above it is nonsense: each socket of it would cost memory before it is found out."""

UNNAMED = "unknown"
"""The name of a socket that came without one, as sd_listen_fds_with_names(3) has it."""


class GivenDescriptor(NamedTuple):
    """A descriptor that was given, and its name."""

    number: int
    name: str


def read(variables: Mapping[str, str], pid: int) -> tuple[GivenDescriptor, ...]:
    """Read what has been given to the process `pid`.

    Parameters
    ----------
    variables : mapping
        The environment.
    pid : int
        The process that asks.

    Returns
    -------
    tuple of GivenDescriptor
        In the order in which systemd has them; at least one.

    Raises
    ------
    Mistake
        Nothing was given, or to another process, or the variables make no sense.
    """
    if "LISTEN_FDS" not in variables:
        raise Mistake(
            "this process was given no sockets, for LISTEN_FDS is not set: systemd sets it for a service "
            "that has a .socket unit"
        )
    _check_pid(variables.get("LISTEN_PID", ""), pid)
    count = _number("LISTEN_FDS", variables["LISTEN_FDS"])
    if not 0 < count <= MOST:
        raise Mistake(f"this process was given no sockets, for LISTEN_FDS is {count}")
    names = _names(variables.get("LISTEN_FDNAMES"), count)
    return tuple(GivenDescriptor(FIRST + place, name) for place, name in enumerate(names))


def variables_of(given: tuple[GivenDescriptor, ...], pid: int) -> dict[str, str]:
    """Return the variables of which `read` makes these, in the process `pid`; none for none."""
    if not given:
        return {}
    names = ":".join(one.name for one in given)
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": names}


def _check_pid(text: str, pid: int) -> None:
    # Children inherit the variables, so they say which process is meant (sd_listen_fds(3)).
    meant = _number("LISTEN_PID", text)
    if meant != pid:
        raise Mistake(
            f"the sockets of LISTEN_FDS were given to process {meant}, and this is process {pid}: what "
            "starts it in between, such as a shell, has to `exec` it"
        )


def _number(name: str, text: str) -> int:
    # int() would take more than digits: signs, spaces, underscores.
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise Mistake(f"{name} must be a number, not {text[:40]!r}")
    return int(text)


def _names(text: str | None, count: int) -> list[str]:
    if text is None:
        return [UNNAMED] * count
    names = text.split(":")
    if len(names) != count:
        raise Mistake(f"LISTEN_FDNAMES has {len(names)} names for {count} sockets")
    return names


def named(given: tuple[GivenDescriptor, ...], name: str) -> tuple[GivenDescriptor, ...]:
    """Return the descriptors of a name, which several may share; all for ``""``.

    Raises
    ------
    Mistake
        No descriptor has the name; the sentence says which names there are.
    """
    found = tuple(one for one in given if name in {"", one.name})
    if not found:
        names = ", ".join(dict.fromkeys(repr(one.name) for one in given))
        raise Mistake(f"no socket of the name {name!r} was given to this process, only {names}")
    return found


def watchdog_timeout(variables: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds after which systemd takes the process `pid` for dead unless it says that it is not.

    Parameters
    ----------
    variables : mapping
        The environment.
    pid : int
        The process that asks.

    Returns
    -------
    float or None
        None when systemd expects no word of this process: the variables are not set, are meant for another
        process, or make no sense (sd_watchdog_enabled(3)).
    """
    meant = variables.get("WATCHDOG_PID")
    if meant is not None and _whole(meant) != pid:
        return None
    microseconds = _whole(variables.get("WATCHDOG_USEC"))
    return microseconds / 1e6 if microseconds else None


def _whole(text: str | None) -> int | None:
    # 2**64 - 1, which stands for "never" (USEC_INFINITY), has 20 digits.
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 20):
        return None
    return int(text)
