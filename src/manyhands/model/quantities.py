"""Figures as people read them: how long, how many bytes, how many; and as they write them."""

import re
from collections.abc import Sequence

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400

_SECONDS = {"": 1, "s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY}

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
"""Of a thousand each (SI), as networks and disks are measured."""

NOT_KNOWN = "-"
"""What stands for a figure that the system does not tell."""


def age(seconds: float | None) -> str:
    """Write how long something is, or was: ``4.2 s``, ``12 m 05 s``, ``3 h 12 m``, ``4 d 03 h``."""
    if seconds is None:
        return NOT_KNOWN
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} m {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} m"
    return f"{whole // _DAY:,} d {whole % _DAY // _HOUR:02} h"


def size(number: float | None) -> str:
    """Write a number of bytes, whole or of a rate: ``812 B``, ``1.2 kB``, ``3.4 GB``."""
    if number is None:
        return NOT_KNOWN
    for unit in _UNITS[:-1]:
        if number < 999.5:
            return (
                f"{number:.0f} {unit}" if unit == "B" or number >= 9.95 else f"{number:.1f} {unit}"
            )
        number /= 1000
    return f"{number:,.0f} {_UNITS[-1]}"


def count(number: float | None) -> str:
    """Write a number of things: ``12,345``."""
    return NOT_KNOWN if number is None else f"{number:,.0f}"


def some_of(names: Sequence[str], total: int) -> str:
    """Write names in one line, and how many more there are: ``red, blue, 1,000 more``."""
    others = total - len(names)
    return ", ".join([*names, f"{count(others)} more"] if others > 0 else names)


def rate(number: float | None) -> str:
    """Write how many a second: ``0.5``, ``12``, ``1,204``; with a tenth only where that is seen."""
    if number is None:
        return NOT_KNOWN
    return f"{number:.1f}" if 0 < number < 9.95 else f"{number:,.0f}"


def delay(seconds: float | None) -> str:
    """Write a short time: ``0.3 ms``, ``12 ms``, ``1.2 s``."""
    if seconds is None:
        return NOT_KNOWN
    if seconds >= 0.9995:
        return age(seconds)
    thousandths = seconds * 1000
    return f"{thousandths:.1f} ms" if thousandths < 9.95 else f"{thousandths:.0f} ms"


def read_seconds(text: str) -> float:
    """Read how long something is: ``90``, ``0.5``, ``90s``, ``5m``, ``2h``, ``1d``.

    Raises
    ------
    ValueError
        It is no time.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text, re.ASCII)
    if not found:
        raise ValueError(text)
    return float(found[1]) * _SECONDS[found[2]]
