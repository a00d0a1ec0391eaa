"""The address of a socket, as people write it."""

import os
from typing import Any


def describe(address: Any) -> str:
    """Write a socket's address for a person: ``127.0.0.1:8008``, ``[::1]:8008``, ``/run/echo.sock``."""
    if isinstance(address, tuple) and len(address) >= 2:
        # A client of IPv4 on a socket for both versions: people know it by its IPv4 address.
        host = str(address[0]).removeprefix("::ffff:") or "*"
        return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
    if isinstance(address, bytes):
        address = os.fsdecode(address)
    if isinstance(address, str):
        return (
            "@" + address[1:] if address.startswith("\0") else address or "an unnamed Unix socket"
        )
    return str(address)
