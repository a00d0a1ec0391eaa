"""All workers of a supervisor: which generation serves, which one comes, which ones leave."""

import contextlib
import errno
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from manyhands.admission.admission import HeldPlace
from manyhands.connections.counted_registry import CountedRegistry
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.sockets import has_hung_up
from manyhands.supervisor.channels import Listening
from manyhands.supervisor.dealer import Dealer
from manyhands.supervisor.deaths import how_ended, tell_of_cut_off, tell_of_death
from manyhands.supervisor.ended_watch import EndedWatch
from manyhands.supervisor.fleet_terms import MOST_LEFT, Hooks, Left, Terms, check_count
from manyhands.supervisor.generation import Generation
from manyhands.supervisor.generations import Generations
from manyhands.supervisor.hub_keeper import HubKeeper
from manyhands.supervisor.lanes import Lanes
from manyhands.supervisor.polling import Polling
from manyhands.supervisor.replacing import Done, Replacing
from manyhands.supervisor.template_process import Starter, TemplateProcess, close_all
from manyhands.supervisor.watchdog import LEAVING, Watchdog
from manyhands.supervisor.worker import State, Worker
from manyhands.supervisor.worker_deals import GONE
from manyhands.workers.hand_over import SENT_WITHIN
from manyhands.workers.records import Kind, Record
from manyhands.workers.shared_page import SLOTS, SharedPage

if TYPE_CHECKING:
    from manyhands.supervisor.orphans import Orphans
    from manyhands.supervisor.upgrading import Upgrading


