"""The way to an upgrade: a look whether the new program would do, a moment of rest, and the exec."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime.error_reports import words_of
from manyhands.supervisor.polling import Polling
from manyhands.supervisor.replacing import Done
from manyhands.supervisor.template_process import SameCommand, Starter, TemplateProcess

ANSWER_TIME = 0.3
"""Seconds from the answer to an operator to the exec, which ends the operator's connection."""

RECALL_TIMEOUT = 1.5
"""Seconds until the channels to the workers' control servers are back: one that hangs answers nothing, and it
cannot be asked afterwards."""

REST_TIMEOUT = 10.0
"""Seconds within which there must be a moment in which workers have begun all, and none is being replaced."""

MOST_PAUSE = 0.25
"""Seconds for which clients wait for such a moment while workers begin nothing."""

BETWEEN_PAUSES = 1.0
"""Seconds from one of these to the next."""

_CHANGING = "workers are being replaced just now: ask again when they serve"


class Owner(Protocol):
    """What it needs of the fleet."""

    polling: Polling
    is_stopping: bool

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is on its way between supervisor and workers."""

    @property
    def in_flight(self) -> int:
        """How many connections were dealt that workers have not begun, as of when that was asked."""

    @property
    def is_changing(self) -> bool:
        """Whether a generation, or a worker, is to come just now."""

    @property
    def has_its_controls(self) -> bool:
        """Whether the channels to all workers' control servers are here."""

    def recall_controls(self, *, value: bool) -> None:
        """Have these back, or no more."""

    def take_none(self, *, value: bool) -> None:
        """Deal nothing, or deal again."""

    def answer(
        self, template: TemplateProcess, said: Mapping[str, Any], descriptors: Sequence[int]
    ) -> None:
        """Have a template answered that asks about an address of the program's."""

    def note_ready(self, template: TemplateProcess) -> str:
        """Note that a template can be asked for workers; return why it must not, if so."""


