"""A limit on a rate: a bucket of tokens that fills with time, and out of which each connection takes one.

A bucket is a single number here, the time at which it will be full again. A token taken puts that off by
the time that one token needs to come back; a bucket whose time has passed is full, and so is one that
nobody has ever taken from. (In telephony this is the generic cell rate algorithm, ITU-T I.371.)
"""

import math

_ROUNDING = 0.001
"""Tokens: what sums of floating-point times may lack of a whole token. No count is changed by it."""


class Pace:
    """How fast buckets fill, and how many tokens they hold. Immutable.

    Parameters
    ----------
    rate : float
        Tokens per second.
    burst : float, optional
        Tokens in a full bucket: how many may be taken at once. By default what comes in one second, but at
        least one token: who keeps to the rate may come all at once within a second, as the connections of a
        browser do, and in no second does anybody get more than twice the rate.

    Raises
    ------
    ValueError
        The rate is not above 0, or the burst is below 1: no token could ever be taken.
    """

    __slots__ = ("_longest_wait", "burst", "interval", "rate")

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self.rate = rate
        self.burst = max(1.0, rate) if burst is None else burst
        if not rate > 0 or not self.burst >= 1:
            raise ValueError(f"no token could be taken at a rate of {rate}, {burst} at once")
        self.interval = 1 / rate
        """Seconds in which one token comes back."""

        self._longest_wait = (self.burst - 1 + _ROUNDING) * self.interval

    def has_token(self, full_at: float, now: float) -> bool:
        """Tell whether a bucket that is full again at `full_at` has a token now."""
        return full_at - now <= self._longest_wait

    def after_one(self, full_at: float, now: float) -> float:
        """Return when a bucket, full again at `full_at`, will be so with one more token taken now."""
        return max(full_at, now) + self.interval

    def carry_over(self, full_at: float, now: float, before: "Pace") -> float:
        """Return when a bucket is full again that went at another pace: it lacks as many tokens as before."""
        missing = max(0.0, full_at - now) / before.interval
        return now + min(missing, self.burst) * self.interval


class TokenBucket:
    """One bucket; full at first.

    Not thread-safe. Times are seconds of any clock that never goes back.

    Parameters
    ----------
    pace : Pace
        How fast it fills, and what it holds.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._full_at = -math.inf

    def has_token(self, now: float) -> bool:
        """Tell whether a token could be taken."""
        return self._pace.has_token(self._full_at, now)

    def take(self, now: float) -> bool:
        """Take a token; False when there is none, and then nothing changes."""
        if not self._pace.has_token(self._full_at, now):
            return False
        self._full_at = self._pace.after_one(self._full_at, now)
        return True

    def change(self, pace: Pace, now: float) -> None:
        """Go at another pace from now on; tokens that were taken stay taken."""
        self._full_at = pace.carry_over(self._full_at, now, self._pace)
        self._pace = pace
