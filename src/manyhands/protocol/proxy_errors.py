"""What is wrong with a PROXY header: one exception, whatever it is."""


class BadProxyHeader(ValueError):  # noqa: N818 - what it is, as people say it
    """A connection does not begin with a PROXY header as the specification has it.

    The text is one sentence, and fit for a log: it quotes nothing of what the peer sent, which may have been
    meant for somebody else, and secret.

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


# What somebody speaks, told by the first bytes, without a word of what he says.
#
# What a client sends instead of what is expected may hold its password or its token, and others read the log.
# So a sentence about it names the protocol, if that shows, and how much came.

_PROTOCOLS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    # A handshake record of SSL 3 or TLS: type 22, major version 3 (RFC 8446, section 5.1).
    ("a TLS ClientHello", (b"\x16\x03",)),
    # What stands before the first space of a request (RFC 9110, section 9; PRI is HTTP/2's, RFC 9113).
    (
        "an HTTP request",
        (
            *(
                b"GET ",
                b"HEAD ",
                b"POST ",
                b"PUT ",
                b"DELETE ",
                b"CONNECT ",
                b"OPTIONS ",
                b"TRACE ",
            ),
            *(b"PATCH ", b"PRI "),
        ),
    ),
    ("an SSH client", (b"SSH-",)),  # RFC 4253, section 4.2
)


def told(start: bytes) -> str:
    """Say what the first bytes look like: ``"18 bytes that begin like an HTTP request"``.

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
