"""What follows the `?` of an address: how its socket is set up, as in `unix:///run/x.sock?mode=660&group=www`."""

from collections.abc import Callable
from typing import Any

from manyhands.model.usage_errors import closest

LONGEST_INTERFACE_NAME = 15
"""Characters: `ifr_name` holds 16 on Linux, and a name needs a closing NUL (netdevice(7))."""

LONGEST_ACCOUNT_NAME = 255
"""Characters: names of users and groups have no more (`LOGIN_NAME_MAX`)."""


class NotSo(Exception):  # noqa: N818 - half a sentence on its way to becoming a Mistake
    """Why a text is no address, and what would be right."""


def read_query(scheme: str, query: str) -> dict[str, Any]:
    """Read the query of an address of a `scheme` that takes one; return its values by their keys.

    Raises
    ------
    NotSo
        When a key or a value is none that can be.
    """
    readers = READERS[scheme]
    values: dict[str, Any] = {}
    for part in query.split("&"):
        key, equals, text = part.partition("=")
        if key not in readers:
            raise NotSo(
                f"{_listed(readers)} may follow the '?', and not {key!r}{_meant(key, readers)}"
            )
        if not equals or not text:
            raise NotSo(f"{key} needs a value, as in ?{key}={EXAMPLES[key]}")
        if key in values:
            raise NotSo(f"it says {key} twice")
        values[key] = readers[key](text)
    return values


def write_query(values: dict[str, Any]) -> str:
    """Write a query that reads as `values`; ``""`` for none."""
    parts = [f"{key}={WRITERS.get(key, str)(value)}" for key, value in values.items()]
    return f"?{'&'.join(parts)}" if parts else ""


def _listed(readers: dict[str, Any]) -> str:
    *most, last = readers
    return f"{', '.join(most)} or {last}" if most else last


def _meant(key: str, readers: dict[str, Any]) -> str:
    near = closest(key, readers, 0.6) or _ALIASES.get(key)
    return f"; did you mean {near!r}?" if near in readers else ""


def _mode(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 4 or set(text) & set("89"):
        raise NotSo(f"the mode is written in octal digits, as in ?mode=660, not {text!r}")
    mode = int(text, 8)
    if mode > 0o777:
        raise NotSo(f"the mode is at most 777, not {text!r}")
    return mode


def _account(text: str) -> str:
    if (
        len(text) > LONGEST_ACCOUNT_NAME
        or text != text.strip()
        or not text.isprintable()
        or "=" in text
    ):
        raise NotSo(f"{text!r} is not the name, or the number, of a user or a group")
    return text


def _interface(text: str) -> str:
    if (
        len(text) > LONGEST_INTERFACE_NAME
        or not (text.isascii() and text.isprintable())
        or set(text) & set(" /=")
    ):
        raise NotSo(f"{text!r} is not the name of an interface, as eth0 is")
    return text


_FILE: dict[str, Callable[[str], Any]] = {"mode": _mode, "owner": _account, "group": _account}

READERS: dict[str, dict[str, Callable[[str], Any]]] = {
    "unix": _FILE,
    "unix-datagram": _FILE,
    "udp": {"interface": _interface},
}
"""The schemes that take a query, with the reader of each value, in the order in which they are written."""

WRITERS: dict[str, Callable[[Any], str]] = {"mode": "{:03o}".format}

_ALIASES = {"user": "owner", "uid": "owner", "gid": "group", "perm": "mode"}
"""What people may call a key."""

EXAMPLES = {"mode": "660", "owner": "www", "group": "www", "interface": "eth0"}
