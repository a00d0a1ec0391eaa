"""The acceptor: the way of a connection through the supervisor."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from manyhands.connections.counted_registry import CountedRegistry
from manyhands.model.connection_states import Reason
from manyhands.runtime.sockets import system_socket
from manyhands.serving.admission_control import AdmissionControl
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.listener_watch import ListenerWatch
from manyhands.serving.request_hooks import Listener, handle_request_noblock
from manyhands.serving.worker_shortage import end_pause
from manyhands.supervisor.dealer import Dealer
from manyhands.supervisor.worker_deals import Dealt
from manyhands.workers.records import BEYOND_THE_CAP

if TYPE_CHECKING:
    from manyhands.admission.admission import HeldPlace

_FULL = {Reason.REFUSED_FULL, Reason.REFUSED_FULL_FOR_ADDRESS}

AT_ONCE = 32
"""Connections of one listener that are dealt before anything else is looked at: half a millisecond."""


class Acceptor:
    """Accepts the connections of a supervisor's listeners, has them dealt. For the accept loop.

    Parameters
    ----------
    dealer
        What deals.
    books
        Where connections are counted.
    look_for_ended
        Counts what has ended, and returns how many have: before a limit keeps a client out, who has called
        after the end of another one perhaps.
    """

    def __init__(
        self, dealer: Dealer, books: CountedRegistry, look_for_ended: Callable[[], int]
    ) -> None:
        self._dealer = dealer
        self._books = books
        self._look_for_ended = look_for_ended

    @staticmethod
    def take_plainly(watch: ListenerWatch, now: float) -> bool:
        """Deal the clients that wait on a listener, if nothing else is to be looked at; tell whether so.

        A turn of the accept loop looks at everything, and costs more than to deal. There is one at least each
        time that the options are to be looked at.
        """
        core = watch.core
        if (
            now >= core.options.look_at
            or watch.is_crowded
            or core.is_suspended
            or core.is_read_elsewhere
            or core.accept_backoff.since is not None
            or core.admission.has_chores
            or core.unserved.refusals.are_due
        ):
            return False
        return bool(handle_request_noblock(watch.listener))

    def take_from(self, server: Listener, listener: int) -> bool:
        """Deal the clients that wait on a listener, whose socket does not block; tell whether all could be.

        Parameters
        ----------
        server
            The listener.
        listener
            Its position among them.
        """
        core = core_of(server)
        dealer, admission = self._dealer, core.admission
        accept: Any = system_socket(server.socket)._accept
        for _ in range(AT_ONCE):
            worker = dealer.choose()
            # The address of the next one may be refused, so the cap is looked at before.
            if worker is None or not self._has_room(admission):
                return False
            try:
                descriptor, address = accept()
            except BlockingIOError:
                break
            except OSError as error:
                core.unserved.lose(server, error)
                return False
            if core.accept_backoff.since is not None:
                end_pause(core.accept_backoff, server)
            held, marks = None, 0
            if admission.is_guarded:
                admitted = self._admitted(core, server, descriptor, address)
                if admitted is None:
                    continue
                held, marks = admitted
            dealt = Dealt(self._books.begin(), descriptor, address, marks, listener)
            dealer.deal(worker, dealt, held)
        return True

    def _admitted(
        self, core: ServerCore, server: Listener, descriptor: int, address: Any
    ) -> "tuple[HeldPlace | None, int] | None":
        """Return the place of a connection and its marks; None when it was refused."""
        admission = core.admission
        admitted = admission.admit(server, address)
        if admitted in _FULL and self._look_for_ended():
            admitted = admission.admit(server, address)
        if not isinstance(admitted, Reason):
            return admitted, 0
        overflow = admission.overflow_place(server, admitted)
        if overflow is None:
            self._refuse(core, server, descriptor, address, admitted)
            return None
        return overflow, BEYOND_THE_CAP

    def _has_room(self, admission: AdmissionControl) -> bool:
        return (
            not admission.is_guarded
            or admission.has_room()
            or (self._look_for_ended() > 0 and admission.has_room())
        )

    @staticmethod
    def _refuse(
        core: ServerCore, server: Listener, descriptor: int, address: Any, reason: Reason
    ) -> None:
        listening = server.socket
        request = socket.socket(listening.family, listening.type, listening.proto, descriptor)
        core.unserved.turn_away(server, request, address, reason)
