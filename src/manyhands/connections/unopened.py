"""What a connection is until its worker has opened it."""


class Unopened:
    """A connection that its handler may not have yet: mixed into its class until it may."""

    __slots__ = ()
