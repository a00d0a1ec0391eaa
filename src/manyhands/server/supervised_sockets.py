"""What a supervisor serves: listeners that it accepts on, and workers that it deals to."""

import os
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from manyhands.config.option_types import MOST_WORKERS
from manyhands.connections.counted_registry import CountedRegistry
from manyhands.engines import Engine
from manyhands.listening import multicast
from manyhands.listening.bind import sentence_of
from manyhands.listening.endpoints import Endpoint
from manyhands.model import lazy_events as events
from manyhands.model.addresses import Address
from manyhands.model.event_hub import event_hub
from manyhands.model.usage_errors import Mistake, NotStarted
from manyhands.runtime.locks import Latch
from manyhands.runtime.processors import usable_processors
from manyhands.server import one_supervisor
from manyhands.server.listener import Handler, Listener, Making
from manyhands.server.new_addresses import NewAddresses
from manyhands.server.option_attributes import ADJUSTABLE, OptionValues
from manyhands.server.run import Run
from manyhands.server.served_sockets import ServedSockets
from manyhands.server.stand_ins import HandlerElsewhere
from manyhands.server.systemd import poll_interval
from manyhands.server.takeover import (
    Adopted,
    Estate,
    LeftClosed,
    LeftListener,
    become_new_program,
    estate_of_process,
    tell_of_upgrade,
)
from manyhands.server.tls import ServerTLS
from manyhands.serving.admission_control import AdmissionControl
from manyhands.serving.controls import ServerControls
from manyhands.serving.core import core_of
from manyhands.serving.drain import CutOff
from manyhands.supervisor.acceptor import Acceptor
from manyhands.supervisor.channels import Listening
from manyhands.supervisor.engine import WorkersEngine
from manyhands.supervisor.fleet import Fleet
from manyhands.supervisor.fleet_terms import Terms
from manyhands.supervisor.fleet_view import FleetView
from manyhands.supervisor.orphans import Orphans
from manyhands.supervisor.template_process import Starter, TemplateProcess
from manyhands.supervisor.upgrading import Upgrading
from manyhands.workers.share import plain_endpoint

if TYPE_CHECKING:
    from os import PathLike

    from manyhands.hub.member import HubMember


POLL_INTERVAL = 1.5
"""Seconds between two turns of an idle supervisor's accept loop: at its workers it looks every second anyway,
and what operators change wakes it."""


class Shared:
    """A listener that workers have too: a mix-in before its class."""

    owner: "SupervisedSockets"
    position: int
    run: Run
    socket: socket.socket

    def server_close(self) -> None:
        """Close the address, and what the workers have of it, unless the server stops anyway. A hook."""
        super().server_close()  # type: ignore[misc]  # of the class that this stands before
        if not self.run.is_stopping:
            self.owner.fleet.ask(partial(self.owner.close_everywhere, self))


class _AdoptedShared(Shared, Adopted):
    """One whose socket was bound before, by another program in this process."""


class Dealing(Shared):
    """Has a listener's connections dealt: a mix-in before its class."""

    def server_activate(self) -> None:
        """Listen, on a socket that does not block. A hook."""
        super().server_activate()  # type: ignore[misc]  # of the class that this stands before
        self.socket.setblocking(False)

    def _handle_request_noblock(self) -> bool:
        return self.owner.acceptor.take_from(self, self.position)  # type: ignore[arg-type]  # as above


class _BoundDealing(Dealing, Adopted):
    """Does that with a socket that another program in this process has bound for it."""


class _AdoptedDealing(_BoundDealing):
    """Does that with a socket that was served before, by another program in this process."""

    def server_activate(self) -> None:
        """Go on listening."""
        self.socket.setblocking(False)