class Upgrading:
    """Has another program take this process over, with all that it has. For the thread of the accept loop.

    Parameters
    ----------
    owner
        The fleet.
    exec_new
        Becomes the new program; what it raises says why it could not.
    give_up
        Gives back what is had for the new program, which does not come.
    start_timeout
        Returns the seconds that the new program gets to show that it would do.
    """

    def __init__(
        self,
        owner: Owner,
        exec_new: Callable[[], object],
        give_up: Callable[[], object],
        start_timeout: Callable[[], float],
    ) -> None:
        self._owner = owner
        self._exec_new, self._give_up = exec_new, give_up
        self._start_timeout = start_timeout
        self.starter: Starter = SameCommand(only_to_look=True)
        self._done: Done | None = None
        self._look_process: TemplateProcess | None = None
        self._due: float | None = None
        """When the look has lasted for too long; afterwards when the exec is due."""

        self._is_fit = False
        self._recall_until = 0.0
        self._rest_until = 0.0
        self._pause_until: float | None = None
        """While nothing is dealt: until when, unless workers begin something."""

        self._in_flight = 0

    def begin(self, done: Done) -> None:
        """Begin an upgrade; tell `done` whether it comes to that."""
        if self._done is not None:
            done("an upgrade is under way already")
        elif self._owner.is_stopping:
            done("the server is stopping")
        elif self._owner.is_changing:
            done(_CHANGING)
        else:
            self._done = done
            self._is_fit = False
            self._begin_look()

    def _begin_look(self) -> None:
        try:
            look = self._look_process = TemplateProcess(self.starter)
        except OSError as error:
            self._fail(f"no process can be started: {error.strerror or error}")
            return
        self._due = time.monotonic() + self._start_timeout()
        self._owner.polling.watch(look.fileno(), lambda _: self._hear(look))
        self._owner.polling.watch(look.pidfd, lambda _: self._end_look(look))

    @property
    def pid(self) -> int:
        """The process that looks whether an upgrade would do; 0 where there is none."""
        return 0 if self._look_process is None else self._look_process.pid

    def _hear(self, look: TemplateProcess) -> None:
        for said, descriptors in look.hear():
            if said["kind"] in {"bind", "holds"}:
                self._owner.answer(look, said, descriptors)
        if look.has_hung_up():
            self._owner.polling.forget(look.fileno())

    def _end_look(self, look: TemplateProcess) -> None:
        self._owner.polling.forget(look.pidfd)
        self._hear(look)
        self._owner.polling.forget(look.fileno())
        status = look.wait()
        is_ready, failure = look.is_ready and not status, look.failure
        if is_ready:
            failure = self._owner.note_ready(look)
            is_ready = not failure
        look.close()
        self._look_process = None
        if not is_ready:
            self._fail(failure or f"the program ended before it served, with the status {status}")
            return
        self._is_fit = True
        now = time.monotonic()
        self._due, self._rest_until = now, now + REST_TIMEOUT
        self._recall_until = now + RECALL_TIMEOUT
        self._owner.recall_controls(value=True)

    def _fail(self, sentence: str) -> None:
        done, self._done, self._due = self._done, None, None
        self._is_fit = False
        self._give_up()
        self._deal_again()
        self._owner.recall_controls(value=False)
        if event_hub.has_subscribers:
            event_hub.emit(events.NotUpgraded(sentence))
        if done is not None:
            done(sentence)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until it is to look; None for never."""
        return None if self._due is None else max(0.0, self._due - now)

    def _hindrance(self, now: float) -> str | None:
        """Return what is in the way of the exec, and have it looked at again; None: it may be."""
        self._due = now + 0.005  # milliseconds, as a rule
        if now < self._recall_until and not self._owner.has_its_controls:
            return "what operators have asked workers is on its way"
        if self._owner.is_changing:
            self._deal_again()
            self._due = now + 0.05
            return _CHANGING
        if self._pause_until is None:
            # From now on clients wait in the backlog.
            self._pause_until, self._in_flight = now + MOST_PAUSE, self._owner.in_flight
            self._owner.take_none(value=True)
        if self._owner.is_at_rest:
            return None
        if self._in_flight != self._owner.in_flight:
            self._pause_until, self._in_flight = now + MOST_PAUSE, self._owner.in_flight
        elif now >= self._pause_until:
            # A worker is stopped, or busy, and the others are there for who calls.
            self._deal_again()
            self._due = now + BETWEEN_PAUSES
        return "a worker does not begin what was dealt to it"

    def _deal_again(self) -> None:
        if self._pause_until is not None:
            self._pause_until = None
            self._owner.take_none(value=False)

    def _answer(self, now: float) -> None:
        """Tell who has asked, and wait until that has come out: the exec ends the connection."""
        self._deal_again()
        self._due, self._rest_until = now + ANSWER_TIME, now + REST_TIMEOUT
        done, self._done = self._done, _ignore
        if done is not None:
            done(None)

    def look(self, now: float) -> None:
        """Go on, if it is time to."""
        if self._due is None or now < self._due:
            return
        if self._look_process is not None:
            self.end_look("the program did not come to serve within start_timeout")
        elif self._is_fit:
            self._go_on(now)

    def end_look(self, sentence: str) -> None:
        """End the process that looks, if there is one, for a reason: it ends soon, and then there is none."""
        look = self._look_process
        if look is not None:
            look.failure = look.failure or sentence
            look.about = {}
            look.kill()
            self._due = None  # its end is told of

    def _go_on(self, now: float) -> None:
        if self._owner.is_stopping:
            self._fail("the server is stopping")
            return
        hindrance = self._hindrance(now)
        if hindrance is not None:
            if now > self._rest_until:
                self._fail(hindrance)
            return
        if self._done is not _ignore:
            self._answer(now)
            return
        try:
            self._exec_new()
        except Exception as error:  # noqa: BLE001 - whatever it is, the old program goes on
            self._fail(f"the new program cannot be started: {words_of(error)}")


def _ignore(_sentence: str | None) -> None:
    """Be told nothing: it has been answered."""
