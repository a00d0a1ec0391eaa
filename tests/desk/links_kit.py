"""A desk without an operator, and workers of it that only send and receive frames."""

import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from manyhands.dealing.frames import Frame, FrameReader, pack
from manyhands.desk.call_handler import Terms
from manyhands.desk.link_at_desk import WorkerLinks
from manyhands.desk.link_frames import KINDS, body_of
from manyhands.desk.reception import Reception
from manyhands.desk.screens import PlainScreen, Screen
from manyhands.desk.steps import StepRunner
from manyhands.desk.switchboard import Switchboard
from manyhands.desk.transcript import Transcript
from manyhands.desk.transcript_file import IN_MEMORY
from manyhands.desk.transcript_writer import TranscriptWriter


class Desk(NamedTuple):
    links: WorkerLinks
    switchboard: Switchboard
    shown: io.StringIO


class WorkerByHand:
    """The end of a worker that sends and receives frames, and nothing else."""

    def __init__(self, desk: Desk) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(desk.links.address)
        self._frames = FrameReader(KINDS)
        self._heard: list[Frame] = []

    def says(self, kind: int, number: int = 0, what: object = None) -> None:
        body = b"" if what is None else body_of(what)
        self.socket.sendall(pack(kind, number, body))

    def hears(self) -> Frame:
        while not self._heard:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._heard += self._frames.feed(data)
        return self._heard.pop(0)

    def hears_the_end(self) -> bool:
        try:
            while self.hears():
                pass
        except (EOFError, ConnectionResetError):
            return True
        return False


@contextmanager
def desk_for_workers() -> Iterator[Desk]:
    """A desk that shows what it has to, and has no operator."""
    keyboard, shown = os.open(os.devnull, os.O_RDONLY), io.StringIO()
    with PlainScreen(keyboard, shown) as screen, desk_on(screen, shown) as desk:
        yield desk
    os.close(keyboard)


@contextmanager
def desk_on(screen: Screen, shown: io.StringIO) -> Iterator[Desk]:
    switchboard = Switchboard()
    with Transcript(IN_MEMORY) as transcript, TranscriptWriter(transcript, screen) as writer:
        reception = Reception(switchboard, writer, screen, Terms())
        links = WorkerLinks(reception, StepRunner(writer, screen), screen, switchboard)
        links.open()
        yield Desk(links, switchboard, shown)
        links.close()
