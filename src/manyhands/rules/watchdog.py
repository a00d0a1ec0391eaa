"""How often a service manager wants to hear that a service is alive: sd_watchdog_enabled(3)."""

from collections.abc import Mapping


def timeout(variables: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds after which the process `pid` is taken for dead unless it says that it is not.

    Parameters
    ----------
    variables : mapping
        The environment.
    pid : int
        The process that asks.

    Returns
    -------
    float or None
        None when nobody waits for a word of this process; then the variables are not set, are meant for
        another process, or make no sense.
    """
    meant, microseconds = variables.get("WATCHDOG_PID"), _number(variables.get("WATCHDOG_USEC"))
    if meant is not None and _number(meant) != pid:
        return None
    return microseconds / 1e6 if microseconds else None


def _number(text: str | None) -> int | None:
    # 2**64 - 1, which stands for "never" (USEC_INFINITY), has 20 digits.
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 20):
        return None
    return int(text)