class Fleet(Hooks):
    """The workers of a supervisor.

    For the thread of the accept loop, but for `ask_to_reload`, which is for any.

    Parameters
    ----------
    terms
        Returns what the options say now.
    starter
        What starts the template of a generation, by its number.
    books
        Where connections are counted.
    """

    def __init__(
        self, terms: Callable[[], Terms], starter: Callable[[int], Starter], books: CountedRegistry
    ) -> None:
        super().__init__()
        self._terms = terms
        self.dealer = Dealer(books, self._take)
        """What deals connections to the workers that serve."""

        self.ended_watch = EndedWatch(self, books)
        """What looks for connections that have ended."""

        self.dealer.on_told_of_ends = self.ended_watch.note_told
        self.dealer.on_handed = self.watch_hand_overs
        self.polling = Polling(self._seconds_left, self.look, self.ended_watch.next_look)
        self.generations = Generations(self, terms, starter)
        self.replacing = Replacing(self)
        self._lanes = Lanes(self)
        self.page: SharedPage
        self.listening: Sequence[Listening] = ()
        self.options: Mapping[str, Any] = {}
        """Options that workers are given besides."""

        self.adjusted: Mapping[str, Any] = {}
        """The options that operators have changed."""

        self.hub = ""
        """The address of the hub, by which workers tell each other things."""

        self._hub: HubKeeper
        self._slots: set[int] = set()
        self._watchdog = Watchdog()
        self._errands: deque[Callable[[], object]] = deque()
        """What other threads have asked for."""

        self._takes_none = False
        self._left: list[Left] = []
        """What workers have cut off at the end of the server, but for those that are there still."""

        self.upgrading: Upgrading | None = None
        """What brings an upgrade about; None of a server that cannot have one."""

        self.orphans: Orphans | None = None
        """What waits for processes without parents, where they come to this one."""

        self.is_stopping = False

    # Generations

    def begin(self) -> None:
        """Have a generation come: the first one, or that of a program that has taken over."""
        self.generations.begin()

    def listen(self, listening: Sequence[Listening]) -> None:
        """Know what there is to serve, before any worker is made.

        Raises
        ------
        Mistake
            When there are more addresses than workers can have.
        """
        self._know(listening)
        self.page = SharedPage()
        self._hub = HubKeeper(self.polling)
        self.hub = self._hub.address

    def _know(self, listening: Sequence[Listening]) -> None:
        check_count(len(listening))
        self.listening = listening

    def ask_to_reload(self, done: Done) -> None:
        """Have a new generation take the place of the one that serves. Thread-safe.

        `done` is called in the thread of the accept loop.
        """
        if self.is_stopping:
            done("the server is stopping")
            return
        self.generations.ask_to_reload(done)
        self.wake()

    def ask(self, errand: Callable[[], object]) -> None:
        """Have something done in the thread of the accept loop. Thread-safe."""
        self._errands.append(errand)
        self.wake()

    def scale(self, count: int, done: Done) -> None:
        """Have so many workers, in later generations too."""
        if any(each.lanes for each in self.listening):
            # Each worker reads a socket of its own, which would be left without one, or shared.
            done("the number of workers that receive datagrams is settled: start the server anew")
            return
        self.generations.count = count
        self.replacing.scale(count, done)

    def upgrade(self, done: Done) -> None:
        """Have another program take this process over; tell `done` whether it comes to that. Thread-safe."""

        def begin() -> None:
            if self.upgrading is None:
                done(
                    "only a server that `run` serves can be upgraded: this one is a part of its program"
                )
            else:
                self.upgrading.begin(done)

        self.ask(begin)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is on its way between this process and the workers."""
        for worker in self.workers:
            if worker.deals.in_flight:
                worker.deals.settle()
        return not self.dealer.has_undealt and all(each.is_at_rest for each in self.workers)

    @property
    def in_flight(self) -> int:
        """How many connections were dealt that workers have not begun, as of when that was asked."""
        return sum(worker.deals.in_flight for worker in self.workers)

    @property
    def is_changing(self) -> bool:
        """Whether a generation, or a worker, is to come just now."""
        generations = self.generations
        # One that is to drain at once may have no process yet.
        return (
            generations.coming is not None
            or generations.is_asked
            or any(
                not each.pid or each.state in {State.FORKING, State.STARTING}
                for each in self.workers
            )
        )

    def recall_controls(self, *, value: bool) -> None:
        """Have the channels back over which workers are asked for operators; or no more."""
        self.on_recall(value)

    @property
    def has_its_controls(self) -> bool:
        """Whether all of them are here."""
        return not any(each.has_lent_control for each in self.workers)

    def take_none(self, *, value: bool) -> None:
        """Deal nothing, or deal again."""
        self._takes_none = value
        if value:
            self.on_dealt(())
            self.dealer.deal_to(())
        else:
            self.deal_anew()

    def as_plain(self) -> dict[str, Any]:
        """Return what another program that takes this process over needs of it, with its descriptors."""
        generations = self.generations
        serving = generations.serving
        return {
            "last_number": generations.last_number,
            "count": generations.count,
            "serving": None if serving is None else serving.number,
            "generations": [each.as_plain() for each in generations.all],
            "adjusted": self.adjusted,
            "page": self.page.descriptor,
            "hub": self._hub.as_plain(),
        }

    @property
    def descriptors(self) -> list[int]:
        """All descriptors that another program needs."""
        of_workers = [each for worker in self.workers for each in worker.descriptors]
        templates = [each for generation in self.generations.all for each in generation.processes]
        of_templates = [each for template in templates for each in template.descriptors]
        return [*of_workers, *of_templates, self.page.descriptor, *self._hub.descriptors]

    def take_over(
        self,
        said: Mapping[str, Any],
        listening: Sequence[Listening],
        moved: Mapping[int, int],
        held: Callable[[Any], HeldPlace | None],
    ) -> None:
        """Have what the fleet of the program before had; a new generation comes with `begin`.

        `moved` has the positions of the listeners that go on, by those of before; `held` counts a connection
        of an address.
        """
        self._know(listening)
        # One page for all programs, for workers of any may be there still.
        self.page = SharedPage(int(said["page"]))
        self._hub = HubKeeper.of_plain(said["hub"], self.polling)
        self.hub = self._hub.address
        generations = self.generations
        self.adjusted = said["adjusted"]
        generations.last_number, generations.count = said["last_number"], said["count"]

        def make(plain: Mapping[str, Any]) -> Worker:
            self._slots.add(plain["slot"])
            worker = Worker.of_plain(plain, self.page.slot(plain["slot"]), held)
            worker.have_moved(moved)
            return worker

        for plain in said["generations"]:
            generation = generations.made(int(plain["number"]), plain["count"])
            generation.take_over(plain, make)
            if generation.number == said["serving"]:
                generations.serving = generation
        # Those of before serve until the new ones do.
        self.deal_anew()

    # Dealing

    @property
    def serving(self) -> Generation | None:
        """The generation that connections are dealt to."""
        return self.generations.serving

    def deal_anew(self) -> None:
        """Deal to those that serve now."""
        if self.serving is not None and not self.is_stopping and not self._takes_none:
            targets = self.generations.serving_workers
            # After an upgrade, those of before know nothing of an address that is new.
            every = range(len(self.listening))
            self.on_dealt([at for at in every if all(each.deals.takes(at) for each in targets)])
            elders = [each for each in self.generations.elders if each.state is State.SERVING]
            self.dealer.deal_to(targets, elders)

    def note_change(self) -> None:
        """Note that another generation serves."""
        self.replacing.cancel("a reload has replaced all workers meanwhile")
        self.deal_anew()

    def have_handed_over(self, worker: Worker) -> None:
        """Have a worker hand over to those that serve what they can resume; nothing, if they cannot."""
        others = [each for each in self.generations.serving_workers if each is not worker]
        if worker.resumes and not self.is_stopping:
            can_resume = any(each.resumes for each in others)
            worker.link.say(Kind.HAND_OVER if can_resume else Kind.KEEP)

    def watch_hand_overs(self, worker: Worker) -> None:
        """Have what a worker hands back taken as it comes."""
        self.polling.watch(worker.deals.hand_overs.fileno(), lambda _: self._take_handed(worker))

    def _take_handed(self, worker: Worker) -> None:
        if not self.dealer.take_handed(worker) or has_hung_up(worker.deals.hand_overs.fileno()):
            self.polling.forget(worker.deals.hand_overs.fileno())

    def have_drained(self, worker: Worker, seconds: float | None) -> None:
        """Have a worker drain, in so many seconds; None: as the options say."""
        self.have_handed_over(worker)
        self._note_draining(worker, seconds)
        worker.link.say(Kind.DRAIN, body=b"" if seconds is None else str(seconds).encode())

    def _note_draining(self, worker: Worker, seconds: float | None) -> None:
        worker.state = State.DRAINING
        given = self._terms().drain_timeout if seconds is None else seconds
        must_end_at = time.monotonic() + given + LEAVING
        worker.must_end_at = min(must_end_at, worker.must_end_at or must_end_at)

    def ask_for_stacks(self) -> None:
        """Have all workers tell where their handlers stand."""
        for worker in self.workers:
            worker.link.say(Kind.STACKS)

    def note_files(self, files: Sequence[str], *, is_whole: bool) -> None:
        """Note where the files of the program are, as a template tells."""
        if self.on_files is not None:
            self.on_files(files, is_whole=is_whole)

    # What templates ask

    def answer(
        self, template: TemplateProcess, said: Mapping[str, Any], descriptors: Sequence[int]
    ) -> None:
        """Answer a template that asks about an address of the program's: to bind it, or who holds it."""
        try:
            if said["kind"] == "bind" and descriptors:
                self.on_bind(template, said, descriptors[0])
            else:
                template.answer({"holds": self.holds(said["address"])})
        except OSError as error:
            told = {"errno": error.errno or errno.EINVAL, "sentence": str(error.strerror or error)}
            with contextlib.suppress(OSError):
                template.answer(told)
        finally:
            close_all(descriptors)

    def note_ready(self, template: TemplateProcess) -> str:
        """Note that a template can be asked for workers; return why it must not, if so."""
        return self.on_ready(template)

    # What workers tell

    def hear(self, worker: Worker) -> bool:
        """Take what a worker has told, and send what waits for it.

        Returns
        -------
        bool
            Whether nothing is to be done about it: it was of ends alone, which nothing waits for.
        """
        if worker.link.is_behind:
            worker.link.flush()
        only_ends = False
        try:
            only_ends = self.dealer.hear(worker)
        except Exception as error:  # noqa: BLE001 - whatever makes no sense in what it has told
            worker.distrust(error)
        if worker.link.has_hung_up:
            # Its process ends, as its pidfd tells. One that only closed this is of no use.
            self.polling.forget(worker.link.fileno())
            worker.must_end_at = worker.must_end_at or time.monotonic() + LEAVING
        else:
            self.polling.watch_for_writing(worker.link.fileno(), too=worker.link.is_behind)
        return only_ends and not self._is_old(worker) and not worker.slot.is_awaited

    def _is_old(self, worker: Worker) -> bool:
        """Tell whether a worker is of an old generation: one that has no connection any more is to leave."""
        return self.serving is None or worker.generation != self.serving.number

    def take_ended(self, worker: Worker) -> int:
        """Count what has ended of a worker's connections; return how many have."""
        count = self.dealer.take_ended(worker)
        if count and self._is_old(worker):
            self.polling.look_now()
        return count

    def _take(self, worker: Worker, record: Record) -> None:
        match record.kind:
            case Kind.READY:
                worker.learn(json.loads(record.body))
                self._note_ready(worker)
            case Kind.LEFT if len(worker.left) < MOST_LEFT:
                worker.left.append(Left.of_plain(json.loads(record.body)))
            case Kind.FAILED:
                worker.failure = record.body.decode(errors="replace")
            case Kind.GONE:
                worker.has_said_goodbye = True
            case Kind.LEAVES:
                self._let_leave(worker)
            case Kind.STOP:
                self.on_stop()
            case Kind.CLOSED if (position := worker.deals.position_of(record.place)) != GONE:
                self.dealer.close_listener(worker, position)
                self.on_closed(position)

    def _note_ready(self, worker: Worker) -> None:
        if worker.state is State.DRAINING:
            return
        worker.state = State.SERVING
        worker.last_turn_at = time.monotonic()
        if self.serving is not None and worker.generation == self.serving.number:
            self.replacing.note_ready(worker)
            self.deal_anew()

    def _let_leave(self, worker: Worker) -> None:
        """Have another worker in the place of one that drains by itself."""
        if worker.state is not State.SERVING:
            return
        self._note_draining(worker, None)
        generation = self.generations.of(worker)
        if generation.workers.get(worker.number) is worker and not generation.is_retired:
            generation.succeed(worker)
        self.deal_anew()

    def close_listener(self, position: int) -> None:
        """Have nothing more served of the listener at a position, but for what was dealt."""
        self.listening = [
            each._replace(is_closed=True, lanes=()) if at == position else each
            for at, each in enumerate(self.listening)
        ]
        for worker in self.workers:
            worker.deals.close_listener(position)

    # The ends of workers

    def has_handed_all(self, worker: Worker) -> bool:
        """Have dealt again what a worker that has ended has handed back; tell whether that was all.

        True, too, where the rest has waited for descriptors for as long as it would in a worker.
        """
        now = time.monotonic()
        worker.ended_at = worker.ended_at or now
        has_all = self.dealer.take_rest_handed(worker)
        self.dealer.deal_again()
        return has_all or self.is_stopping or now - worker.ended_at >= SENT_WITHIN

    def bury(self, worker: Worker, status: int | None) -> None:
        """Note that the process of a worker has ended: what it has begun ends, the rest is dealt again."""
        now, was_leaving = time.monotonic(), worker.state is State.DRAINING
        had_served = worker.state is State.SERVING
        lost, dealt_again = self.dealer.take_over_from(worker)
        worker.state = State.ENDED
        self.polling.forget(worker.link.fileno())
        self.polling.forget(worker.deals.hand_overs.fileno())
        worker.close()
        self._slots.discard(worker.slot_number)
        if worker.is_given_up:
            doing = f"worker {worker.number} did not come to its end"
            worker.left += [Left(place, "unknown", now - worker.began_at, doing) for place in lost]
        if self.is_stopping:
            self._left += worker.left
        else:
            tell_of_cut_off(worker)
        generation = self.generations.of(worker)
        if generation is self.generations.coming and not had_served:
            # One sentence for all that came to nothing.
            generation.failure = (
                generation.failure
                or worker.failure
                or (f"worker {worker.number} ended before it served{how_ended(status)}")
            )
        elif not (worker.has_said_goodbye or was_leaving or self.is_stopping):
            tell_of_death(worker, status, len(lost), dealt_again)
        self.replacing.note_end(worker)
        generation.replace(worker, now)
        if self.is_stopping and not self.workers:
            self.dealer.refuse_undealt()

    @contextlib.contextmanager
    def free_slot(self) -> Iterator[int]:
        """Take a slot for a worker, which an exception within the context gives back.

        Raises
        ------
        OSError
            When there are as many workers as there may be.
        """
        number = next((each for each in range(SLOTS) if each not in self._slots), None)
        if number is None:
            raise OSError(errno.EAGAIN, f"there are {SLOTS} workers already")
        self._slots.add(number)
        try:
            yield number
        except BaseException:
            self._slots.discard(number)
            raise

    # Its times

    def _seconds_left(self) -> float | None:
        now, workers = time.monotonic(), self.workers
        due = [self.dealer.seconds_left(workers), self.generations.seconds_left(now)]
        if workers:
            due.append(self._watchdog.seconds_left(now))
        if self.hub:
            due.append(self._hub.seconds_left(now))
        if self.upgrading is not None:
            due.append(self.upgrading.seconds_left(now))
        if self.orphans is not None:
            due.append(self.orphans.seconds_left(now))
        if self._errands:
            due.append(0.0)
        return min((each for each in due if each is not None), default=None)

    @property
    def workers(self) -> list[Worker]:
        """All workers that have not ended."""
        return self.generations.workers

    def look(self) -> None:
        """Do what is due. What fails keeps nothing else from it."""
        for duty in self._duties(time.monotonic()):
            try:
                duty()
            except Exception as error:  # noqa: BLE001 - the next look may do
                print_uncaught(error)

    def _duties(self, now: float) -> Iterator[Callable[[], object]]:
        yield partial(self.dealer.look, self.workers)
        if self.hub:
            yield partial(self._hub.look, now)
        if self.upgrading is not None:
            yield partial(self.upgrading.look, now)
        if self.orphans is not None:
            yield partial(self.orphans.look, self._processes(), now)
        while self._errands:
            yield self._errands.popleft()
        yield partial(self.generations.look, now)
        yield partial(self.generations.end_those_that_do_not_come, now)
        yield self._look_after_those_behind
        yield partial(self._watchdog.look, self.workers, self._terms().worker_timeout, now)
        yield self._lanes.look

    def _processes(self) -> set[int]:
        """Return the processes that are looked after here."""
        templates = [
            each.pid for generation in self.generations.all for each in generation.processes
        ]
        others = [self._hub.pid] if self.hub else []
        if self.upgrading is not None:
            others.append(self.upgrading.pid)
        return {*templates, *others, *(each.pid for each in self.workers)}

    def _look_after_those_behind(self) -> None:
        for worker in self.workers:
            if worker.link.is_deaf:
                worker.failure = "it does not read what it is told"
                worker.end_at_once()
            elif worker.link.is_behind and not worker.link.has_hung_up:
                self.polling.watch_for_writing(worker.link.fileno(), too=True)

    # The end

    @property
    def left(self) -> list[Left]:
        """What workers have cut off at the end of the server; what a reload cut off before was told then."""
        return [*self._left, *(each for worker in self.workers for each in worker.left)]

    def stop(self, seconds: float) -> None:
        """Have all workers drain in so many seconds, and make no more."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self.generations.refuse_reloads("the server is stopping")
        self.replacing.cancel("the server is stopping")
        for generation in self.generations.all:
            self.generations.drain(generation, seconds)
        self.dealer.deal_to(())
        self.dealer.refuse_undealt()

    def hurry(self) -> None:
        """Cut the drain of all workers short."""
        for worker in self.workers:
            worker.link.say(Kind.HURRY)

    @property
    def has_ended(self) -> bool:
        """Whether there is no worker any more."""
        return not self.workers

    def kill(self) -> None:
        """End all processes, and wait for that."""
        self.is_stopping = True
        self.generations.kill()
        if self.upgrading is not None:
            self.upgrading.end_look("the server is stopping")
        deadline = time.monotonic() + 5.0
        while not self._is_over and time.monotonic() < deadline:
            self.polling.select(0.1)

    @property
    def _is_over(self) -> bool:
        """Whether no process is there of those that serve the program, or look at it."""
        is_looking = self.upgrading is not None and self.upgrading.pid
        return self.generations.are_over and not is_looking

    def close_copies(self) -> None:
        """Give back, in a forked copy of the process, what is the original's."""
        for worker in self.workers:
            worker.close_copies()
        self.dealer.close_copies()
        for generation in self.generations.all:
            for template in generation.processes:
                template.close()
        self.generations.all.clear()
        if self.hub:
            self._hub.close_copies()
        self.polling.end()

    def close(self) -> None:
        """Give everything back, at the end of a run."""
        self.kill()
        self.dealer.refuse_undealt()
        if self.hub:
            self._hub.close()
            self.page.close()
        self.polling.end()
