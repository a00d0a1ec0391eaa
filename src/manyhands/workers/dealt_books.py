"""The books of a worker: its connections come numbered from the supervisor, which is told of their ends.

How many there may be, and how fast they may come, the supervisor has decided before it dealt them. What needs
the program is decided here: hooks, the overflow handler, and the address that a PROXY header announces, for
which the supervisor is asked.
"""

import operator
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from manyhands.admission.admission import HeldPlace
from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry
from manyhands.model.connection_states import Reason
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.serving.admission_control import AdmissionControl, OverflowPlace
from manyhands.serving.admission_terms import Handler
from manyhands.workers.dealt_socket import DealtSocket
from manyhands.workers.records import BEYOND_THE_CAP, RESUMED

if TYPE_CHECKING:
    from manyhands.workers.hand_over import WorkerHandOver


class Ends(Protocol):
    """What is told of ends, and asked about addresses."""

    def tell_end(self, number: int, reason: Reason) -> None:
        """Have the supervisor count a connection as closed."""

    def identify(self, number: int, client_address: Any) -> Reason | None:
        """Have the supervisor apply the limits for addresses; return why the connection is refused, if so."""


def _whole_part(value: int, workers: int) -> int:
    """Return the part of one worker, which is one at the least."""
    return -(-value // workers)


_PARTS: dict[str, Callable[[Any, int], float]] = {
    "max_datagrams": _whole_part,
    "max_rate": operator.truediv,
    "rate_burst": _whole_part,
}
"""The limits of a whole server that hold for datagrams, and what part of each a worker has."""


class DealtPlace:
    """The place of a connection that was dealt."""

    __slots__ = ("is_resumed", "number")

    def __init__(self, number: int, *, is_resumed: bool) -> None:
        self.number = number
        self.is_resumed = is_resumed

    def leave(self) -> None:
        """Do nothing: the registry tells of the end, with its reason."""


class DealtRegistry(Registry):
    """The registry of a worker."""

    __slots__ = ("_admission", "_ends", "hand_over")

    def __init__(self, ends: Ends) -> None:
        super().__init__()
        self._ends: Ends | None = ends
        self._admission: DealtAdmission | None = None
        self.hand_over: WorkerHandOver | None = None
        """What hands connections over to other workers, where handlers can be left."""

        renew_in_copies(self, DealtRegistry.begin_anew)

    def begin_anew(self) -> None:
        """Forget everything in a forked copy, which has nothing to tell the supervisor."""
        super().begin_anew()
        self._ends = self.hand_over = None

    def number_by(self, admission: "DealtAdmission") -> None:
        """Have the connections numbered by their places."""
        self._admission = admission

    def open(self, connection: Connection) -> None:
        """Count a connection, under the number of its place."""
        if self._admission is not None:
            number = self._admission.number_of(connection.request)
            if number is not None:
                connection.number = number
        super().open(connection)

    def close(self, connection: Connection) -> bool:
        """Count a connection as closed, and have the supervisor do so."""
        was_open = connection.number in self
        try:
            return super().close(connection)
        finally:
            # Whatever a subscriber raises that is told of the end. Told twice, it counts once.
            ends = self._ends if was_open and connection.number not in self else None
            if ends is not None and not self._goes_on_elsewhere(connection.number):
                ends.tell_end(connection.number, connection.reason or Reason.HANDLER_FAILED)

    def resume(self, number: int, kept: int) -> None:
        """Have a connection go on with what another worker has kept of it, whose descriptor is taken over."""
        if self.hand_over is None:
            os.close(kept)  # its handler begins anew
        else:
            self.hand_over.note_kept(number, kept)

    def _goes_on_elsewhere(self, number: int) -> bool:
        if self.hand_over is None:
            return False
        self.hand_over.take_kept(number)  # of one that has come to no handler
        return self.hand_over.has_taken(number)


class DealtAdmission(AdmissionControl):
    """The admission control of a worker.

    Parameters
    ----------
    registry
        The worker's registry.
    ends
        What leads to the supervisor.
    workers
        How many share the limits for datagrams, which no supervisor sees.
    """

    def __init__(self, registry: DealtRegistry, ends: Ends, workers: int = 1) -> None:
        self._workers = workers
        super().__init__(registry)
        self._ends = ends
        self._books = registry
        self._beyond: dict[int, int] = {}
        """The places of those beyond the cap, by `id` of their sockets, until they have a handler."""

        registry.number_by(self)

    def own_part_of(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return of the limits what each worker applies: only datagrams are counted by them here.

        Of an address all come to one worker, as long as they have one port.
        """
        return {
            name: value
            if value is None or name not in _PARTS
            else _PARTS[name](value, self._workers)
            for name, value in settings.items()
        }

    def has_room(self, wake: Any = None) -> bool:  # noqa: ARG002 - as of any admission control
        """Tell that there is room: the supervisor has looked."""
        return True

    @property
    def is_guarded(self) -> bool:
        """Whether each connection is looked at: it has a place."""
        return True

    @is_guarded.setter
    def is_guarded(self, value: bool) -> None:
        pass

    def arrive(self, server: Any, request: Any, client_address: Any) -> Reason | None:
        """Give a connection the place that it was dealt with."""
        if type(request) is tuple:
            return super().arrive(server, request, client_address)
        listening = server.socket
        if not isinstance(listening, DealtSocket) or not listening.accepted:
            return super().arrive(server, request, client_address)
        number, marks, kept = listening.accepted.pop()
        while listening.accepted:
            # A `get_request` of the program's has accepted more than it has returned.
            missed = listening.accepted.popleft()
            missed.close()
            self._ends.tell_end(missed.place, Reason.REFUSED_BY_HOOK)
        if kept >= 0:
            self._books.resume(number, kept)
        if marks & BEYOND_THE_CAP:
            self._beyond[id(request)] = number
            return Reason.REFUSED_FULL
        place = DealtPlace(number, is_resumed=bool(marks & RESUMED))
        self.arriving[id(request)] = request, place
        return None

    def overflow_for(self, server: object, request: Any, reason: Reason) -> Handler | None:
        """Return what serves a connection beyond the cap, if anything does."""
        number = self._beyond.pop(id(request), None)
        handler = super().overflow_for(server, request, reason)
        if number is None:
            return handler
        if handler is None:
            self._ends.tell_end(number, reason)
            return None
        place = self.arriving[id(request)][1]
        assert isinstance(place, OverflowPlace)  # noqa: S101 - tells the type checker
        place.number = number
        return handler

    def trusts(self, server: Any, request: Any, client_address: Any) -> bool:
        """Return whether to read the PROXY header of a connection; of one that is resumed it was read."""
        arrival = self.arriving.get(id(request))
        place = None if arrival is None else arrival[1]
        if isinstance(place, DealtPlace) and place.is_resumed:
            return bool(server.verify_request(request, client_address))
        return super().trusts(server, request, client_address)

    def number_of(self, request: Any) -> int | None:
        """Return the number of the place with which a connection has arrived; it is to be taken yet."""
        arrival = self.arriving.get(id(request))
        if arrival is None:
            # A hook has made another object of it.
            arrival = self.take(request)
            if arrival is None:
                return None
            self.arriving[id(request)] = request, arrival[1]
        place = arrival[1]
        return place.number if isinstance(place, DealtPlace | OverflowPlace) else None

    def identify(self, place: HeldPlace | None, client_address: Any) -> Reason | None:
        """Apply the rules for addresses, which the supervisor has."""
        if not isinstance(place, DealtPlace):
            return None
        return self._ends.identify(place.number, client_address)

    def give_up(self, place: HeldPlace | None, reason: Reason) -> None:
        """Count a connection that has not come to an engine, here and at the supervisor."""
        super().give_up(place, reason)
        number = place.number if isinstance(place, DealtPlace | OverflowPlace) else None
        if number is not None:
            self._ends.tell_end(number, reason)
