"""The desk's end of the links to its workers: each has a thread, in which the calls of its worker are taken.

A thread reads what has come of many calls at once, and has it kept with one commit. It waits for no screen
and for no worker: an answer goes out when the screen has caught up with its call, and what waits for a worker
that reads nothing is bounded.
"""

import _socket
import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from manyhands.connections.outbox_writer import outbox_writer
from manyhands.dealing.channel import Channel, Lane, Terms
from manyhands.dealing.frames import Frame, FrameReader, pack
from manyhands.desk.call_io import Ending
from manyhands.desk.encodings import UTF_8
from manyhands.desk.link_frames import (
    CHUNK,
    KINDS,
    Kind,
    body_of,
    messages_of,
    text_of,
    value,
)
from manyhands.desk.parked_calls import ParkedCalls
from manyhands.desk.reception import Reception
from manyhands.desk.screens import Screen, notice
from manyhands.desk.speaker_elsewhere import SpeakerElsewhere
from manyhands.desk.steps import Step, StepRunner
from manyhands.desk.switchboard import Call, Switchboard
from manyhands.hub.command import hub_listener
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import peer_user
from manyhands.runtime.unpatched import brief_lock, start_native_thread

_SAID = Terms(1_000_000, 64 * 1024 * 1024, "close")
"""What may wait for a worker: one that has so much waiting is stopped, or hangs, and its calls are lost."""

_FOR_LATE_ONES = 1.0
"""Seconds between two looks for calls that have come to no other worker."""

_PAUSE = 0.1
"""Seconds until the next worker is let in where no descriptor or no thread can be had."""

_ENDS_WITHIN = 3.0
"""Seconds that the threads of links get to keep the ends of their calls."""

_LOOK_INTERVAL = 0.01
"""Seconds between two looks whether all calls have ended: only while the desk closes."""


class Elsewhere(NamedTuple):
    """What a link needs of the desk."""

    reception: Reception
    runner: StepRunner
    screen: Screen
    switchboard: Switchboard
    encoding: str
    parked: ParkedCalls


class WorkerLink:
    """What leads to one worker. `send` is for any thread.

    Parameters
    ----------
    connection
        The connection, which this closes at its end.
    desk : Elsewhere
    """

    def __init__(self, connection: _socket.socket, desk: Elsewhere) -> None:
        self._connection = connection
        self._desk = desk
        self._channel = Channel(outbox_writer)
        self._said = Lane(lambda: _SAID)
        self.sending = brief_lock()
        self._calls: dict[int, Call] = {}
        self._worker = 0
        self.has_ended = Latch()
        self.knows_of_end = False
        """Whether the worker knows that the desk is closing, or has gone."""

        self._ends_well = False
        """Whether the worker has said that it ends."""

        self._questions: dict[int, Callable[[Call, Any], Step[Any]]] = {
            Kind.HEAR: lambda call, said: desk.reception.hear(call, messages_of(said)),
            Kind.FAST: lambda call, _: desk.reception.speaks_too_fast(call),
            Kind.LISTENS: lambda call, _: desk.reception.only_listens(call),
            Kind.TOO_LONG: desk.reception.spoke_too_long,
            Kind.PARK: self._park,
        }

    def send(self, kind: Kind, number: int, body: bytes = b"") -> bool:
        """Send a frame without waiting; return False where the worker has gone, or does not read."""
        is_sent = self._channel.put(pack(kind, number, body), self._said)
        if not is_sent and not self._channel.is_over:
            self.close("a worker does not read what the desk has to say")
        return is_sent

    def close(self, why: str = "") -> None:
        """End the link, and with it the calls of its worker. Once more does no harm."""
        self._channel.end(why)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    # In its own thread

    def run(self) -> None:
        """Take what the worker brings, until it has gone."""
        frames = FrameReader(KINDS)
        self._channel.attach(self._connection)
        try:
            with contextlib.suppress(OSError):
                while data := self._connection.recv(CHUNK):
                    self._take(frames.feed(data))
        except Exception as error:  # noqa: BLE001 - what makes no sense: of one worker, and the others go on
            print_uncaught(error)
        try:
            self._end()
        finally:
            self.knows_of_end = True
            self.has_ended.set()

    def _take(self, frames: Sequence[Frame]) -> None:
        """Do what frames say: of each call one thing at a time, and of all calls together."""
        due: dict[int, tuple[Frame, Step[Any]]] = {}
        for frame in frames:
            if frame.number in due:
                self._do(due)
                due = {}
            if frame.kind == Kind.HELLO:
                self._worker = int(value(frame.body))
            elif frame.kind == Kind.KNOWS:
                self.knows_of_end = True
            elif frame.kind == Kind.ENDS:
                self._ends_well = True
                self.close()
            elif frame.kind == Kind.TELL:
                self._tell(value(frame.body))
            elif frame.kind == Kind.FORGET:
                self._forget(frame.number)
            else:
                due[frame.number] = frame, self._step(frame)
        self._do(due)

    def _step(self, frame: Frame) -> Step[Any]:
        reception = self._desk.reception
        if frame.kind == Kind.TAKE:
            speaker = SpeakerElsewhere(self, frame.number, self._desk.encoding)
            return reception.take(speaker, str(value(frame.body)))
        if frame.kind == Kind.GO_ON:
            return self._go_on(frame.number)
        call = self._calls[frame.number]
        if frame.kind == Kind.LEAVES:
            return reception.leave(call, Ending(text_of(frame.body)))
        said = value(frame.body) if frame.body else None
        return self._questions[frame.kind](call, said)

    @staticmethod
    def _park(call: Call, _: Any) -> Step[bool]:
        """Keep what the desk has to say: what was said before is on its way to the worker."""
        yield from ()  # as of all steps: this one keeps and shows nothing
        if isinstance(call.connection, SpeakerElsewhere):
            call.connection.park()
        return True

    def _go_on(self, number: int) -> Step[bool]:
        """Have a call that another worker has parked be one of this worker's."""
        yield from ()  # as above
        call = self._desk.parked.take(number)
        if call is None:
            return False
        self._calls[number] = call
        if isinstance(call.connection, SpeakerElsewhere):
            call.connection.go_on(self)
        return True

    def _do(self, due: dict[int, tuple[Frame, Step[Any]]]) -> None:
        results = self._desk.runner.run_together([step for _, step in due.values()])
        for (frame, _), result in zip(due.values(), results, strict=True):
            self._answer(frame, result)

    def _answer(self, frame: Frame, result: Any) -> None:
        number = frame.number
        if isinstance(result, Exception):
            print_uncaught(result)
            self._forget(number)
            self.send(Kind.FAILED, number)
            return
        if frame.kind == Kind.TAKE:
            self._calls[number] = result
            result = result.came_too_late
        if frame.kind == Kind.GO_ON and not result:
            self.send(Kind.DONE, number, body_of(result))
            return
        has_left = frame.kind in {Kind.LEAVES, Kind.PARK}
        call = self._calls.pop(number) if has_left else self._calls[number]
        if frame.kind == Kind.PARK:
            # Before it is told: the other worker may be sooner than this thread.
            self._desk.parked.put(number, call, self)
        done = partial(self.send, Kind.DONE, number, body_of(result))
        self._desk.screen.when_caught_up(call.number, done)

    def _forget(self, number: int) -> None:
        call = self._calls.pop(number, None)
        if call is not None:
            self._desk.reception.forget(call)

    def _tell(self, sentences: Sequence[str]) -> None:
        worker = f"worker {self._worker}: "
        self._desk.screen.tell([notice(f"{worker}{each}") for each in sentences])

    def _end(self) -> None:
        """End the calls of the worker, which has gone."""
        self.close()
        is_closed = self._desk.switchboard.is_closed
        ending = Ending.DESK_CLOSED if is_closed else Ending.WORKER_DIED
        calls, self._calls = list(self._calls.values()), {}
        steps = [self._desk.reception.leave(call, ending) for call in calls]
        self._desk.runner.run_together(steps)
        if not self._ends_well:
            # What has left this worker comes to another one soon, or has gone with it. A worker that ends in
            # good order has sent all of it.
            self._desk.parked.hurry(self, ending)
        self._connection.close()


