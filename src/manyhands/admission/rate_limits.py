"""Limits on rates: a bucket of tokens fills with time, and each connection takes one out of it.

A bucket is a single number here, the time at which it will be full again. A token taken puts that off by
the time that one token needs to come back; a bucket whose time has passed is full, and so is a new one.
(In telephony this is the generic cell rate algorithm, ITU-T I.371.)

Each address has a bucket of its own, in a table that does not grow however many addresses call.
"""

import heapq
import math

MOST_ADDRESSES = 65_536
"""Addresses that are remembered at once: some 12 MB when there are so many.

With the default burst a bucket is full again, and its address may be forgotten, after a second, or as soon
as one token is back. So this many would have to call in that time before one is forgotten early.
"""

_SLOTS = 64
"""Steps between a full bucket and an empty one, for choosing which address to forget."""

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
        least one token: a client that keeps to the rate may come all at once within a second, as the
        connections of a browser do, and in no second does it get more than twice the rate.

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

    def wait_for_token(self, full_at: float, now: float) -> float:
        """Return the seconds until a bucket that is full again at `full_at` has a token; 0: it has one."""
        return max(0.0, full_at - now - self._longest_wait)

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

    def take(self, now: float) -> bool:
        """Take a token; False when there is none, and then nothing changes."""
        if not self._pace.has_token(self._full_at, now):
            return False
        self._full_at = self._pace.after_one(self._full_at, now)
        return True

    def take_several(self, at_most: int, now: float) -> int:
        """Take as many tokens as there are, up to `at_most`; return how many."""
        taken = 0
        while taken < at_most and self.take(now):
            taken += 1
        return taken

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token; 0: there is one."""
        return self._pace.wait_for_token(self._full_at, now)

    def change(self, pace: Pace, now: float) -> None:
        """Go at another pace from now on; tokens that were taken stay taken."""
        self._full_at = pace.carry_over(self._full_at, now, self._pace)
        self._pace = pace


class AddressRates:
    """The buckets of all addresses that have taken a token and whose bucket is not full again.

    A full bucket is the same as none, so those that have filled up are forgotten, two for each token
    taken. When the table is full all the same, the bucket that lacks the least makes room. So a scan from
    millions of addresses, one connection each, pushes out its own: they lack one token. An abuser whose
    bucket is empty is the last to be forgotten. For a fresh bucket he would have to call from more addresses
    than the table holds, and empty all their buckets: they give him far more than the one does. (Against
    that there is the limit on the rate of the whole server.) No address loses by being forgotten: its bucket
    is full.

    Each call takes the same time, whatever the number of addresses. Not thread-safe.

    Parameters
    ----------
    pace : Pace
        How fast each bucket fills, and what it holds.
    most : int
        Addresses in the table at the most.
    """

    def __init__(self, pace: Pace, most: int = MOST_ADDRESSES) -> None:
        self._most = most
        self._start(pace)

    def _start(self, pace: Pace) -> None:
        self._pace = pace
        self._full_at: dict[int, float] = {}
        # The addresses again, by the slot of time in which their buckets will be full; a heap of the slots.
        self._slot_width = pace.burst * pace.interval / _SLOTS
        self._slots: dict[float, dict[int, None]] = {}
        self._slots_in_order: list[float] = []

    def __len__(self) -> int:
        return len(self._full_at)

    def has_token(self, key: int, now: float) -> bool:
        """Tell whether an address could take a token at `now`, in seconds."""
        full_at = self._full_at.get(key)
        return full_at is None or self._pace.has_token(full_at, now)

    def take(self, key: int, now: float) -> bool:
        """Take a token of an address; False when it has none, and then nothing changes."""
        full_at = self._full_at.get(key, -math.inf)
        if not self._pace.has_token(full_at, now):
            return False
        # Taken out of the old slot first, so that making room cannot forget the address itself.
        self._remove(key)
        self._forget_some_full(now)
        if len(self._full_at) >= self._most:
            self._forget_fullest()
        self._put(key, self._pace.after_one(full_at, now))
        return True

    def change(self, pace: Pace, now: float) -> None:
        """Go at another pace from now on; tokens that were taken stay taken.

        The whole table is written anew, which can take some 0.1 s.
        """
        before, buckets = self._pace, self._full_at
        if (pace.rate, pace.burst) == (before.rate, before.burst):
            return
        self._start(pace)
        for key, full_at in buckets.items():
            if full_at > now:
                self._put(key, pace.carry_over(full_at, now, before))

    def _put(self, key: int, full_at: float) -> None:
        self._full_at[key] = full_at
        # Slots, since a heap of the addresses themselves would have to be searched whenever one moves.
        number = full_at // self._slot_width
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heapq.heappush(self._slots_in_order, number)
        slot[key] = None

    def _remove(self, key: int) -> None:
        full_at = self._full_at.pop(key, None)
        if full_at is not None:
            del self._slots[full_at // self._slot_width][key]

    def _forget_some_full(self, now: float) -> None:
        # Two for each that comes: the table gets smaller, and no call has to clear it all.
        for _ in range(2):
            if self._first_slot() >= now // self._slot_width:
                break
            self._forget_fullest()

    def _forget_fullest(self) -> None:
        # The last one of a dict is found at once; the first only behind the gaps that others left.
        key, _ = self._slots[self._first_slot()].popitem()
        del self._full_at[key]

    def _first_slot(self) -> float:
        """Return the number of the first slot that has an address; infinity when none has."""
        # Empty slots are dropped here, at the front: a heap cannot drop one from its middle.
        while self._slots_in_order and not self._slots[self._slots_in_order[0]]:
            del self._slots[heapq.heappop(self._slots_in_order)]
        return self._slots_in_order[0] if self._slots_in_order else math.inf
