"""What a worker serves: the listeners that its supervisor deals to it."""

import socket
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from manyhands.hub.member import HubMember
from manyhands.listening import called_address
from manyhands.listening.endpoints import Endpoint
from manyhands.runtime.sockets import unix_socket
from manyhands.runtime.worker_number import be_worker
from manyhands.server.listener import Handler, Listener, Making
from manyhands.server.option_attributes import OptionValues
from manyhands.server.run import Run
from manyhands.server.served_sockets import ServedSockets
from manyhands.server.tls import ServerTLS
from manyhands.serving.controls import ServerControls
from manyhands.serving.core import core_of
from manyhands.serving.drain import CutOff
from manyhands.workers.dealt_books import DealtAdmission, DealtRegistry
from manyhands.workers.dealt_socket import DealtSocket
from manyhands.workers.hand_over import hand_over_of
from manyhands.workers.lane_socket import LaneSocket
from manyhands.workers.link import Link
from manyhands.workers.records import Lane
from manyhands.workers.share import Share
from manyhands.workers.shared_page import SharedPage
from manyhands.workers.stacks import tell_when_asked

if TYPE_CHECKING:
    from os import PathLike


class _Shared:
    """A listener that the supervisor and other workers have too: a mix-in before its class."""

    owner: "WorkerSockets"
    run: Run
    position: int
    socket: socket.socket

    def server_activate(self) -> None:
        """Do nothing: the supervisor listens."""

    def server_close(self) -> None:
        """Close the address, which is that of all workers, unless this one has come to its end. A hook."""
        is_open = self.socket.fileno() >= 0
        super().server_close()  # type: ignore[misc]  # of the class that this stands before
        if is_open and not self.run.is_stopping:
            self.owner.link.tell_closed(self.position)


class _OnDealtSocket(_Shared):
    """Makes a server of what is dealt."""

    dealt: DealtSocket

    def server_bind(self) -> None:
        """Take the deal channel, in the place of the listening socket."""
        self.socket.close()
        self.socket = self.dealt
        self.server_address = self.dealt.getsockname()
        if self.owner.hand_over is not None:
            self.owner.hand_over.note_listener(self, self.position)


class _OnLane(_Shared):
    """Makes a server of a socket for datagrams that the supervisor holds."""

    endpoint: Endpoint
    asks_where: bool

    def server_bind(self) -> None:
        """Take the socket."""
        self.socket.close()
        self.socket = LaneSocket(fileno=self.endpoint.descriptor)
        if self.socket.type != socket.SOCK_DGRAM:
            # A channel that nothing comes through: the address was closed before.
            self.socket.close()
            self.server_address = self.endpoint.address
            return
        self.server_address = self.socket.getsockname()
        if self.asks_where:
            called_address.ask_for_it(self.socket)