class WorkerLinks:
    """Lets the workers of a desk in, from `open` to `close`. For one thread.

    Parameters
    ----------
    reception, runner, screen, switchboard
        Of the desk.
    encoding : str
        What callers' lines are in, to begin with.
    """

    def __init__(
        self,
        reception: Reception,
        runner: StepRunner,
        screen: Screen,
        switchboard: Switchboard,
        encoding: str = UTF_8,
    ) -> None:
        self._desk = Elsewhere(reception, runner, screen, switchboard, encoding, ParkedCalls())
        self._listener = hub_listener()
        self._listener.settimeout(_FOR_LATE_ONES)
        self._links: set[WorkerLink] = set()
        self._is_closed = False

    @property
    def address(self) -> bytes:
        """Where workers reach the desk: an abstract name."""
        name: bytes = self._listener.getsockname()
        return name

    def open(self) -> None:
        """Let workers in from now on.

        Raises
        ------
        RuntimeError
            When the system has no thread left.
        """
        start_native_thread(self._let_in, name="manyhands-desk-links")

    def _let_in(self) -> None:
        while not self._is_closed:
            try:
                accepted, _ = self._listener.accept()
                # The system's own: its class costs nothing.
                connection = _socket.socket(fileno=accepted.detach())
            except TimeoutError:
                self._lose(self._desk.parked.take_late_ones())
                continue
            except OSError:
                if not self._is_closed:
                    time.sleep(_PAUSE)  # no descriptor can be had
                continue
            if peer_user(connection) != os.geteuid():
                connection.close()
                continue
            link = WorkerLink(connection, self._desk)
            self._links.add(link)
            try:
                start_native_thread(self._run, link, name="manyhands-desk-link")
            except RuntimeError as error:
                print_uncaught(error)
                self._links.discard(link)
                connection.close()

    def _lose(self, calls: Sequence[tuple[Call, Ending]]) -> None:
        """End calls that have left their workers, and have come to no others."""
        self._desk.runner.run_together([self._desk.reception.leave(*each) for each in calls])

    def _run(self, link: WorkerLink) -> None:
        try:
            link.run()
        finally:
            self._links.discard(link)

    def end_calls(self, seconds: float) -> bool:
        """Wait until all callers have left, who have been said goodbye to, and until each worker knows of it.

        Else a worker that drains would say by itself why it ends a call. Return whether that came in time.
        """
        deadline = time.monotonic() + seconds
        told: set[WorkerLink] = set()
        while True:
            # A worker may come just now.
            links = self._links.copy()
            for link in links - told:
                link.send(Kind.CLOSING, 0)
            told |= links
            if not self._desk.switchboard.calls and all(each.knows_of_end for each in links):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_INTERVAL)

    def close(self) -> None:
        """Let nobody in any more, and end all links. Once more does no harm."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        deadline = time.monotonic() + _ENDS_WITHIN
        links = self._links.copy()
        for link in links:
            link.close()
        for link in links:
            link.has_ended.wait(max(0.0, deadline - time.monotonic()))
        self._lose([(call, Ending.DESK_CLOSED) for call in self._desk.parked.take_all()])
