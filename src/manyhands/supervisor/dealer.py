"""Deals connections to workers, and counts what becomes of them."""

import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from manyhands.admission.admission import HeldPlace, Place
from manyhands.connections.counted_registry import CountedRegistry
from manyhands.model.connection_states import Reason
from manyhands.supervisor.polling import SETTLE_INTERVAL
from manyhands.supervisor.worker import State, Worker
from manyhands.supervisor.worker_deals import MOST_IN_FLIGHT, NO_PLACE, Dealt
from manyhands.workers.records import Kind, Record

REST = 0.5
"""Seconds for which nothing is dealt to a worker that has no descriptors left."""

EVEN = 16
"""Connections that a worker may have more than another one that is about to begin some, and a fiftieth of its
own besides. One that begins sooner would have more of those that come at once, and they may last for days."""

STALLED = 0.2
"""Seconds after which a worker that begins none is not waited for."""

_WORDS = {reason.value: reason for reason in Reason}


class Dealer:
    """Deals connections to the workers that serve. For the thread of the accept loop.

    Parameters
    ----------
    books
        Where connections are counted.
    take
        Takes the records of a worker that are not about connections.
    """

    def __init__(self, books: CountedRegistry, take: Callable[[Worker, Record], object]) -> None:
        self._books = books
        self._take_other = take
        self.targets: Sequence[Worker] = ()
        """The workers that connections are dealt to."""

        self._elders: Sequence[Worker] = ()
        """Those to which one that is resumed goes back where none of the others can resume it."""

        self._again: deque[tuple[Dealt, HeldPlace | None]] = deque()
        """What is to be dealt again: its workers have ended, or had no room or no descriptor for it."""

        self.on_told_of_ends: Callable[[], object] = _leave_alone
        """Called when a worker tells that there are ends in its ring."""

        self.on_room: Callable[[], object] = _leave_alone
        """Called when a connection could be dealt again."""

        self._handing: dict[Worker, None] = {}
        """Those that hand back more than the others take just now, in their order."""

        self._seen_begun: tuple[Worker, int] | None = None
        self._seen_at = 0.0
        """How many a worker that is waited for had begun at the last look, and since when."""

        self.on_handed: Callable[[Worker], object] = _leave_alone
        """Called when all that such a worker had handed back is taken."""

    def deal_to(self, targets: Iterable[Worker], elders: Iterable[Worker] = ()) -> None:
        """Deal to these from now on; to elders what they have handed over, and these cannot resume."""
        self.targets = tuple(targets)
        self._elders = tuple(each for each in elders if each.resumes)
        self._note_room()

    def choose(
        self, most: int = MOST_IN_FLIGHT, among: Sequence[Worker] | None = None
    ) -> Worker | None:
        """Return the worker with the fewest connections that takes another one; None where none does.

        None, too, where one with far fewer is about to take some. `most` is how many may be on their way.
        `among` are those that come into question; None: all that connections are dealt to.
        """
        best: Worker | None = None
        busy: Worker | None = None
        fewest = 0
        for worker in self.targets if among is None else among:
            deals = worker.deals
            count = deals.open
            # Of several that have as few, the one that has had fewer: each gets its share of short ones too.
            if (
                best is None
                or count < fewest
                or (count == fewest and deals.count < best.deals.count)
            ):
                if deals.in_flight >= most and deals.settle() >= most:
                    if busy is None or count < busy.deals.open:
                        busy = worker
                elif not (worker.rests_until and _rests(worker)):
                    best, fewest = worker, count
        if best is None or busy is None:
            return best
        has = busy.deals.open
        if best.deals.open - has <= EVEN + has // 50:
            return best
        return best if self._is_stalled(busy) else None

    def _is_stalled(self, worker: Worker) -> bool:
        """Tell whether a worker has begun none for a while."""
        now, begun = time.monotonic(), (worker, worker.deals.begun)
        if begun != self._seen_begun:
            self._seen_begun, self._seen_at = begun, now
        return now - self._seen_at > STALLED

    def has_room(self, most: int = MOST_IN_FLIGHT) -> bool:
        """Tell whether a connection could be dealt now; if not, `on_room` is called once it could."""
        if not self._again and self.choose(most) is not None:
            return True
        for worker in self.targets:
            # First asked for, then looked again: what is taken just now is told, or seen.
            worker.slot.is_awaited = True
        return not self._again and self.choose(most) is not None

    def deal(self, worker: Worker, dealt: Dealt, held: HeldPlace | None) -> None:
        """Deal a connection to a worker; if it takes none, to another one, now or later."""
        if not worker.deals.deal(dealt, held):
            worker.rests_until = time.monotonic() + SETTLE_INTERVAL
            self._again.append((dealt, held))
            self.deal_again()

    def deal_again(self) -> None:
        """Deal what has come back, as far as workers take it."""
        while self._again:
            dealt, held = self._again[0]
            among = self.targets if dealt.kept < 0 else self._those_that_resume()
            if self.targets and not among:
                # Code that does not know where its handler was is of no use.
                self._refuse(*self._again.popleft())
                continue
            worker = self.choose(among=among)
            if worker is None:
                return
            if not worker.deals.takes(dealt.listener):
                # Its address was closed meanwhile, or an upgrade has left it out.
                self._refuse(*self._again.popleft())
            elif worker.deals.deal(dealt, held):
                self._again.popleft()
            else:
                worker.rests_until = time.monotonic() + SETTLE_INTERVAL

    def _those_that_resume(self) -> Sequence[Worker]:
        """Return those that can go on with a connection which was handed over."""
        serving = [each for each in self.targets if each.resumes]
        if serving or not self.targets:
            return serving
        return [each for each in self._elders if each.state is State.SERVING]

    def _note_room(self) -> None:
        self.deal_again()
        for worker in tuple(self._handing):
            if self.take_handed(worker):
                del self._handing[worker]
                self.on_handed(worker)
        if not self._again:
            self.on_room()

    def take_handed(self, worker: Worker) -> bool:
        """Deal to others what a worker hands back; return False when more has come than they take just now.

        What is left waits in the channel, and in that worker: here it would take two descriptors each. A
        worker that hands back what is no connection is ended.
        """
        # Half of the room is for those that call just now.
        while self.has_room(MOST_IN_FLIGHT // 2):
            try:
                dealt = worker.deals.receive_handed()
            except OSError:
                break  # until descriptors are free
            except ValueError as error:
                self._handing.pop(worker, None)
                worker.distrust(error)
                return False
            if dealt is None:
                return True
            self._take_from(worker, dealt)
            self.deal_again()
        self._handing[worker] = None
        return False

    @property
    def has_undealt(self) -> bool:
        """Whether something waits to be dealt again."""
        return bool(self._again)

    def close_copies(self) -> None:
        """Close, in a forked copy of the process, what is the original's."""
        while self._again:
            self._again.popleft()[0].close()

    def refuse_undealt(self) -> None:
        """Close what no worker has begun, and none will."""
        while self._again:
            self._refuse(*self._again.popleft())

    def close_listener(self, worker: Worker, listener: int) -> None:
        """Refuse what a worker has not begun of a listener that it has closed; deal it nothing more of it."""
        worker.deals.settle()
        worker.deals.close_listener(listener)
        for dealt, held in worker.deals.take_unbegun(listener):
            self._refuse(dealt, held)
        self._note_room()

    def _refuse(self, dealt: Dealt, held: HeldPlace | None) -> None:
        dealt.close()
        # One that was to be resumed was served before.
        self._end(held, Reason.REFUSED_STOPPING if dealt.kept < 0 else Reason.CUT_OFF)

    def _end(self, held: HeldPlace | None, reason: Reason) -> None:
        if held is not None:
            held.leave()
        self._books.end(reason)

    # What workers tell

    def hear(self, worker: Worker) -> bool:
        """Take what a worker has told; tell whether it was of ends alone.

        Raises
        ------
        Exception
            When what it has told cannot be read.
        """
        only_ends = True
        ended: list[tuple[int, int]] = []
        try:
            for record in worker.link.hear():
                if record.kind == Kind.ENDED:
                    ended.append((record.place, record.reason))
                else:
                    only_ends = only_ends and record.kind == Kind.ENDS
                    self._take(worker, record)
        finally:
            self._note_ended(worker, ended)
        if worker.deals.in_flight:
            worker.deals.settle()
        return only_ends

    def take_ended(self, worker: Worker) -> int:
        """Count the connections of a worker that have ended by its ring; return how many have."""
        ended = worker.slot.ended.take()
        if ended:
            self._note_ended(worker, ended)
            if worker.deals.in_flight:
                worker.deals.settle()
        return len(ended)

    def _note_ended(self, worker: Worker, ended: Iterable[tuple[int, int]]) -> None:
        """Count connections as closed, by their places and the positions of the reasons."""
        take_out, counts = worker.deals.take_out, dict[int, int]()
        for place, position in ended:
            held = take_out(place)
            # Whatever a worker tells, an end is counted once.
            if held is not NO_PLACE:
                counts[position] = counts.get(position, 0) + 1
                if held is not None:
                    held.leave()
        for position, count in counts.items():
            reason = _WORDS.get(worker.reason(position), Reason.HANDLER_FAILED)
            self._books.end(reason, count)

    def _take(self, worker: Worker, record: Record) -> None:
        match record.kind:
            case Kind.RETURNED:
                self._take_returned(worker, record.place)
            case Kind.ROOM:
                worker.slot.is_awaited = False
                worker.deals.settle()
                self._note_room()
            case Kind.ENDS:
                self.on_told_of_ends()
            case Kind.IDENTIFY:
                self._identify(worker, record)
            case _:
                self._take_other(worker, record)

    def _take_returned(self, worker: Worker, place: int) -> None:
        worker.rests_until = time.monotonic() + REST
        found = worker.deals.take_back(place)
        if found is not None:
            self._again.append(found)
            self.deal_again()
            return
        held = worker.deals.take_out(place)
        if held is not NO_PLACE:
            self._end(held, Reason.REFUSED_OUT_OF_DESCRIPTORS)

    @staticmethod
    def _identify(worker: Worker, record: Record) -> None:
        held = worker.deals.places.get(record.place)
        refusal = None
        if isinstance(held, Place):
            # Not by `marshal`, which trusts what it reads: a program may have spoilt its worker's memory.
            address = json.loads(record.body)
            address = tuple(address) if isinstance(address, list) else ""
            refusal = held.identify(address, time.monotonic())
        said = b"" if refusal is None else refusal.value.encode()
        worker.link.say(Kind.IDENTIFIED, record.place, said)

    def take_over_from(self, worker: Worker) -> tuple[list[int], int]:
        """Count what a worker had begun that has ended, and have the rest dealt again.

        Returns
        -------
        list of int, int
            The connections that ended with it, and how many are dealt again.
        """
        with contextlib.suppress(Exception):  # whatever makes no sense: it has ended anyway
            # What it has said last.
            self.hear(worker)
        self.take_ended(worker)
        self.take_rest_handed(worker)
        worker.deals.settle(is_final=True)
        unbegun, lost = worker.deals.take_unbegun(), worker.deals.take_all()
        # One that has come to its end as it should has cut off what it has left.
        was_cut_off = worker.has_said_goodbye or worker.is_given_up
        reason = Reason.CUT_OFF if was_cut_off else Reason.WORKER_DIED
        for held in lost.values():
            self._end(held, reason)
        self._again += unbegun
        self._elders = [each for each in self._elders if each is not worker]
        self.deal_to((each for each in self.targets if each is not worker), self._elders)
        return list(lost), len(unbegun)

    def take_rest_handed(self, worker: Worker) -> bool:
        """Have all dealt again that a worker which has ended has handed back.

        False: for the rest there are no descriptors just now.
        """
        self._handing.pop(worker, None)
        try:
            while (dealt := worker.deals.receive_handed()) is not None:
                self._take_from(worker, dealt)
        except OSError:
            return False
        except ValueError:
            pass  # whatever makes no sense: it has ended anyway
        return True

    def _take_from(self, worker: Worker, dealt: Dealt) -> None:
        held = worker.deals.take_out(dealt.place)
        if held is NO_PLACE:
            dealt.close()  # it has told of its end meanwhile, or made it up
        elif dealt.descriptor < 0:
            self._end(held, Reason.CUT_OFF)
        else:
            self._again.append((dealt, held))

    # Its times

    def seconds_left(self, workers: Iterable[Worker]) -> float | None:
        """Return the seconds until it is to look; None for never."""
        is_busy = self._again or self._handing or any(worker.deals.in_flight for worker in workers)
        return SETTLE_INTERVAL if is_busy else None

    def look(self, workers: Iterable[Worker]) -> None:
        """Let go of what has begun, and deal again what can be dealt by now."""
        for worker in workers:
            if worker.deals.in_flight:
                worker.deals.settle()
        if self._again or self._handing:
            self._note_room()


def _rests(worker: Worker) -> bool:
    if worker.rests_until > time.monotonic():
        return True
    worker.rests_until = 0.0
    return False


def _leave_alone(*_: object) -> None:
    """Do nothing."""
