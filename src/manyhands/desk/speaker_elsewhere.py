"""The connections of calls that workers serve, as the desk speaks on them."""

import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

from manyhands.desk.call_io import Ending
from manyhands.desk.link_frames import Kind, body_of, body_of_text
from manyhands.desk.switchboard import Speaker

MOST_KEPT = 1000
"""What a call may be told while it is on its way from one worker to another, for milliseconds mostly. With
more it ends, as one does whose caller does not read."""


class Link(Protocol):
    """What leads to a worker."""

    sending: threading.Lock
    """Held while its calls are told something, and while one of them is parked or goes on elsewhere."""

    def send(self, kind: Kind, number: int, body: bytes = b"") -> bool:
        """Send a frame without waiting; return False where the worker has gone, or does not read."""


class SpeakerElsewhere:
    """The connection of a call that a worker serves: a `switchboard.Speaker`.

    Parameters
    ----------
    link : Link
        What leads to its worker.
    number : int
        The connection's.
    encoding : str
        What its lines are written in, and read, to begin with.
    """

    __slots__ = ("_encoding", "_kept", "is_over", "link", "number")

    def __init__(self, link: Link, number: int, encoding: str) -> None:
        self.link = link
        self.number = number
        self._encoding = encoding
        self._kept: list[tuple[Kind, bytes]] | None = None
        """What the call is to be told once it goes on in another worker; None while it is in one."""

        self.is_over = False

    @property
    def encoding(self) -> str:
        """What lines are written in, and read."""
        return self._encoding

    @encoding.setter
    def encoding(self, name: str) -> None:
        self._encoding = name
        self._send(Kind.ENCODING, body_of_text(name))

    def say(self, text: str) -> bool:
        """Say something without waiting; return False when the call is over."""
        return not self.is_over and self._send(Kind.SAY, body_of_text(text))

    def hang_up(self, ending: Ending) -> None:
        """End the call from the desk's side."""
        if not self.is_over:
            self.is_over = True
            self._send(Kind.HANG_UP, body_of_text(ending))

    def _send(self, kind: Kind, body: bytes) -> bool:
        while True:
            link = self.link
            with link.sending:
                if self.link is link:
                    return self._send_or_keep(kind, body)

    def _send_or_keep(self, kind: Kind, body: bytes) -> bool:
        if self._kept is None:
            return self.link.send(kind, self.number, body)
        # The end of a call always has room: it is the last thing.
        if len(self._kept) < MOST_KEPT or kind is Kind.HANG_UP:
            self._kept.append((kind, body))
            return True
        if not self.is_over:
            # No gap in what the caller hears: after what was kept comes nothing any more.
            self.is_over = True
            self._kept.append((Kind.HANG_UP, body_of_text(Ending.DID_NOT_READ)))
        return False

    @property
    def is_parked(self) -> bool:
        """Whether the call is on its way to another worker. Under its link's lock."""
        return self._kept is not None

    def park(self) -> None:
        """Keep what the call is to be told, from now on. What was said before is on its way to it."""
        with self.link.sending:
            self._kept = []

    def go_on(self, link: Link) -> None:
        """Have the call told that, and what follows, by its new worker."""
        # Under the lock of the old one, which those who have something to say still take.
        with self.link.sending:
            kept, self._kept = self._kept or (), None
            for kind, body in kept:
                link.send(kind, self.number, body)
            self.link = link


def say_to_all(speakers: Iterable[Speaker], text: str) -> None:
    """Say something to several callers: once to each worker, however many of them it serves."""
    by_link: defaultdict[Link, list[SpeakerElsewhere]] = defaultdict(list)
    for speaker in speakers:
        if isinstance(speaker, SpeakerElsewhere):
            by_link[speaker.link].append(speaker)
        else:
            speaker.say(text)
    for link, of_link in by_link.items():
        with link.sending:
            here = [each for each in of_link if each.link is link and not each.is_parked]
            numbers = [each.number for each in here if not each.is_over]
            link.send(Kind.SAY_ALL, 0, body_of((numbers, text)))
        for each in set(of_link).difference(here):
            each.say(text)  # it is on its way to another worker
