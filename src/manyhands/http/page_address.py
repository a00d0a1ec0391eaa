"""Where pages for tools are to be served, and of which server."""

from manyhands.model.addresses import Address, parse
from manyhands.model.usage_errors import Mistake


def page_address(server: object, address: object, room: str) -> Address:
    """Return the address on which the pages of a server are to be served.

    Parameters
    ----------
    server
        The server that the pages are about.
    address
        As it was given: ``127.0.0.1:9108``, ``[::1]:0``, ``:9108`` for every interface, or an `Address`; a
        port alone is one of 127.0.0.1.
    room
        What is served, for the sentence: `room`.serve was called with these.

    Raises
    ------
    Mistake
        When it is no address of TCP, or `server` is no server.
    """
    if isinstance(server, str | Address | type) or not hasattr(server, "__dict__"):
        raise Mistake(
            f"{server!r} is no server: the server comes first, {room}.serve(server, '127.0.0.1:9108')"
        )
    if not isinstance(address, str | Address):
        better = f"127.0.0.1:{address}" if isinstance(address, int) else "127.0.0.1:9108"
        raise Mistake(f"{address!r} is not an address: write {better!r}")
    where = address if isinstance(address, Address) else read_page_address(address)
    if where.scheme != "tcp":
        raise Mistake(f"{room} pages are served on a tcp:// address, not on {where}")
    return where


def read_page_address(text: str) -> Address:
    """Read an address of pages, of which a port alone is one of 127.0.0.1."""
    # Other programs' exporters listen on every interface then. No password protects these pages.
    return parse(f"127.0.0.1:{text}" if text.isascii() and text.isdecimal() else text)
