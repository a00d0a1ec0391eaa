"""Where the page may be served, and by which names browsers call it there."""

from collections.abc import Sequence
from ipaddress import ip_address

from manyhands.listening.endpoints import endpoints
from manyhands.model.addresses import Address
from manyhands.model.usage_errors import Mistake
from manyhands.web.guards import LOOPBACK_NAMES, host_name

DEFAULT = "tcp://127.0.0.1:8010"

_EVERY_INTERFACE = {"", "::", "0.0.0.0"}  # noqa: S104 - recognised, not bound


def refuse_unsafe(address: Address) -> None:
    """Refuse an address at which the token would go over a network in clear.

    Raises
    ------
    Mistake
        It is neither of this machine alone, nor TLS.
    """
    if address.scheme in {"tls", "unix"} or (address.scheme == "tcp" and _is_local(address)):
        return
    raise Mistake(
        f"the page is not served on {address}: what it shows and its token would be there for other "
        "machines to read, so give it tcp://127.0.0.1:PORT, unix://PATH, or tls://HOST:PORT with --certfile"
    )


def names_of(addresses: Sequence[Address], given: Sequence[str]) -> list[str]:
    """Return the names by which browsers may call the page.

    Parameters
    ----------
    addresses
        Where it is served.
    given
        The names that a person gave for it.

    Raises
    ------
    Mistake
        A name is none; or it is served on every interface, and no name was given.
    """
    for name in given:
        if host_name(f"[{name}]" if ":" in name else name) is None:
            raise Mistake(f"--host {name!r} is no name of a host, as in --host status.example.org")
    names = [*given]
    for address in addresses:
        if address.path or _is_local(address):
            names += LOOPBACK_NAMES
        # The name of a machine, and each of 127.0.0.0/8, may be its own without being among those.
        if address.host not in _EVERY_INTERFACE:
            names.append(address.host)
        elif not address.path and not given:
            raise Mistake(
                f"a page on {address} has to know its name, by which browsers will call it, as in "
                "--host status.example.org"
            )
    return list(dict.fromkeys(names))


def link(
    bound: Address, addresses: Sequence[Address], given: Sequence[str], token: str
) -> str | None:
    """Return the link to the page; None on a Unix socket, which no browser calls.

    The token is in the fragment, which browsers send to no server: so it is in no log, and in no `Referer`.

    Parameters
    ----------
    bound : Address
        Where it listens, with the port that it got.
    addresses
        Where it was to listen, as a person wrote it.
    given
        The names that a person gave for it.
    token : str
        The token.
    """
    if bound.path:
        return None
    if given and not _is_local(bound):
        # What a certificate is for.
        host = given[0]
    else:
        host = next((each.host for each in addresses if _leads_to(each, bound)), bound.host)
    scheme = "https" if bound.is_tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{bound.port}/#t={token}"


def _leads_to(address: Address, bound: Address) -> bool:
    return (
        address.scheme == bound.scheme
        and address.port in {0, bound.port}
        and any(each.address[0] == bound.host for each in endpoints(address))
    )


def _is_local(address: Address) -> bool:
    if address.host in _EVERY_INTERFACE:
        return False
    try:
        # A name may have other addresses tomorrow, but it is bound today.
        return all(ip_address(each.address[0]).is_loopback for each in endpoints(address))
    except OSError:
        return False  # this machine has none of them, and does not listen there either
