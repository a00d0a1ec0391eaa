"""A worker of a desk: it holds callers, and brings what they say to the desk in its supervisor's process."""

import contextlib
import os
import signal
from functools import partial
from typing import ClassVar

from manyhands.connections.connection import current_connection
from manyhands.connections.hand_over import HandedOver
from manyhands.desk import environment
from manyhands.desk.call_handler import CallHandler
from manyhands.desk.call_passage import CallOver, CallPassage
from manyhands.desk.link_at_worker import DeskElsewhere
from manyhands.desk.settings import Settings, server_of
from manyhands.desk.told_events import telling_of_events
from manyhands.dropin.handlers import BaseRequestHandler
from manyhands.dropin.resumable import passage_of_caller
from manyhands.model import events
from manyhands.runtime.worker_number import worker_number

_OF_SUPERVISOR = (
    events.Draining,
    events.HubLost,
    events.HubReached,
    events.MissedFromWorkers,
)
"""What the supervisor tells itself, or what concerns rooms, which a desk has none of."""


class CallInWorker(BaseRequestHandler):
    """The handler of a call that a worker serves."""

    desk: ClassVar[DeskElsewhere]
    calls: ClassVar[CallHandler]

    _number = 0

    resumable = True
    """Whether the call may go on in another worker."""

    def handle(self) -> None:
        """Serve the call to its end, or until it goes on in another worker."""
        served = current_connection()
        if served is None:
            return
        self._number = served.number
        passage = passage_of_caller()
        moves = None if passage is None else CallPassage(passage, self.desk)
        with contextlib.suppress(HandedOver, CallOver):
            self.calls.serve(self.request, self.client_address, moves=moves)

    def goodbye(self) -> None:
        """End the call, since this worker is to end, and not the desk."""
        self.desk.dismiss(self._number)


def serve(settings: Settings) -> None:
    """Be the template of a desk's workers and, in each of them, serve until its end.

    Raises
    ------
    Mistake
        When nothing says where the desk is.
    OSError
        When it is not there.
    """
    environment.allow_many_descriptors()
    address = environment.address_of_desk()
    server = server_of(CallInWorker, settings)
    server.listen()  # which only the workers come back from
    end = partial(os.kill, os.getpid(), signal.SIGTERM)
    desk = DeskElsewhere(address, worker_number(), end)
    CallInWorker.desk, CallInWorker.calls = desk, CallHandler(desk, settings.terms)
    desk.start()
    with telling_of_events(desk.tell_all, *_OF_SUPERVISOR):
        server.run()
    desk.close()
