"""The token that browsers have to know: made anew at each start, or kept in a file."""

import os
import re
import secrets
from pathlib import Path

from manyhands.model.usage_errors import Mistake

BYTES = 32
"""Of chance: more than can ever be guessed."""

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
        The file cannot be read or made, other users may read it, or what it has is no token.
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
        with Path(path).open(encoding="ascii", errors="replace") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.readline(1024).strip()
    except OSError as error:
        raise _cannot(path, error) from None
    if mode & 0o077:
        raise Mistake(f"--token-file {path} is there for other users too: chmod 600 {path}")
    if not _FITTING.fullmatch(token):
        raise Mistake(
            f"--token-file {path} has no token, which is a line of 32 to 256 letters, digits and the signs "
            "._~- (remove the file, and a new one is made)"
        )
    return token


def _cannot(path: str, error: OSError) -> Mistake:
    return Mistake(f"--token-file {path} cannot be read or made: {error.strerror}")
