"""The TLS of a `manyhands.Server`, made from its options."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from manyhands.config.option_types import listed
from manyhands.config.options import OPTIONS, by_group
from manyhands.model.addresses import Address
from manyhands.model.usage_errors import Mistake

if TYPE_CHECKING:
    import ssl

    from manyhands.protocol.certificate_validity import Validity

_OPTIONS = by_group("tls")


class ServerTLS(Protocol):
    """The context that a server's TLS connections are made with, and how it stays up to date."""

    @property
    def can_reload(self) -> bool:
        """Whether it is made of files, which can be read again."""

    @property
    def why_not_reloaded(self) -> str | None:
        """Why the files could not be used when they were read last; None where they could."""

    @property
    def context(self) -> "ssl.SSLContext":
        """The context of the next connection."""

    @property
    def validities(self) -> "Mapping[str, Validity]":
        """From when until when each certificate is valid, by its file; empty where that is not known."""

    def look(self) -> None:
        """Reload when the files have changed."""

    def reload(self) -> bool:
        """Read the files again; return whether they can be used."""

    def reload_soon(self) -> None:
        """Have the next `look` reload."""


def server_tls(
    addresses: Sequence[Address], given: Mapping[str, Any], context: "ssl.SSLContext | None"
) -> ServerTLS | None:
    """Make the TLS of a server from its options; return None when there is no certificate.

    Parameters
    ----------
    addresses : sequence of Address
        The addresses on which the server is to listen.
    given : mapping
        The options that were given, each already checked by itself.
    context : ssl.SSLContext or None
        A context that the program has made.

    Raises
    ------
    Mistake
        When an address needs a certificate and there is none, options do not fit together, or a file cannot
        be used.
    """
    values = {name: given[name] for name in _OPTIONS if given.get(name) is not None}
    if context is not None:
        return _given_context(context, values)
    if "certfile" in values:
        return _of_files(values)
    for name, value in values.items():
        if (name, value) != ("client_certificates", "none"):
            raise Mistake(f"{name} without certfile is of no use: TLS needs a certificate")
    for address in addresses:
        if address.is_tls:
            raise Mistake(
                f"{address} needs a certificate: give certfile, and keyfile where the key is not in it"
            )
    return None


# `ssl` is imported below, in the functions: a server without TLS starts without it.


def _given_context(context: "ssl.SSLContext", values: Mapping[str, Any]) -> ServerTLS:
    import ssl  # noqa: PLC0415 - see above

    from manyhands.connections.certificates import GivenContext  # noqa: PLC0415

    if not isinstance(context, ssl.SSLContext):
        raise Mistake(f"ssl_context must be an ssl.SSLContext, not {context!r}")
    for name in values:
        raise Mistake(f"give ssl_context or {name}, not both: the context says it all")
    return GivenContext(context)


def _of_files(values: Mapping[str, Any]) -> ServerTLS:
    from manyhands.connections.certificates import (  # noqa: PLC0415
        Certificates,
        Pair,
        Settings,
    )

    # In pairs, by position: the first keyfile is that of the first certfile.
    certfiles = _paths(values["certfile"])
    keyfiles: list[str] | list[None] = _paths(values.get("keyfile"))
    if keyfiles and len(keyfiles) != len(certfiles):
        raise Mistake(
            f"there must be as many keyfiles as certfiles, or none at all: they are {len(keyfiles)} and "
            f"{len(certfiles)}"
        )
    client_certificates = _client_certificates(values)
    client_ca = _paths(values.get("client_ca"))
    return Certificates(
        Settings(
            tuple(map(Pair, certfiles, keyfiles or [None] * len(certfiles))),
            client_ca[0] if client_ca else None,
            client_certificates,
            tuple(map(str, listed(values.get("alpn")))),
        )
    )


def _client_certificates(values: Mapping[str, Any]) -> str:
    option = OPTIONS["client_certificates"]
    said: str | None = values.get(option.name)
    if said not in {None, "none"} and "client_ca" not in values:
        raise Mistake(
            f"client_certificates is {said!r}, and there is no client_ca to say whose certificates count"
        )
    return said or str(option.default)


def _paths(value: Any) -> list[str]:
    # Absolute: a program may change its folder before the files are read again.
    return [str(Path(str(one)).absolute()) for one in listed(value)]
