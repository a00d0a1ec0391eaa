"""What is wrong with a PROXY header: one exception, whatever it is."""


class BadProxyHeader(ValueError):  # noqa: N818 - what it is, as people say it
    """A connection does not begin with a PROXY header as the specification has it.

    The text is one sentence. What it quotes of the peer's is short, and escaped: it is fit for a log.

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


QUOTED = 40
"""Bytes of the peer's that are quoted at most: an IPv6 address has 39."""


def quoted(data: bytes) -> str:
    """Quote what the peer sent, escaped, and no more of it than a sentence can hold."""
    return repr(data) if len(data) <= QUOTED else f"{data[:QUOTED]!r}..."
