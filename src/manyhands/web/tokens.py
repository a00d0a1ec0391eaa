"""The token that browsers have to know: made anew at each start, or kept in a file."""

import os
import re
import secrets
import stat

from manyhands.model.usage_errors import Mistake

BYTES = 32
"""Random ones: so many cannot be guessed."""

_FITTING = re.compile(r"[A-Za-z0-9._~-]{32,256}")
"""What needs no escaping in a link."""


def new_token() -> str:
    """Return a token that there has never been."""
    return secrets.token_urlsafe(BYTES)


def token_in(path: str) -> str:
    """Read the token that a file keeps, or have a new file keep a new one.

    Raises
    ------
    Mistake
        The file cannot be read or made, another user knows or may read what it has, or that is no token.
    """
    try:
        # Not `Path.open`, which cannot say whose it is to be.
        with open(path, "x", encoding="ascii", opener=_private) as file:
            token = new_token()
            file.write(f"{token}\n")
            return token
    except FileExistsError:
        return _kept(path)
    except OSError as error:
        raise _cannot(path, error) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _kept(path: str) -> str:
    try:
        # A pipe would not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
            found = os.fstat(descriptor)
            token = file.readline(1024).strip() if stat.S_ISREG(found.st_mode) else ""
    except OSError as error:
        raise _cannot(path, error) from None
    if found.st_uid != os.geteuid():
        raise Mistake(
            f"--token-file {path} belongs to another user, who knows what is in it: give a file of your own"
        )
    if found.st_mode & 0o077:
        raise Mistake(f"--token-file {path} is there for other users too: chmod 600 {path}")
    if not _FITTING.fullmatch(token):
        raise Mistake(
            f"--token-file {path} has no token, which is a line of 32 to 256 letters, digits and the signs "
            "._~- (remove the file, and a new one is made)"
        )
    return token


def _cannot(path: str, error: OSError) -> Mistake:
    return Mistake(f"--token-file {path} cannot be read or made: {error.strerror}")
