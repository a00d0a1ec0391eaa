"""A worker as its supervisor has it: its process, its channels, and the connections that were dealt to it."""

import contextlib
import enum
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from manyhands.admission.admission import HeldPlace
from manyhands.runtime.sockets import unix_socket
from manyhands.supervisor.channels import Here
from manyhands.supervisor.fleet_terms import Left
from manyhands.supervisor.record_link import RecordLink
from manyhands.supervisor.worker_deals import GONE, WorkerDeals
from manyhands.workers.records import Kind, Lane
from manyhands.workers.shared_page import Slot

if TYPE_CHECKING:
    from manyhands.supervisor.template_process import TemplateProcess


class State(enum.Enum):
    """Where a worker is in its life."""

    FORKING = "forking"
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    ENDED = "ended"


class Worker:
    """One worker. For the thread of the supervisor's loop; the plain figures may be read in any thread.

    Parameters
    ----------
    number
        Its number, from 1, which its successor has too.
    generation
        The number of its generation.
    slot
        Its slot of the page, and the slot's number.
    here
        The supervisor's ends of its channels.
    """

    ended_at: float | None = None
    """When its process was found to have ended."""

    def __init__(
        self,
        number: int,
        generation: int,
        slot: tuple[Slot, int],
        here: Here,
    ) -> None:
        self.number, self.generation = number, generation
        self.slot, self.slot_number = slot
        link, control, deals, self.stacks, hand_overs = here
        self.link = RecordLink(link)
        self.deals = WorkerDeals(self.slot, deals, hand_overs)
        # The channel to its control server, unless it is lent; a list, for `pop` is one step.
        self._own_control = [control]

        self.has_lent_control = False
        """Whether that is with those who ask for operators."""

        self.state = State.FORKING
        self.pid, self.pidfd, self._own_pid = 0, -1, 0
        self.template: TemplateProcess | None = None
        """What was asked to make it."""

        self.began_at = time.monotonic()
        self.failure = ""
        """Why it cannot serve, if it has said so."""

        self.has_said_goodbye = False
        self.is_given_up = False
        """Whether it was killed at the end of a drain, which it did not come to."""

        self.left: list[Left] = []
        """What it has cut off at its end."""

        self._reasons: Sequence[str] = ()
        self.rests_until = 0.0
        """Until when nothing is dealt to it, for it has no descriptors."""

        self.is_aborted = False
        """Whether it hangs, and was sent SIGABRT."""

        self.must_end_at: float | None = None
        """When it must have ended; None: it may go on."""

        self.resumes = False
        """Whether its handlers can resume what other workers hand over, and hand over what they serve."""

        self.lanes: dict[int, int] = {}
        """What it was told to read of datagrams, a `Lane` by the position among its own; else its own."""

        self.turns_while_serving = True
        """Whether its accept loop turns while handlers are at work."""

        self.last_turns, self.last_turn_at = 0, time.monotonic()
        """How far its accept loop was at the last look, and when it had gone on."""

    def have_moved(self, moved: Mapping[int, int]) -> None:
        """Know its listeners by other positions; have it serve those no more of which nothing is said."""
        deals = self.deals
        deals.positions = [moved.get(each, GONE) for each in deals.positions]
        for own, position in enumerate(deals.positions):
            if position == GONE and not deals.close_channel(own):
                self.have_read(own, Lane.CLOSED)

    def have_read(self, own: int, lanes: Lane) -> None:
        """Have it read these sockets for datagrams of one of its listeners, unless it does."""
        if self.lanes.get(own, Lane.OWN) != lanes:
            self.lanes[own] = lanes
            self.link.say(Kind.LANES, own, b"%d" % lanes)

    # Its channels

    def take_control(self) -> socket.socket | None:
        """Return the channel to its control server, unless another one has it. Thread-safe."""
        if self.state not in {State.SERVING, State.DRAINING} or not self._own_control:
            return None
        self.has_lent_control = True
        return self._own_control.pop()

    def take_control_back(self, control: socket.socket | None) -> None:
        """Have the channel to its control server again; None: it has broken. Thread-safe."""
        if control is not None:
            self._own_control.append(control)
        self.has_lent_control = False

    def learn(self, about: Mapping[str, Any]) -> None:
        """Note what it is, as READY says."""
        self._reasons = tuple(map(str, about["reasons"]))
        self.turns_while_serving = (
            about.get("engine") != "sequential" and about.get("turns") is not False
        )
        self.resumes = bool(about.get("resumes"))
        self._own_pid = int(about.get("pid", 0))

    @property
    def pid_to_tell(self) -> int:
        """Its process, for those who ask: it may serve before its template has told; 0: not known yet."""
        return self.pid or self._own_pid

    def reason(self, position: int) -> str:
        """Return the reason at a position of those that it has listed."""
        return self._reasons[position] if position < len(self._reasons) else "handler_failed"

    def distrust(self, error: Exception) -> None:
        """Listen to it no more, and end it: what it has told cannot be read."""
        self.link.has_hung_up = True
        self.failure = f"it has told what cannot be read: {error}"
        self.end_at_once()

    def end_with_its_template(self) -> None:
        """End its process or, where there is none yet, the template that was asked for it."""
        if self.pid:
            self.end_at_once()
        elif self.template is not None:
            self.template.kill()

    def end_at_once(self) -> None:
        """Kill it, now or as soon as its process is known."""
        self.must_end_at = time.monotonic()
        self.signal(signal.SIGKILL)

    # An upgrade

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is on its way to it or from it that only this program knows of."""
        return not (self.deals.in_flight or self.link.has_rest)

    def as_plain(self) -> dict[str, Any]:
        """Return what another program that takes over needs of it, with its descriptors."""
        return {
            "number": self.number,
            "generation": self.generation,
            "slot": self.slot_number,
            "pid": self.pid,
            "state": self.state.value,
            "began_at": self.began_at,
            "must_end_at": self.must_end_at,
            "reasons": list(self._reasons),
            "turns_while_serving": self.turns_while_serving,
            "lanes": list(self.lanes.items()),
            "has_said_goodbye": self.has_said_goodbye,
            "left": self.left,
            "deals": self.deals.as_plain(),
            "link": self.link.fileno(),
            "control": self._own_control[0].fileno() if self._own_control else -1,
            "stacks": self.stacks,
            "hand_overs": self.deals.hand_overs.fileno(),
            "resumes": self.resumes,
            "pidfd": self.pidfd,
        }

    @classmethod
    def of_plain(
        cls, said: Mapping[str, Any], slot: Slot, held: Callable[[Any], HeldPlace | None]
    ) -> Self:
        """Make it of that, in the program that takes over; `held` counts a connection of an address anew."""
        deals = tuple(
            None if each < 0 else _taken_over(each, socket.SOCK_SEQPACKET)
            for each in said["deals"]["channels"]
        )
        control = said["control"]
        link = _taken_over(said["link"], socket.SOCK_STREAM)
        # Without its control channel, which has broken, it can be asked nothing more.
        pair = (
            _taken_over(control, socket.SOCK_STREAM)
            if control >= 0
            else unix_socket(socket.SOCK_STREAM)
        )
        hand_overs = _taken_over(said["hand_overs"], socket.SOCK_SEQPACKET)
        here = Here(link, pair, deals, said["stacks"], hand_overs)
        worker = cls(said["number"], said["generation"], (slot, said["slot"]), here)
        if control < 0:
            worker.take_control_away()
        worker.pid, worker.pidfd = said["pid"], said["pidfd"]
        worker.state = State(said["state"])
        worker.began_at, worker.must_end_at = said["began_at"], said["must_end_at"]
        worker.turns_while_serving = said["turns_while_serving"]
        worker.resumes = said["resumes"]
        worker.lanes = dict(said["lanes"])
        worker.has_said_goodbye = said["has_said_goodbye"]
        worker.left = [Left.of_plain(each) for each in said["left"]]
        worker._reasons = tuple(said["reasons"])
        worker.deals.go_on(said["deals"], held)
        return worker

    def take_control_away(self) -> None:
        """Close the channel to its control server."""
        while self._own_control:
            self._own_control.pop().close()

    @property
    def descriptors(self) -> list[int]:
        """All descriptors that this process has of it."""
        control = [each.fileno() for each in self._own_control]
        return [self.link.fileno(), *control, self.stacks, self.pidfd, *self.deals.descriptors]

    # Its process

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def close_copies(self) -> None:
        """Give back, in a forked copy of the process, what is the original's: clients too."""
        for dealt, _ in self.deals.take_unbegun():
            dealt.close()
        self.close()

    def close(self) -> None:
        """Give back all that this process has of it."""
        self.link.close()
        self.deals.close()
        self.take_control_away()
        os.close(self.stacks)
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _taken_over(descriptor: int, kind: socket.SocketKind) -> socket.socket:
    """Make a socket of a descriptor that the program before had in this process."""
    taken = unix_socket(kind, descriptor)
    taken.setblocking(False)
    taken.set_inheritable(False)
    return taken
