"""The caller's side of the desk: the plain, blocking handler of each call.

It hears what a caller says, no faster than the caller may speak, and brings it to the desk, which may be in
another process than the handler.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from manyhands.admission.rate_limits import Pace, TokenBucket
from manyhands.connections.connection import current_connection
from manyhands.connections.outboxes import outbox_of
from manyhands.desk.call_io import CallIO, Ending
from manyhands.desk.encodings import UTF_8
from manyhands.desk.messages import (
    LINE_LIMIT,
    LineTooLong,
    Message,
    MessageDecoder,
    from_the_desk,
)
from manyhands.model.socket_addresses import format_address

_ANSWER_OF_A_SYSTEM = 1.0
"""Seconds for the system of a caller who has stopped talking to answer that the caller has gone (RST)."""

LINE_RATE = 100.0
"""Lines a second that a caller may say: far more than a person types, and a small part of the desk's time."""

LINE_BURST = 1000
"""Lines that a caller may say at once: what is pasted, or what a script has to say."""

_MOST_AT_ONCE = 100
"""Lines of one caller that are kept and shown in one go. Those of all others wait that long."""

_REST = 0.2
"""Seconds at least that a caller who says too much is not heard: many lines are kept together then."""

MAINTENANCE = "this line is closed for maintenance; please call again"
"""What a caller is told whose worker is to end, while the desk goes on."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What each caller may do.

    Attributes
    ----------
    max_line : int
        Bytes of the longest line that a caller may say.
    max_line_rate : float
        Lines a second that a caller may say. One that says more is heard later: nothing of it is lost.
    line_burst : int
        Lines that a caller may say at once.
    greeting : str or None
        Said to each caller first.
    encoding : str
        What callers' lines are read as, and lines to them written in; one of `encodings`.
    """

    max_line: int = LINE_LIMIT
    max_line_rate: float = LINE_RATE
    line_burst: int = LINE_BURST
    greeting: str | None = None
    encoding: str = UTF_8


class CallAtDesk(Protocol):
    """A call as its handler has it at the desk. Each method waits until the desk has done what it says."""

    @property
    def came_too_late(self) -> bool:
        """Whether the desk had closed by then, as the caller has been told."""

    def hear(self, messages: Sequence[Message]) -> bool:
        """Keep what the caller says, then show it; return whether the caller says goodbye."""

    def speaks_too_fast(self) -> None:
        """Tell caller and operator, once, that what is more is heard later."""

    def only_listens(self) -> bool:
        """Note that the caller has stopped talking; return False where nobody answers any more."""

    def spoke_too_long(self, limit: int) -> None:
        """Tell the caller that a line was too long."""

    def leave(self, ending: Ending) -> None:
        """Note that the call has ended."""

    def forget(self) -> None:
        """Know the call no more, whatever has ended it. Once more does no harm, and it does not wait."""


class Desk(Protocol):
    """The desk as the handlers of calls have it."""

    def take(self, connection: CallIO, peer: str, connection_number: int) -> CallAtDesk:
        """Enter a call, and welcome the caller."""

    def tell(self, sentence: str) -> None:
        """Tell the operator what is no call's."""


class Begun(Protocol):
    """Where another handler was in a call: see `call_passage.CallState`."""

    @property
    def rest(self) -> tuple[bytes, bool, bool]:
        """The rest of its decoder."""

    @property
    def only_listens(self) -> bool:
        """Whether the caller has stopped talking."""

    @property
    def encoding(self) -> str:
        """What lines are in."""


class Moves(Protocol):
    """How a call may come from another process, and go to one: see `call_passage.CallPassage`."""

    def arrive(self, connection: CallIO, number: int) -> tuple[CallAtDesk, Begun] | None:
        """Have a call go on here; None where it is a new one."""

    def open(self, call: Any, connection: CallIO) -> None:
        """Have a call leave from now on, where it may."""

    def close(self) -> None:
        """Note that the call is over, or has left."""


