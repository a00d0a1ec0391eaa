"""Which generation of workers serves, which one comes in its place, and which ones leave."""

import signal
from collections import deque
from collections.abc import Callable
from typing import Protocol

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime.error_reports import print_uncaught
from manyhands.supervisor.fleet_terms import Terms
from manyhands.supervisor.generation import Generation
from manyhands.supervisor.generation import Owner as OwnerOfGeneration
from manyhands.supervisor.replacing import Done
from manyhands.supervisor.template_process import Starter
from manyhands.supervisor.worker import State, Worker


class Owner(OwnerOfGeneration, Protocol):
    """What the generations need of the fleet."""

    def have_handed_over(self, worker: Worker) -> None:
        """Have a worker hand over to those that serve what they can resume; nothing, if they cannot."""

    def have_drained(self, worker: Worker, seconds: float | None) -> None:
        """Have a worker drain, in so many seconds; None: as the options say."""

    def note_change(self) -> None:
        """Note that another generation serves."""


class Generations:
    """The generations of a fleet. For the thread of the supervisor's loop, but for `ask_to_reload`.

    Parameters
    ----------
    owner
        The fleet.
    terms
        Returns what the options say now.
    starter
        What starts the template of a generation, by its number.
    """

    def __init__(
        self, owner: Owner, terms: Callable[[], Terms], starter: Callable[[int], Starter]
    ) -> None:
        self._owner = owner
        self._terms = terms
        self._starter = starter
        self.all: list[Generation] = []
        """All whose processes have not all ended, the oldest first."""

        self.serving: Generation | None = None
        """The one that connections are dealt to."""

        self.coming: Generation | None = None
        """The one that is to take its place."""

        self.last_number = 0
        self.count: int | None = None
        """How many workers a generation has, where an operator has said so."""

        self._asked: deque[Done] = deque()
        self._waiting: list[Done] = []

    @property
    def workers(self) -> list[Worker]:
        """All workers that have not ended."""
        return [worker for each in list(self.all) for worker in each.all_workers]

    @property
    def serving_workers(self) -> list[Worker]:
        """Those of the serving generation that serve: one whose successor is still to come, too."""
        workers = [] if self.serving is None else self.serving.all_workers
        return [each for each in workers if each.state is State.SERVING]

    @property
    def elders(self) -> list[Worker]:
        """Those of older generations that serve, or drain."""
        return [
            worker
            for each in self.all
            if each not in {self.serving, self.coming}
            for worker in each.all_workers
            if worker.state in {State.SERVING, State.DRAINING}
        ]

    def of(self, worker: Worker) -> Generation:
        """Return the generation of a worker."""
        return next(each for each in self.all if each.number == worker.generation)

    def made(self, number: int, count: int) -> Generation:
        """Return a generation of a number that is among them from now on."""
        generation = Generation(number, count, self._owner, self._starter(number))
        self.all.append(generation)
        return generation

    def begin(self) -> None:
        """Have another generation come."""
        self.last_number += 1
        lanes = max((len(each.lanes) for each in self._owner.listening), default=0)
        # Each socket for datagrams has a reader: the kernel deals senders out to all that there are.
        count = max(self.count or self._terms().workers, lanes)
        generation = self.made(self.last_number, count)
        self.coming = generation
        try:
            generation.begin()
        except OSError as error:
            generation.failure = f"no process can be started: {error.strerror or error}"

    # Reloads

    def ask_to_reload(self, done: Done) -> None:
        """Have a new generation take the place of the one that serves; `done` is told. Thread-safe."""
        self._asked.append(done)

    @property
    def is_asked(self) -> bool:
        """Whether a reload was asked for that has not begun."""
        return bool(self._asked)

    def refuse_reloads(self, sentence: str) -> None:
        """Have no other generation come."""
        while self._asked:
            self._asked.popleft()(sentence)
        if self.coming is not None:
            coming, self.coming = self.coming, None
            coming.failure = sentence
            self._tell_outcome(sentence)

    def look(self, now: float) -> None:
        """Go on with reloads, and with what each generation has due."""
        if self._asked and self.coming is None:
            # What was asked for while the last one was under way is one: of all that is on disk by now.
            self._waiting = list(self._asked)
            self._asked.clear()
            self.begin()
        for generation in list(self.all):
            generation.look(now)
        self._look_at_coming(now)
        self._let_idle_ones_go()
        self._drop_ended()

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until something is due; None for never."""
        due = [generation.seconds_left(now) for generation in self.all]
        if self.coming is not None:
            due.append(max(0.0, self.coming.began_at + self._terms().start_timeout - now))
        elif self._asked:
            due.append(0.0)
        return min((each for each in due if each is not None), default=None)

    def _look_at_coming(self, now: float) -> None:
        coming = self.coming
        if coming is None:
            return
        if coming.is_serving:
            self._let_serve(coming)
        elif not coming.failure and now - coming.began_at > (most := self._terms().start_timeout):
            coming.failure = f"its workers did not come up within start_timeout ({most:g} s)"
        if coming.failure and coming is self.coming and self.serving is not None:
            self._give_up(coming)

    def _let_serve(self, coming: Generation) -> None:
        before, self.serving, self.coming = self.serving, coming, None
        self._owner.note_change()
        if before is not None:
            before.retire()
            if event_hub.has_subscribers:
                event_hub.emit(events.Reloaded(coming.number, coming.count))
            if not self._terms().stays:
                self.drain(before)
            # Those of generations before that one too: what these resume, or keep, is another matter now.
            for worker in self.elders:
                self._owner.have_handed_over(worker)
            self._bound()
        self._tell_outcome(None)

    def _give_up(self, coming: Generation) -> None:
        sentence, self.coming = coming.failure, None
        coming.retire()
        for template in coming.processes:
            template.kill()  # it may hang where the program is imported
        for worker in coming.all_workers:
            worker.signal(signal.SIGKILL)
        if event_hub.has_subscribers:
            event_hub.emit(events.NotReloaded(coming.number, sentence))
        self._tell_outcome(sentence)

    def _tell_outcome(self, sentence: str | None) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            try:
                done(sentence)
            except Exception as error:  # noqa: BLE001 - of one that has asked; the others are told too
                print_uncaught(error)

    # Those that leave

    def drain(self, generation: Generation, seconds: float | None = None) -> None:
        """Have the workers of a generation drain, in so many seconds; None: as the options say."""
        generation.retire()
        for worker in generation.all_workers:
            # One that drains, and spreads that, for the server goes on: with a time it does not any more.
            if worker.state is not State.DRAINING or seconds is not None:
                self._owner.have_drained(worker, seconds)

    def _bound(self) -> None:
        """Drain the oldest ones where there are more than there may be."""
        old = [each for each in self.all if each is not self.serving and each.all_workers]
        for generation in old[: max(0, len(old) + 1 - self._terms().most_generations)]:
            self.drain(generation)

    def _let_idle_ones_go(self) -> None:
        """Have workers of old generations end that have no connection any more."""
        for generation in self.all:
            if generation is not self.serving and generation.is_retired:
                for worker in generation.all_workers:
                    if worker.state is State.SERVING and not worker.deals.open:
                        self._owner.have_drained(worker, None)

    def _drop_ended(self) -> None:
        for generation in list(self.all):
            if generation is self.serving or generation is self.coming:
                continue
            if not generation.all_workers and not generation.processes:
                self.all.remove(generation)

    def end_those_that_do_not_come(self, now: float) -> None:
        """End what has not come up in its time, and hangs perhaps: another one is made after a pause."""
        most = self._terms().start_timeout
        sentence = f"it did not come up within start_timeout ({most:g} s)"
        for generation in self.all:
            if generation is self.coming:
                continue  # which is given up as a whole
            generation.end_late_templates(now - most)
            for worker in generation.all_workers:
                is_coming = worker.state in {State.FORKING, State.STARTING}
                if is_coming and now - worker.began_at > most:
                    worker.failure = worker.failure or sentence
                    worker.end_with_its_template()

    # The end

    @property
    def are_over(self) -> bool:
        """Whether no process of any is there."""
        return not any(each.all_workers or each.processes for each in self.all)

    def kill(self) -> None:
        """End all processes."""
        for generation in self.all:
            generation.retire()
            for template in list(generation.processes):
                template.kill()
        for worker in self.workers:
            worker.is_given_up = True
            worker.signal(signal.SIGKILL)
