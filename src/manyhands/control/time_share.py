"""How much of the time a thread may use. No I/O."""


class TimeShare:
    """Keeps a thread to a share of the time, by the processor time that it uses. For one thread.

    While it waits, for another process say, it uses none. One that has little to do never has to stop.

    Parameters
    ----------
    share
        The most of the time that it uses, in the long run.
    most
        Seconds that it stops at once at the most, so that the work of others with it has a bound; and that it
        is ahead for, after it had less to do.
    """

    def __init__(self, share: float, most: float) -> None:
        self._share = share
        self._most = most
        self._used = 0.0
        self._earned_by = 0.0

    def seconds_left(self, now: float) -> float:
        """Return the seconds for which the thread is to stop: 0 while its share is not used up."""
        return max(0.0, self._earned_by - now)

    def note(self, now: float, used: float) -> None:
        """Note what the thread has used: after its work, so that no pause is followed by another one.

        Parameters
        ----------
        now
            The time of a monotonic clock, in seconds.
        used
            The processor time of the thread from its beginning, in seconds.
        """
        self._earned_by += (used - self._used) / self._share
        self._used = used
        self._earned_by = min(max(self._earned_by, now - self._most), now + self._most)