class SupervisedSockets(ServedSockets):
    """Has workers serve a handler.

    Parameters
    ----------
    handler, addresses, options, tls
        As of any `ServedSockets`. The handler is not called in this process.
    starter
        Returns what starts the template of a generation, by its number.
    """

    is_supervisor = True

    def __init__(
        self,
        handler: Handler,
        addresses: Sequence[Address],
        options: OptionValues,
        tls: ServerTLS | None,
        starter: Callable[[int], Starter],
    ) -> None:
        self.books = CountedRegistry()
        self._starter = starter
        self.fleet: Fleet
        self.acceptor: Acceptor
        self._options_at_start = dict(options)
        self._new_addresses = NewAddresses()
        self.estate: Estate | None = None
        self._lanes: dict[Listener, list[socket.socket]] = {}
        """Of datagrams the sockets besides the listener's own."""

        self._hub_member: HubMember | None = None
        super().__init__(
            handler, addresses, options, tls, (self.books, AdmissionControl(self.books))
        )
        self._context = None if tls is None else tls.context
        if tls is not None:
            self.chores.append(self._follow_certificates)
        self._make_fleet()

    def _make_fleet(self) -> None:
        self.fleet = Fleet(self._terms, self._starter, self.books)
        self.fleet.wake = self.notice
        if os.getpid() == 1 and isinstance(self._handler, HandlerElsewhere):
            # Not in a program, whose own children wait for it.
            self.fleet.orphans = Orphans()
        self.fleet.on_stop = self.stop
        self.fleet.on_closed = self._close_listener
        self.fleet.on_dealt = self._accept_on
        self.fleet.on_ready = self._check_addresses
        self.fleet.is_suspended = self._is_suspended
        self.acceptor = Acceptor(self.fleet.dealer, self.books, self.fleet.ended_watch.look)
        self.fleet.polling.take = self.acceptor.take_plainly
        engine = WorkersEngine(self.fleet, self.books, lambda: self.current_run.time_to_drain)
        self.group.core.engines.have(engine)

    def _terms(self) -> Terms:
        said = self.options
        count = said["workers"]
        return Terms(
            min(usable_processors(), MOST_WORKERS) if count == "auto" else int(count),
            said["start_timeout"],
            said["worker_timeout"],
            said["reload_drain"] == "stay",
            said["max_generations"],
            said["drain_timeout"],
        )

    @property
    def poll_interval(self) -> float:
        """Seconds between two turns of the accept loop when nothing happens."""
        return poll_interval(POLL_INTERVAL)

    @property
    def engine(self) -> Engine:
        """What deals."""
        return self.group.core.engines.named("workers")

    def listen(self) -> None:
        """Bind every address, and have the workers of the first generation serve.

        Raises
        ------
        NotStarted
            When they do not come to serve: the text says why.
        """
        if self.group.listeners:
            return
        one_supervisor.claim(self)
        with ExitStack() as undo:
            undo.callback(self.close_fleet)
            undo.callback(self.group.close)
            estate = self.estate = estate_of_process()
            if estate is None:
                # Before the addresses are bound: a copy of this process would hold their ports.
                self.fleet.begin()
            self.group.listen(
                self._addresses,
                self._handler,
                self.options,
                self,
                self.engine,
                self.making,
            )
            if estate is None:
                self.fleet.listen([self.listening_of(each) for each in self.group.listeners])
                self.wait_for_first()
                self.reach_hub().wait_until_connected()
                self.begin_control()
            else:
                self.take_over(estate)
            undo.pop_all()

    def _begin_control_late(self) -> None:
        """Have operators ask about a server that serves: it goes on where they cannot."""
        if self.open_control is None or self._leave_control is not None:
            return
        try:
            self._leave_control = self.open_control()
        except (OSError, Mistake) as error:
            if event_hub.has_subscribers:
                event_hub.emit(events.NoControlSocket(sentence_of(error)))

    def reach_hub(self) -> "HubMember":
        """Have what the program tells here reach the workers too, once the hub is there."""
        # Not at the top, as little as the control socket: an upgraded program deals to clients before.
        from manyhands.hub.member import HubMember  # noqa: PLC0415

        self._hub_member = HubMember(self.group.core, self.fleet.hub.encode("latin-1"), 0)
        self._hub_member.start()
        return self._hub_member

    def take_over(self, estate: Estate) -> None:
        """Go on with what the program before has left: its workers serve until the new ones do."""
        estate.close_rest()
        listening = [self.listening_of(each) for each in self.group.listeners]
        state = estate.state
        self.options.update(state["options"])
        self.group.set_suspended(bool(state["is_suspended"]))
        core = self.group.core
        core.options.follow_limits(self.group.listeners[0])
        self.books.go_on_from(state["books"])
        self.fleet.take_over(state["fleet"], listening, estate.moved, core.admission.readmit)
        tell_of_upgrade(len(self.books))
        # Clients wait: they come first.
        for errand in (self._begin_control_late, self.reach_hub, self.fleet.begin):
            self.fleet.ask(errand)

    def making(self, position: int, endpoint: Endpoint) -> Making:
        """Return how the listener at a position is made of its endpoint."""
        left = None if self.estate is None else self.estate.take(position, endpoint)
        if left is not None and left.descriptor < 0:
            return Making(LeftClosed, {}, engine="workers")
        own: dict[str, object] = {} if left is None else {"left": left}
        if endpoint.kind == socket.SOCK_STREAM:
            dealing = Dealing
            if left is not None:
                dealing = _BoundDealing if left.is_new else _AdoptedDealing
            return Making(dealing, {"position": position, **own}, engine="workers")
        forced: dict[str, object] = {}
        if self._has_lanes(endpoint):
            forced["allow_reuse_port"] = True
        mix_in = Shared if left is None else _AdoptedShared
        own["position"] = position
        return Making(mix_in, own, engine="workers", forced=forced)

    def _has_lanes(self, endpoint: Endpoint) -> bool:
        """Tell whether each worker has a socket of its own for the datagrams of an endpoint.

        A group's datagrams come to each socket that has joined it, and a Unix path has one socket.
        """
        return (
            endpoint.descriptor < 0
            and endpoint.family in {socket.AF_INET, socket.AF_INET6}
            and not multicast.is_group(endpoint.family, endpoint.address[0])
        )

    def listening_of(self, listener: Listener) -> Listening:
        """Return a listener as the generations have it."""
        endpoint = listener.endpoint._replace(address=listener.server_address)
        is_given = listener.endpoint.descriptor >= 0
        if listener.fileno() < 0:
            return Listening(endpoint, is_given, is_closed=True)
        if listener.is_stream:
            return Listening(endpoint, is_given)
        core_of(listener).is_read_elsewhere = True
        lanes = [listener.socket]
        if self._has_lanes(listener.endpoint):
            left: LeftListener | None = getattr(listener, "left", None)
            if left is None:
                lanes += [self._lane(listener) for _ in range(self._terms().workers - 1)]
            else:
                # As many as there were: one more would have no reader until the new workers serve.
                lanes += [self._left_lane(listener, each) for each in left.lanes]
        return Listening(endpoint, is_given, tuple(lane.fileno() for lane in lanes))

    def _left_lane(self, listener: Listener, descriptor: int) -> socket.socket:
        """Return such a socket that the program before has left."""
        lane = socket.socket(listener.endpoint.family, socket.SOCK_DGRAM, 0, descriptor)
        lane.set_inheritable(False)
        self._lanes.setdefault(listener, []).append(lane)
        return lane

    def _lane(self, listener: Listener) -> socket.socket:
        """Return one more socket for the datagrams of a listener: the kernel deals senders out to all."""
        lane = socket.socket(listener.endpoint.family, socket.SOCK_DGRAM)
        self._lanes.setdefault(listener, []).append(lane)
        lane.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if listener.endpoint.family == socket.AF_INET6:
            only_six = listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            lane.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_six)
        lane.bind(listener.server_address)
        return lane

    def _close_listener(self, position: int) -> None:
        """Close an address: a handler has."""
        self.group.listeners[position].server_close()

    def close_everywhere(self, listener: Shared) -> None:
        """Close what is left of an address that was closed here. For the thread of the accept loop."""
        for lane in self._lanes.pop(listener, ()):  # type: ignore[call-overload]  # it is a `Listener`, too
            lane.close()
        self.fleet.close_listener(listener.position)

    def wait_for_first(self) -> None:
        """Wait until the first generation serves.

        Raises
        ------
        NotStarted
            When it does not come to that.
        """
        fleet = self.fleet
        while fleet.serving is None:
            if self.current_run.is_stopping:
                raise NotStarted("the server is stopping")
            coming = fleet.generations.coming
            if coming is None or coming.failure:
                why = "the server is stopping" if coming is None else coming.failure
                raise NotStarted(why)
            fleet.polling.select(1.0)

    def _follow_certificates(self) -> None:
        """Have a new generation where the certificates have changed: its workers share their sessions."""
        context = None if self.tls is None else self.tls.context
        if context is not self._context:
            self._context = context
            self.fleet.ask_to_reload(_leave_alone)

    def enter_control(
        self,
        controls: ServerControls,
        control: "str | PathLike[str] | None",
        control_read: "str | PathLike[str] | None",
    ) -> Callable[[], object] | None:
        """Have operators ask about the server and its workers."""
        if control is None and control_read is None:
            return None
        from manyhands.control.sockets import control_sockets  # noqa: PLC0415 - few servers have one

        view = FleetView(self.fleet)
        return control_sockets.enter(controls, control, control_read, view)

    def _is_suspended(self, position: int) -> bool:
        listeners = self.group.listeners
        return position < len(listeners) and core_of(listeners[position]).is_suspended

    def _accept_on(self, positions: Collection[int]) -> None:
        """Accept connections on the listeners at these positions; leave the others alone."""
        for position, listener in enumerate(self.group.listeners):
            if listener.is_stream:
                core_of(listener).is_read_elsewhere = position not in positions

    # Upgrade

    has_upgrades = True

    def can_be_upgraded(self) -> None:
        """Note that the process is the server's: another program may take it over."""
        self.fleet.upgrading = Upgrading(
            self.fleet,
            self._exec_new,
            self._new_addresses.release,
            lambda: self._terms().start_timeout,
        )

    def _check_addresses(self, template: TemplateProcess) -> str:
        """Have the addresses of a program that is to take over; tell what is wrong with them, if anything."""
        if "addresses" not in template.about:
            return ""  # of a reload, which leaves them as they are
        held = [each.endpoint for each in self.group.listeners]
        shares_all = self.options["allow_reuse_port"]

        def shares_port(endpoint: Endpoint) -> bool:
            is_of_datagrams = endpoint.kind == socket.SOCK_DGRAM
            is_internet = endpoint.family in multicast.FAMILIES
            return is_internet and (shares_all or (is_of_datagrams and self._has_lanes(endpoint)))

        asked, backlog = template.about["addresses"], self.options["request_queue_size"]
        return self._new_addresses.take(asked, held, shares_port, backlog)

    def upgrade_soon(self) -> None:
        """Have another program take this process over. For signal handlers."""
        self.fleet.upgrade(_leave_alone)

    def _exec_new(self) -> None:
        sockets: list[LeftListener] = []
        for listener, listening in zip(self.group.listeners, self.fleet.listening, strict=True):
            asked = listener.endpoint
            lanes = list(listening.lanes[1:])
            sockets.append(LeftListener(plain_endpoint(asked), listener.socket.fileno(), lanes))
        for endpoint, new in self._new_addresses.sockets:
            sockets.append(LeftListener(plain_endpoint(endpoint), new.fileno(), [], is_new=True))
        state = {
            "sockets": sockets,
            "options": self._changed_options(),
            "is_suspended": self.group.is_suspended,
            "books": self.books.counts(),
            "fleet": self.fleet.as_plain(),
        }
        listeners = [each for left in sockets for each in (left.descriptor, *left.lanes)]
        state["descriptors"] = [*listeners, *self.fleet.descriptors]
        become_new_program(state)

    def _changed_options(self) -> dict[str, Any]:
        """Return the options that were changed since the start, and are plain values."""
        return {
            name: value
            for name, value in self.options.items()
            if name in ADJUSTABLE
            and value != self._options_at_start[name]
            and (value is None or isinstance(value, bool | int | float | str))
        }

    def ask_workers_for_stacks(self) -> bool:
        """Have the workers tell where their handlers stand. For the thread of the accept loop."""
        self.fleet.ask_for_stacks()
        return True

    # Reload

    def reload(self) -> bool:
        """Have a new generation serve; return False when it does not come to that. Waits for it."""
        outcomes: list[str | None] = []
        has_outcome = Latch()

        def note(failure: str | None) -> None:
            outcomes.append(failure)
            has_outcome.set()

        self.fleet.ask_to_reload(note)
        has_outcome.wait()
        return outcomes == [None]

    @contextmanager
    def reloading_on_change(self) -> Iterator[None]:
        """Reload during a context when a file of the program changes."""
        # Not at the top: for developers.
        from manyhands.server.reload_on_change import ReloadOnChange  # noqa: PLC0415

        on_change = ReloadOnChange(self.reload_then)
        self.fleet.on_files = on_change.follow
        try:
            yield
        finally:
            on_change.end()

    def reload_then(self, done: Callable[[str | None], object]) -> None:
        """Have a new generation serve; tell `done` the outcome."""
        self.fleet.ask_to_reload(done)

    @property
    def reloadable(self) -> "SupervisedSockets":
        """What SIGHUP reloads: the workers."""
        return self

    def reload_soon(self) -> None:
        """Have a new generation serve. For signal handlers."""
        self.fleet.ask_to_reload(_leave_alone)

    # The end

    def elsewhere_cut_off(self) -> list[CutOff]:
        """Return the connections that the workers have cut off, or have not come to the end of."""
        self.fleet.kill()
        return [CutOff(*each) for each in sorted(self.fleet.left)]

    def begin_next_run(self) -> None:
        """Be as new: a run has ended."""
        self.close_fleet()
        super().begin_next_run()
        self._make_fleet()

    def close_all_copies(self) -> None:
        """Close a forked copy's copies of all listeners, those of datagrams too."""
        super().close_all_copies()
        for lane in chain.from_iterable(self._lanes.values()):
            lane.close()

    def close_fleet(self) -> None:
        """End all processes of the workers, and what leads to them."""
        one_supervisor.release(self)
        self._new_addresses.release()
        member, self._hub_member = self._hub_member, None
        if member is not None:
            member.close()
        try:
            self.fleet.close()
        finally:
            for lane in chain.from_iterable(self._lanes.values()):
                lane.close()
            self._lanes.clear()


def _leave_alone(_failure: Any) -> None:
    """Do nothing."""
