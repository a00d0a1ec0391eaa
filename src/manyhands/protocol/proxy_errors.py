"""What is wrong with a PROXY header: one exception for all faults, and a word for what came in its place."""


class BadProxyHeader(ValueError):  # noqa: N818 - what it is, as people say it
    """A connection does not begin with a PROXY header as the specification has it.

    The text is one sentence, and fit for a log: it quotes nothing of what the peer sent, which may have been
    meant for another server, and secret.

    Parameters
    ----------
    field : str
        What is wrong: `signature`, `version`, `command`, `family`, `transport`, `length`, `protocol`,
        `line`, `source`, `destination`, `source port`, `destination port`, `tlv`, `checksum`; or `end`
        when the peer went before the end of the header.
    sentence : str
        What is wrong with it.
    """

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI")
"""What a request begins with (RFC 9110, section 9; RFC 5789; PRI is the preface of HTTP/2, RFC 9113)."""

_PROTOCOLS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    # A handshake record of SSL 3 or TLS: type 22, major version 3 (RFC 8446, section 5.1).
    ("a TLS ClientHello", (b"\x16\x03",)),
    ("an HTTP request", tuple(f"{method} ".encode("ascii") for method in _METHODS)),
    ("an SSH client", (b"SSH-",)),  # RFC 4253, section 4.2
)


def sniffed(start: bytes) -> str:
    """Say what the first bytes look like: ``"18 bytes that begin like an HTTP request"``.

    It names the protocol, if that shows, and how much came. What a client sends in the place of a header may
    hold its password or its token, and others read the log.

    Parameters
    ----------
    start : bytes
        What has come so far.
    """
    count = "1 byte" if len(start) == 1 else f"{len(start)} bytes"
    for protocol, beginnings in _PROTOCOLS:
        if start.startswith(beginnings):
            return f"{count} that begin like {protocol}"
    return count
