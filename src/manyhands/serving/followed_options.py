"""The options of a server that hold at once when a program changes them: limits, timeouts, outboxes.

A program's attributes tell nothing of their changes, so they are looked at again and again. The options of
`manyhands.Server` tell of them, and are looked at as soon as they do.
"""

from operator import is_
from typing import TYPE_CHECKING

from manyhands.config.options import setting
from manyhands.connections.timeouts import ConnectionTimeouts, private_store, shared_store
from manyhands.model.timeouts import NAMES as TIMEOUTS
from manyhands.model.timeouts import NONE, Deadlines
from manyhands.serving.admission_control import AdmissionControl
from manyhands.serving.admission_terms import LIMIT_OPTIONS
from manyhands.serving.engine_choice import EngineChoice
from manyhands.serving.reaper import Reaper
from manyhands.serving.request_hooks import Listener

if TYPE_CHECKING:
    from manyhands.dealing.shared_terms import SharedTerms

OPTIONS_INTERVAL = 0.5
"""Seconds within which a change of a server's limits and timeouts holds, and on processes of its outboxes."""

_FOLLOWED = frozenset({*LIMIT_OPTIONS, *TIMEOUTS, "outbox", "when_behind"})
"""The options that are looked at."""


class FollowedOptions:
    """What the options of a server say now, for its admission control and its reaper. Thread-safe."""

    def __init__(self, admission: AdmissionControl, reaper: Reaper) -> None:
        self._admission = admission
        self._reaper = reaper
        self._source: object = None
        self.shared_terms: SharedTerms | None = None
        """Where the processes of handlers see what the options say of outboxes."""

        self.look_at = 0.0
        """The moment, of `time.monotonic`, of the next look; 0: at once."""

        self._timeouts = NONE
        self._timeout_attributes: list[object] = [object()] * len(TIMEOUTS)  # none of a program's

    def take_from(self, source: object) -> None:
        """Take the options from an object that tells of their changes, by `changed`."""
        self._source = source

    def changed(self) -> None:
        """Have the next look see a change at once. Thread-safe."""
        self.look_at = 0.0

    def may_have_changed(self, server: object) -> None:
        """Have the next look see a change of the options that a server has as attributes of its own, if any.

        Those of its class are looked at as ever: hardly a program changes these while it serves.
        """
        if not _FOLLOWED.isdisjoint(vars(server)):
            self.changed()

    def follow(self, server: Listener, now: float, engines: EngineChoice) -> None:
        """Go by what the server's limits and timeouts say now; looked at every `OPTIONS_INTERVAL` seconds."""
        if now < self.look_at:
            return
        # Again and again: a program's attributes tell nothing of their changes, and neither does a list.
        self.look_at = now + OPTIONS_INTERVAL
        self.follow_limits(server)
        if self.shared_terms is not None:
            self._share_terms(server, self.shared_terms)
        timeouts = self.timeouts(server)
        if timeouts is not NONE or self._reaper.is_on:
            engine = engines.of(server)
            self._reaper.switch(timeouts, engine.name)
            if engine.name == "processes" and engine.on_orphan is None:
                engine.on_orphan = self._reaper.keep_deadlines

    def seconds_to_look(self) -> float | None:
        """Return how long the accept loop may sleep for the sake of those that cannot look by themselves."""
        terms = self.shared_terms
        return OPTIONS_INTERVAL if terms is not None and terms.are_wanted else None

    def follow_limits(self, server: Listener) -> None:
        """Go by what the server's limits say now."""
        source = self._source
        try:
            self._admission.follow(server if source is None else source)
        except Exception:  # noqa: BLE001 - of a property of the program's; what holds meanwhile, `follow` says
            server.handle_error(None, None)

    def timeouts(self, server: object) -> Deadlines:
        """Return the timeouts that the server's options say now; the same object while nothing changes.

        It is `NONE` itself where there are none.
        """
        source = server if self._source is None else self._source
        # By identity: to compare a program's own attributes could do anything.
        attributes = [getattr(source, name, None) for name in TIMEOUTS]
        if not all(map(is_, attributes, self._timeout_attributes)):
            said = Deadlines(*[setting(name, source) for name in TIMEOUTS])
            if said != self._timeouts:
                self._timeouts = NONE if said == NONE else said
            self._timeout_attributes = attributes
        return self._timeouts

    def outbox_terms(self, server: object) -> tuple[int, str]:
        """Return the bytes that may wait in an outbox now, and what becomes of a client that falls behind."""
        # With processes it is what the accept loop has read last: the thread that deals calls nothing of the
        # program's, and a handler has only a copy of the server.
        noted = None if self.shared_terms is None else self.shared_terms.noted()
        return self._read_terms(server) if noted is None else noted

    def _read_terms(self, server: object) -> tuple[int, str]:
        source = server if self._source is None else self._source
        return setting("outbox", source), setting("when_behind", source)

    def _share_terms(self, server: Listener, terms: "SharedTerms") -> None:
        try:
            terms.note(*self._read_terms(server))
        except Exception:  # noqa: BLE001 - of a property of the program's; what was noted last holds meanwhile
            server.handle_error(None, None)

    def timeouts_on(self, server: object, engine: str) -> ConnectionTimeouts:
        """Return what a connection's handler may set its own timeouts in."""
        is_shared = engine == "processes"
        reaper = self._reaper
        return ConnectionTimeouts(
            lambda: self.timeouts(server),
            lambda: reaper.wake_loop() if is_shared else reaper.hurry(engine),
            shared_store() if is_shared else private_store(),
        )
