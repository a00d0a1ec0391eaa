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
