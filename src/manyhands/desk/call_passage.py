"""How a call goes on in another worker: the desk keeps what it has to say, until the caller is there."""

import json
from typing import NamedTuple

from manyhands.desk.call_io import CallIO
from manyhands.desk.link_at_worker import CallElsewhere, DeskElsewhere
from manyhands.dropin.resumable import Passage


class CallOver(Exception):  # noqa: N818 - what has happened
    """The desk knows the call no more: it took too long on its way."""


class CallState(NamedTuple):
    """Where a handler was in its call.

    Attributes
    ----------
    kept, is_continued, is_cut
        The rest of the decoder: see `messages.MessageDecoder.rest`.
    only_listens : bool
        Whether the caller has stopped talking.
    encoding : str
        What lines are in.
    """

    kept: bytes
    is_continued: bool
    is_cut: bool
    only_listens: bool
    encoding: str

    @property
    def rest(self) -> tuple[bytes, bool, bool]:
        """The rest of the decoder."""
        return self.kept, self.is_continued, self.is_cut

    def as_bytes(self) -> bytes:
        """Return it as bytes."""
        return json.dumps([self.kept.decode("latin-1"), *self[1:]]).encode()

    @classmethod
    def of_bytes(cls, data: bytes) -> "CallState":
        """Make it of those, which another version of this program may have written."""
        kept, *others = json.loads(data)
        return cls(kept.encode("latin-1"), *others)


class CallPassage:
    """The way of a call into this worker, and out of it. For the thread, or the fiber, of the call.

    Parameters
    ----------
    passage : Passage
        That of its connection.
    desk : DeskElsewhere
        What leads to the desk.
    """

    def __init__(self, passage: Passage, desk: DeskElsewhere) -> None:
        self._passage = passage
        self._desk = desk
        self._call: CallElsewhere | None = None
        self._connection: CallIO | None = None

    def arrive(self, connection: CallIO, number: int) -> tuple[CallElsewhere, CallState] | None:
        """Have a call go on here; None where it is a new one.

        Raises
        ------
        CallOver
            When the desk knows it no more.
        """
        kept = self._passage.bring_in()
        if kept is None:
            return None
        state = CallState.of_bytes(kept.state)
        connection.encoding = state.encoding
        call = self._desk.take_back(connection, number)
        if call is None:
            raise CallOver
        return call, state

    def open(self, call: CallElsewhere, connection: CallIO) -> None:
        """Have a call leave from now on, where it may, when that is asked of this worker."""
        self._call, self._connection = call, connection
        connection.leaving = self
        self._passage.open(connection.interrupt_to_leave)

    def close(self) -> None:
        """Note that the call is over, or has left."""
        self._passage.close()

    # As `CallIO` has it

    @property
    def is_asked(self) -> bool:
        """Whether the call is to leave."""
        return self._passage.is_asked

    def leave(self, rest: tuple[bytes, bool, bool], *, only_listens: bool) -> None:
        """Leave; return where that cannot be just now."""
        call, connection = self._call, self._connection
        assert call is not None and connection is not None  # noqa: S101, PT018 - `open` was called
        # The desk first: what it says until then goes with the connection, the rest it keeps.
        if not call.park():
            self._passage.stay()
            return
        if connection.ending is None:
            # Read now: until it has parked the call, the desk may change it.
            state = CallState(*rest, only_listens, connection.encoding)
            self._passage.depart(state.as_bytes())
        else:
            self._passage.stay()  # just before, the desk has hung up
        call.go_on()