class CallHandler:
    """Serves calls: hears what callers say, for a desk.

    Parameters
    ----------
    desk : Desk
        Keeps it, and shows it to the operator.
    terms : Terms
        What each caller may do.

    Notes
    -----
    `serve` is called in a thread, or a fiber, of each call's own.
    """

    def __init__(self, desk: Desk, terms: Terms) -> None:
        self._desk = desk
        self._terms = terms
        self._pace = Pace(terms.max_line_rate, terms.line_burst)
        # No longer than a bucket takes to fill up: the tokens of a full one that goes on resting are lost.
        self._rest = min(_REST, self._pace.burst * self._pace.interval)

    def serve(
        self,
        request: Any,
        client_address: Any,
        server: object = None,  # noqa: ARG002 - a handler
        moves: Moves | None = None,
    ) -> None:
        """Serve one call to its end: what `manyhands.Server` takes as a handler.

        Raises
        ------
        HandedOver, CallOver
            As of `moves`.
        """
        peer = format_address(client_address)
        if not isinstance(client_address, tuple):
            # A client chooses the path of its own Unix socket, and could write another label into its own.
            peer = peer.replace("[", r"\x5b").replace("]", r"\x5d")
        served = current_connection()
        outbox = None if served is None else outbox_of(served)
        if served is None or outbox is None:
            return  # the server has ended it meanwhile
        try:
            connection = CallIO(request, outbox)
        except OSError as error:
            why = error.strerror or str(error)
            self._desk.tell(f"{peer} called and could not be served: {why}")
            return
        connection.encoding = self._terms.encoding
        try:
            arrived = None if moves is None else moves.arrive(connection, served.number)
            call, begun = arrived or (self._desk.take(connection, peer, served.number), None)
            if moves is not None:
                moves.open(call, connection)
            self._serve(call, connection, begun)
        finally:
            if moves is not None:
                moves.close()
            connection.finish()

    def _serve(self, call: CallAtDesk, connection: CallIO, begun: Begun | None) -> None:
        try:
            call.leave(self._converse(call, connection, begun))
        finally:
            # Once more, for a call that an exception has ended: `finish` may take seconds, and the operator
            # is not to find the caller meanwhile.
            call.forget()

    def _converse(self, call: CallAtDesk, connection: CallIO, begun: Begun | None) -> Ending:
        if call.came_too_late:
            return Ending.DESK_CLOSED
        try:
            decoder = MessageDecoder(self._terms.max_line, merges_empty_lines=True)
            bucket = TokenBucket(self._pace)
            if begun is not None:
                if begun.only_listens:
                    return self._stay_for_the_answer(call, connection)
                decoder.go_on_with(begun.rest, begun.encoding, time.monotonic())
            for messages in connection.hear(decoder):
                if self._hear_in_time(call, connection, messages, bucket):
                    return Ending.BYEBYE
            return connection.ending or self._listen_only(call, connection)
        except LineTooLong as too_long:
            call.spoke_too_long(too_long.limit)
            return Ending.LINE_TOO_LONG
        except OSError:
            return connection.ending or Ending.LOST

    def _hear_in_time(
        self, call: CallAtDesk, connection: CallIO, messages: list[Message], bucket: TokenBucket
    ) -> bool:
        """Hear what a caller says no faster than it may speak; return whether the caller says goodbye."""
        while messages and connection.ending is None:
            now = time.monotonic()
            count = bucket.take_several(min(len(messages), _MOST_AT_ONCE), now)
            if not count:
                # Nothing is received meanwhile either: what is more waits at the caller's own end.
                call.speaks_too_fast()
                connection.pause(max(self._rest, bucket.wait(now)))
            elif call.hear(messages[:count]):
                return True
            else:
                messages = messages[count:]
        return False

    def _listen_only(self, call: CallAtDesk, connection: CallIO) -> Ending:
        """Keep the call open for a caller who has stopped talking, if the caller is still there."""
        # Saying something is also how to find out: the system of a caller that has gone answers with RST.
        connection.say(
            from_the_desk("you have stopped talking; the line stays open for the answer")
        )
        if connection.wait_for_hang_up(_ANSWER_OF_A_SYSTEM):
            return connection.ending or Ending.HUNG_UP
        return self._stay_for_the_answer(call, connection)

    @staticmethod
    def _stay_for_the_answer(call: CallAtDesk, connection: CallIO) -> Ending:
        # Of a call that has come from another worker the desk may know, or not.
        if call.only_listens():
            connection.wait_for_hang_up()
        return connection.ending or Ending.HUNG_UP
