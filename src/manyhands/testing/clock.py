"""A clock that goes on when the test says so."""


class FakeClock:
    """Stands in for `time.monotonic` wherever a clock can be given.

    Parameters
    ----------
    now : float
        The time that it tells first, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass.

        Raises
        ------
        ValueError
            When they are negative: a monotonic clock does not go back.
        """
        if seconds < 0:
            raise ValueError(f"a monotonic clock does not go back, not even {-seconds:g} s")
        self._now += seconds
