"""What is told of certificates that are about to expire: days before, and once each time."""

import math
import time
from collections.abc import Callable, Mapping

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.protocol.certificate_validity import Validity

DAY = 86_400.0
"""Seconds."""

DAYS_BEFORE = (30, 14, 7, 3, 1, 0)
"""When it is told: days before the end. The first ones suit certificates that people renew."""

SHARE_OF_LIFE = 3
"""The part of its life in which it is told: some certificates are valid for days, and renew themselves."""


class ExpiryNotices:
    """Tells as events of the certificates of a server that expire. For the one thread that accepts.

    Parameters
    ----------
    wall_clock : callable
        Returns the seconds since 1970.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._told: dict[tuple[str, Validity], float] = {}

    def tell_what_is_due(self, certificates: Mapping[str, Validity]) -> None:
        """Tell of each certificate, by its file, that has come nearer to its end than was told."""
        if not event_hub.has_subscribers:
            return
        now = self._wall_clock()
        for file, validity in certificates.items():
            left = validity.not_after - now
            days = _notice(validity, left)
            if days < self._told.get((file, validity), math.inf):
                self._told[file, validity] = days
                event_hub.emit(events.CertificateExpires(file, validity.not_after, left / DAY))
        # Those that were replaced are forgotten.
        self._told = {key: days for key, days in self._told.items() if key in certificates.items()}


def _notice(validity: Validity, left: float) -> float:
    """Return the nearest mark that has been passed, in days before the end; infinite where none has."""
    longest = (validity.not_after - validity.not_before) / DAY / SHARE_OF_LIFE
    # The last third is a mark itself: one that is valid for a day or two would be told of when it is over.
    marks = (min(longest, DAYS_BEFORE[0]), *DAYS_BEFORE)
    return min((days for days in marks if left <= days * DAY and days <= longest), default=math.inf)