class WorkerSockets(ServedSockets):
    """Serves what a supervisor deals to this process.

    Parameters
    ----------
    handler, options, tls
        As of any `ServedSockets`.
    share
        What this worker was given.
    """

    is_worker = True

    def __init__(
        self, handler: Handler, options: OptionValues, tls: ServerTLS | None, share: Share
    ) -> None:
        self.share = share
        be_worker(share.number)
        self._slot = SharedPage(share.page).slot(share.slot)
        self.link = Link(share.link, self._slot.ended)
        registry = DealtRegistry(self.link)
        books = registry, DealtAdmission(registry, self.link, share.workers)
        super().__init__(handler, [], options, tls, books)
        # New certificates come with a new generation: the workers of one share their sessions.
        self.chores[:] = [self._slot.note_turn]
        self.drain_chores += [self._slot.note_turn, self._tell_why]
        self._spares: dict[int, Listener] = {}
        self._was_told_to_stop = False
        self._stops_alone = False
        self._has_told_why = False
        options.update(share.options)
        self._hub_member = HubMember(self.group.core, share.hub.encode("latin-1"), share.number)
        tell_when_asked(share.stacks)
        self.hand_over = hand_over_of(
            share.hand_overs, [handler], self.engine.name, self.link.tell_end
        )
        registry.hand_over = self.group.core.hand_over = self.hand_over

    def listen(self) -> None:
        """Take the listeners, unless that was done before."""
        if self.group.listeners:
            return
        self.group.take(self._dealt(), self._handler, self.options, self, self.engine)
        for position, descriptor in self.share.spares:
            endpoint, is_given = self.share.listeners[position]
            self._spares[position] = self.group.take_spare(
                endpoint._replace(descriptor=descriptor),
                self._handler,
                self.options,
                self,
                Making(_OnLane, {"position": position}, is_given=is_given),
            )
        self.link.on_lanes = self._read_lanes
        self.link.on_drain = self._drain_as_told
        self.link.on_hurry = self._hurry_as_told
        if self.hand_over is not None:
            self.link.on_hand_over, self.link.on_keep = self.hand_over.ask, self.hand_over.keep
        self.link.begin()
        self._hub_member.start()
        self.begin_control()

    def enter_control(
        self,
        controls: ServerControls,
        control: "str | PathLike[str] | None",
        control_read: "str | PathLike[str] | None",
    ) -> Callable[[], object] | None:
        """Have the supervisor ask for operators, where it has places at which they ask."""
        connection = unix_socket(socket.SOCK_STREAM, self.share.control)
        if control is None and control_read is None:
            connection.close()
            return None
        from manyhands.control.sockets import control_sockets  # noqa: PLC0415 - as in the one above

        return control_sockets.enter_connected(controls, connection)

    def _dealt(self) -> Iterator[tuple[Endpoint, Making]]:
        for position, (endpoint, is_given) in enumerate(self.share.listeners):
            if endpoint.kind == socket.SOCK_DGRAM:
                yield endpoint, Making(_OnLane, {"position": position}, is_given=is_given)
                continue
            dealt = DealtSocket(
                endpoint.descriptor,
                endpoint.family,
                endpoint.address,
                position,
                self._slot,
                self.link,
            )
            own = {"dealt": dealt, "position": position}
            yield endpoint, Making(_OnDealtSocket, own, is_given=is_given)

    def _read_lanes(self, position: int, lanes: int) -> None:
        """Read the sockets for datagrams at a position that the supervisor says, and no others."""
        own, spare = self.group.listeners[position], self._spares.get(position)
        core_of(own).is_read_elsewhere = not lanes & Lane.OWN
        if spare is not None:
            core_of(spare).is_read_elsewhere = not lanes & Lane.NEIGHBOURS
        if lanes & Lane.CLOSED:
            for each in (own, spare):
                if each is not None:
                    each.server_close()
        self.notice()

    def stop_here(self) -> None:
        """Ask for the end of this worker alone, in whose place another one comes."""
        self._stops_alone = True
        self.group.core.spreads_closings = True
        self.stop()

    def _tell_why(self) -> None:
        """Have the supervisor know why this worker stops: is it the program, the whole server is to."""
        if self._has_told_why:
            return
        self._has_told_why = True
        if not self._was_told_to_stop:
            is_alone = self._stops_alone or self.current_run.failure is not None
            (self.link.tell_leaving if is_alone else self.link.tell_stop)()

    def _drain_as_told(self, seconds: float | None) -> None:
        self._was_told_to_stop = True
        run = self.current_run
        # Without a time the server goes on, and has the clients back that this worker ends.
        self.group.core.spreads_closings = seconds is None
        if seconds is not None:
            run.drain_in(seconds)
        run.stop()

    def _hurry_as_told(self) -> None:
        self._was_told_to_stop = True
        self.hurry()
        self.stop()

    def answer_for_stacks(self, tell: Callable[[], object]) -> None:
        """Have `tell` called whenever the supervisor asks where handlers stand."""
        self.link.on_stacks = tell

    def announce(self, announce: Callable[[], object]) -> None:  # noqa: ARG002 - the supervisor's
        """Have the supervisor deal: it tells of addresses."""
        # What the first client tells is to reach all. Without the hub the clients come first.
        self._hub_member.wait_until_connected()
        about = {"engine": self.engine.name, "resumes": self.hand_over is not None}
        self.link.tell_ready(about)

    def begin_next_run(self) -> None:
        """Note that there will be none: the worker has served."""
        self._hub_member.close()
        super().begin_next_run()

    def tell_end(self, cut_off: Iterable[CutOff]) -> None:
        """Have the supervisor know that this worker has come to its end, and what it has cut off."""
        self._tell_why()
        for each in cut_off:
            self.link.tell_of_cut_off(each.number, each.peer, each.age, each.doing)
        if self.hand_over is not None:
            self.hand_over.wait_until_sent()
        self.link.tell_gone()
