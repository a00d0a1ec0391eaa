"""Who may ask the page for anything: by which name it was called, from which page, and with which token."""

import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from ipaddress import ip_address

from manyhands.model.socket_addresses import address_key, client_ip

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
"""The names of the machine itself."""

MOST_WRONG = 10
"""Wrong tokens of one client address in `WRONG_SECONDS`."""

WRONG_SECONDS = 60.0

MOST_ADDRESSES = 1000
"""Client addresses whose wrong tokens are remembered."""

_LOOPBACK_OF_IPV4, _LOOPBACK_OF_IPV6 = 127, (128, 1)

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?", re.IGNORECASE)


def host_name(authority: str) -> str | None:
    """Return the name in a Host header, without its port, in the form in which names are compared.

    Address literals are parsed, so that the many spellings of one address are one name.

    Returns
    -------
    str or None
        None where it is neither a name nor an address.
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return None
    name = found[1] or found[2]
    try:
        return str(ip_address(name))
    except ValueError:
        return None if found[1] else name.lower()


class Hosts:
    """The names by which browsers may call the page, to the letter.

    The port is left open, for `ssh -L` changes it.

    A page of an attacker may have its name resolve to our address (DNS rebinding): then the browser takes it
    for the same site, and only the name in the Host header tells.

    Parameters
    ----------
    names : iterable of str
        Names and addresses, without ports.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {name for name in map(host_name, map(_bracketed, names)) if name}

    def has(self, authority: str) -> bool:
        """Tell whether a Host header has one of the names."""
        return host_name(authority) in self._names


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from the page itself, or from no page at all.

    `Sec-Fetch-Site` is ``none`` where a person opened the link (Fetch Metadata, W3C). `Origin` is compared
    without its scheme, which a proxy in front may change.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in {None, "same-origin", "none"}:
        return False
    return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()


class Verdict(Enum):
    """What a token was found to be."""

    RIGHT = "right"
    MISSING = "missing"
    WRONG = "wrong"
    TOO_MANY = "too many"


class TokenCheck:
    """Compares tokens, and counts the wrong ones of each client address. Thread-safe.

    The right one is let in always: it is too long to be guessed, so the bound is for what is not let in
    anyway, such as a window that goes on with an old token.

    Parameters
    ----------
    token : str
        The right one.
    clock
        Tells the time in seconds.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token.encode()
        self._clock = clock
        # The address with the latest wrong token is the last one. Each step on these is one of the
        # interpreter's, so no lock is needed: of two at the same moment one may not be counted.
        self._wrong: dict[int | None, deque[float]] = {}

    def judge(self, authorization: str | None, client_address: object) -> Verdict:
        """Look at an Authorization header of a client, whose address is as `accept` gave it.

        After `MOST_WRONG` wrong ones, those that follow are too many until the first of them was
        `WRONG_SECONDS` ago.
        """
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            return Verdict.MISSING
        if secrets.compare_digest(given.strip().encode(), self._token):
            return Verdict.RIGHT
        address = what_counts_of(client_address)
        times = self._wrong.pop(address, None) or deque(maxlen=MOST_WRONG)
        self._wrong[address] = times
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.pop(next(iter(tuple(self._wrong))), None)
        if self._seconds_left(times) > 0:
            return Verdict.TOO_MANY
        times.append(self._clock())
        return Verdict.WRONG

    def seconds_to_wait(self, client_address: object) -> float:
        """Return the seconds until a wrong token of a client is one like others again."""
        return self._seconds_left(self._wrong.get(what_counts_of(client_address), ()))

    def _seconds_left(self, times: Collection[float]) -> float:
        if len(times) < MOST_WRONG:
            return 0.0
        return next(iter(tuple(times))) + WRONG_SECONDS - self._clock()


def what_counts_of(client_address: object) -> int | None:
    """Return by what the clients without a right token are counted: what they cannot choose anew each time.

    All of this machine's count together (None): a client may call from any of 127.0.0.0/8, or name its own
    end of a Unix socket. Of IPv6 a network counts.
    """
    ip = client_ip(client_address)
    if ip is None or ip == _LOOPBACK_OF_IPV6:
        return None
    bits, number = ip
    if bits == 32 and number >> 24 == _LOOPBACK_OF_IPV4:
        return None
    return address_key(ip)
