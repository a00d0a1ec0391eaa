"""A generation: a template, and the workers that were forked from it."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime.error_reports import words_of
from manyhands.supervisor.backoff import Restarts
from manyhands.supervisor.channels import Listening, channels_of
from manyhands.supervisor.polling import Polling
from manyhands.supervisor.template_process import Starter, TemplateProcess, close_all
from manyhands.supervisor.worker import State, Worker
from manyhands.workers.share import Share
from manyhands.workers.shared_page import SLOTS, SharedPage

FOR_STATUS = 0.05
"""Seconds that a template gets to tell how a worker has ended, which it alone can know."""


class Owner(Protocol):
    """What a generation needs of the fleet that it belongs to."""

    polling: Polling
    page: SharedPage
    listening: Sequence[Listening]
    options: Mapping[str, Any]
    adjusted: Mapping[str, Any]
    hub: str

    def free_slot(self) -> AbstractContextManager[int]:
        """Take a slot for a worker, which an exception within the context gives back."""

    def answer(
        self, template: TemplateProcess, said: Mapping[str, Any], descriptors: Sequence[int]
    ) -> None:
        """Have a template answered that asks about an address of the program's."""

    def note_ready(self, template: TemplateProcess) -> str:
        """Note that a template can be asked for workers; return why it must not, if so."""

    def hear(self, worker: Worker) -> bool:
        """Take what a worker has told."""

    def watch_hand_overs(self, worker: Worker) -> None:
        """Have what a worker hands back taken as it comes."""

    def note_files(self, files: Sequence[str], *, is_whole: bool) -> None:
        """Note where the files of the program are, as a template tells."""

    def has_handed_all(self, worker: Worker) -> bool:
        """Take what a worker that has ended has handed back; tell whether no more is to be waited for."""

    def bury(self, worker: Worker, status: int | None) -> None:
        """Note that the process of a worker has ended."""


class Generation:
    """One generation. For the thread of the supervisor's loop.

    Parameters
    ----------
    number
        Its number, from 1.
    count
        How many workers it is to have.
    owner
        The fleet.
    starter
        What starts its template.
    """

    def __init__(self, number: int, count: int, owner: Owner, starter: Starter) -> None:
        self.number = number
        self.count = count
        self._owner = owner
        self._starter = starter
        self.began_at = time.monotonic()
        self.workers: dict[int, Worker] = {}
        """The current ones by their numbers."""

        self.leaving: set[Worker] = set()
        """Those in whose place there is another one by now, or is to be none."""

        self.templates: list[TemplateProcess] = []
        """The one that forks; of a program with threads one for each worker that is still to come."""

        self.processes: set[TemplateProcess] = set()
        """All templates whose processes have not ended."""

        self.failure = ""
        """Why it cannot serve, while it is to come."""

        self.is_retired = False
        """Whether it makes no more workers."""

        self._restarts: dict[int, Restarts] = {}
        self._due: dict[int, float] = {}
        """When a worker is to be made, by its number."""

        self._template_restarts = Restarts()
        self._template_due: float | None = None
        self._statuses: dict[int, int] = {}
        self._ended: dict[Worker, float] = {}
        """Those whose processes have ended, and when to look at them again: their templates may tell how, and
        what they have handed back may wait for descriptors."""

        self._has_told_of_threads = False

    # What it is like

    @property
    def all_workers(self) -> list[Worker]:
        """All of its workers that have not ended."""
        return [*self.workers.values(), *self.leaving]

    @property
    def is_serving(self) -> bool:
        """Whether all of its workers serve."""
        serving = [each for each in self.workers.values() if each.state is State.SERVING]
        return len(serving) == self.count

    def restarts_of(self, number: int) -> int:
        """Return how often a worker of that number was made again."""
        restarts = self._restarts.get(number)
        return 0 if restarts is None else restarts.count

    # An upgrade

    def as_plain(self) -> dict[str, Any]:
        """Return what another program that takes this process over needs of it."""
        return {
            "number": self.number,
            "count": self.count,
            "is_retired": self.is_retired,
            "templates": [each.as_plain() for each in self.processes],
            "workers": [each.as_plain() for each in self.workers.values()],
            "leaving": [each.as_plain() for each in self.leaving],
        }

    def take_over(
        self, said: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Worker]
    ) -> None:
        """Have what another generation had, of this number, in the program before."""
        for plain in said["templates"]:
            template = TemplateProcess.of_plain(plain)
            self.processes.add(template)
            if template.fileno() >= 0:  # else it is to end
                self.templates.append(template)
            self._watch_template(template)
        for plain in said["workers"]:
            worker = make(plain)
            self.workers[worker.number] = worker
            self._watch_worker(worker)
        for plain in said["leaving"]:
            worker = make(plain)
            self.leaving.add(worker)
            self._watch_worker(worker)
        self.is_retired = bool(said["is_retired"])

    def _watch_worker(self, worker: Worker) -> None:
        self._hear(worker)
        self._take_pid(worker, worker.pid, worker.pidfd)

    def _hear(self, worker: Worker) -> None:
        self._owner.polling.watch(worker.link.fileno(), lambda _: self._owner.hear(worker))
        self._owner.watch_hand_overs(worker)

    # Its template

    def begin(self) -> None:
        """Start the template.

        Raises
        ------
        OSError
            When there is no process to be had.
        """
        template = TemplateProcess(self._starter)
        self.templates.append(template)
        self.processes.add(template)
        self._watch_template(template)

    def _watch_template(self, template: TemplateProcess) -> None:
        polling = self._owner.polling
        if template.fileno() >= 0:
            polling.watch(template.fileno(), lambda _: self._hear_template(template))
        polling.watch(template.pidfd, lambda _: self._bury_template(template))

    def _hear_template(self, template: TemplateProcess) -> None:
        for said, descriptors in template.hear():
            try:
                if "slot" in said:
                    self._take_word_of_worker(said, descriptors)
                else:
                    self._take_word_of_template(template, said, descriptors)
            except Exception as error:  # noqa: BLE001 - whatever makes no sense in what it has told
                close_all(descriptors)
                template.distrust(error)
        if template.is_garbled or template.has_hung_up():
            self._owner.polling.forget(template.fileno())

    def _take_word_of_template(
        self, template: TemplateProcess, said: Mapping[str, Any], descriptors: Sequence[int]
    ) -> None:
        match said["kind"]:
            case "ready":
                self._take_ready(template)
            case "bind" | "holds":
                self._owner.answer(template, said, descriptors)
            case "failed":
                self.failure = str(said["sentence"])
                self._owner.note_files(said.get("files", ()), is_whole=False)
            case "ended":
                self._take_status(int(said["pid"]), int(said["status"]))

    def _take_word_of_worker(self, said: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        if said["kind"] == "forked":
            self._take_forked(said, descriptors)
        else:
            self._take_not_forked(said)

    def _take_ready(self, template: TemplateProcess) -> None:
        self._owner.note_files(template.about.get("files", ()), is_whole=True)
        self.failure = self._owner.note_ready(template)
        if self.failure:
            self._drop(template)
            return
        if template.has_threads:
            if not self._has_told_of_threads and event_hub.has_subscribers:
                event_hub.emit(events.WorkersNotForked(int(template.about["threads"])))
            self._has_told_of_threads = True
            self._become(template)
            return
        for number in range(1, self.count + 1):
            if number not in self.workers:
                self._due.setdefault(number, 0.0)

    def _become(self, template: TemplateProcess) -> None:
        """Have the template of a program with threads be the next worker, and another one come."""
        missing = [number for number in range(1, self.count + 1) if number not in self.workers]
        if not missing:
            self._drop(template)
            return
        try:
            worker = self._ask(missing[0], template)
        except Exception as error:  # noqa: BLE001 - as in `look`
            self._note_unmade(error)
            self._drop(template)  # and when it has ended another one comes, after a pause
            return
        self._take_pid(worker, template.pid, template.pidfd)
        self.templates.remove(template)
        self.processes.discard(template)
        self._owner.polling.forget(template.fileno())
        template.release()
        if len(missing) > 1:
            self._template_due = 0.0

    def _bury_template(self, template: TemplateProcess) -> None:
        polling = self._owner.polling
        # What it has said last, such as why.
        self._hear_template(template)
        polling.forget(template.fileno())
        polling.forget(template.pidfd)
        status = template.wait()
        template.close()
        self.processes.discard(template)
        if template in self.templates:
            self.templates.remove(template)
        for worker in self.all_workers:
            if not worker.pid and worker.template is template:
                # What it has forked and not told of drains by itself, without a supervisor.
                worker.failure = f"its template has ended, with {_described(status)}"
                self._owner.bury(worker, None)
        if not template.is_ready and not self.failure:
            self.failure = template.failure or (
                f"the program ended before it served, with {_described(status)}"
            )
        if not self.is_retired:
            lived = time.monotonic() - template.began_at
            self._template_due = time.monotonic() + self._template_restarts.pause(lived)

    def _drop(self, template: TemplateProcess) -> None:
        if template in self.templates:
            self.templates.remove(template)
        self._owner.polling.forget(template.fileno())
        template.release()

    # Its workers

    def _ask(self, number: int, template: TemplateProcess) -> Worker:
        """Have the template make the worker of a number."""
        owner = self._owner
        with owner.free_slot() as slot_number, channels_of(owner.listening, number) as ends:
            here, there = ends
            slot = owner.page.slot(slot_number)
            slot.clear()
            worker = Worker(number, self.number, (slot, slot_number), here)
            worker.template = template
            template.ask_for(
                Share(
                    number,
                    self.number,
                    slot_number,
                    there.listeners,
                    {**owner.options, **owner.adjusted},
                    owner.hub,
                    self.count,
                    there.spares,
                    there.link,
                    there.control,
                    owner.page.descriptor,
                    there.stacks,
                    there.hand_overs,
                )
            )
        self.workers[number] = worker
        self._due.pop(number, None)
        self._hear(worker)
        return worker

    def _note_unmade(self, error: Exception) -> None:
        """Note why a worker could not be made."""
        self.failure = self.failure or f"no worker can be made: {words_of(error)}"

    def _take_forked(self, said: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        worker = self._awaited(said)
        if worker is not None and descriptors:
            self._take_pid(worker, int(said["pid"]), descriptors[0])
        elif worker is not None:
            # Its end could not be known. Without a supervisor it drains by itself.
            worker.failure = f"no descriptor is left for worker {worker.number}"
            self._owner.bury(worker, None)
        else:
            close_all(descriptors)

    def _awaited(self, said: Mapping[str, Any]) -> Worker | None:
        """Return the worker that a template tells of, whose process is not known yet."""
        return next(
            (
                each
                for each in self.all_workers
                if each.slot_number == said["slot"] and not each.pid
            ),
            None,
        )

    def _take_pid(self, worker: Worker, pid: int, pidfd: int) -> None:
        worker.pid, worker.pidfd = pid, pidfd
        if worker.state is State.FORKING:
            worker.state = State.STARTING
        self._owner.polling.forget(pidfd)
        self._owner.polling.watch(pidfd, lambda _: self._note_end(worker))

    def _take_not_forked(self, said: Mapping[str, Any]) -> None:
        worker = self._awaited(said)
        if worker is not None:
            worker.failure = (
                f"no process could be had for worker {worker.number}: {said['sentence']}"
            )
            self._owner.bury(worker, None)

    def _take_status(self, pid: int, status: int) -> None:
        self._statuses[pid] = status
        while len(self._statuses) > SLOTS:
            del self._statuses[next(iter(self._statuses))]
        for worker in [each for each in self._ended if each.pid == pid]:
            self._bury_ended(worker)

    def _note_end(self, worker: Worker) -> None:
        self._owner.polling.forget(worker.pidfd)
        # Its template tells of the status, if it is there, at about the same time.
        for template in list(self.templates):
            self._hear_template(template)
        status = self._status_of(worker.pid)
        self._ended[worker] = time.monotonic() + FOR_STATUS
        if status is not None:
            self._take_status(worker.pid, status)
        elif self._ready_template() is None:
            self._bury_ended(worker)

    def _bury_ended(self, worker: Worker) -> None:
        if self._owner.has_handed_all(worker):
            del self._ended[worker]
            self._owner.bury(worker, self._status_of(worker.pid))
        else:
            self._ended[worker] = time.monotonic() + FOR_STATUS

    def _status_of(self, pid: int) -> int | None:
        """Return the exit status of a worker that has ended; None where it is not known."""
        try:
            # That of a program with threads was no fork of a template.
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return self._statuses.pop(pid, None)
        return os.waitstatus_to_exitcode(status) if found else None

    def replace(self, worker: Worker, now: float) -> None:
        """Have another worker in the place of one that has ended, unless it was to leave."""
        self.leaving.discard(worker)
        if self.workers.get(worker.number) is not worker:
            return
        del self.workers[worker.number]
        if not self.is_retired and worker.number <= self.count:
            restarts = self._restarts.setdefault(worker.number, Restarts())
            self._due[worker.number] = now + restarts.pause(now - worker.began_at)
            self._have_template(self._due[worker.number])

    def succeed(self, worker: Worker) -> None:
        """Have another worker come in the place of one that serves on until then."""
        del self.workers[worker.number]
        self.leaving.add(worker)
        self._due[worker.number] = 0.0
        self._have_template(0.0)

    def _have_template(self, due: float) -> None:
        """Have a template by then: that of a program with threads has become a worker."""
        if not self.templates and self._template_due is None:
            self._template_due = due

    def put_back(self, worker: Worker) -> None:
        """Have a worker that was to leave stay, since no successor has come."""
        self.leaving.discard(worker)
        self.workers[worker.number] = worker
        self._due.pop(worker.number, None)

    def have(self, count: int) -> None:
        """Have so many workers: more are made, and of fewer the last ones are to leave."""
        self.count = count
        for number in [number for number in self.workers if number > count]:
            self.leaving.add(self.workers.pop(number))
        for number in range(1, count + 1):
            if number not in self.workers:
                self._due.setdefault(number, 0.0)
        if self._due:
            self._have_template(0.0)

    def retire(self) -> None:
        """Make no more workers."""
        self.is_retired = True
        self._due.clear()
        self._template_due = None
        for template in list(self.templates):
            self._drop(template)

    # Its times

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until something is due; None for never."""
        due = [*self._due.values()] if self._ready_template() else []
        if self._template_due is not None:
            due.append(self._template_due)
        due += self._ended.values()
        return max(0.0, min(due) - now) if due else None

    def look(self, now: float) -> None:
        """Make what is due."""
        for worker in [each for each, due in self._ended.items() if due <= now]:
            self._bury_ended(worker)
        if self._template_due is not None and self._template_due <= now:
            self._template_due = None
            self._begin_again(now)
        template = self._ready_template()
        if template is None:
            return
        for number in [number for number, due in self._due.items() if due <= now]:
            try:
                self._ask(number, template)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not to be tried without a pause
                # The template ends, or no descriptor is left: the next try is another one's.
                self._note_unmade(error)
                self._due[number] = now + self._restarts.setdefault(number, Restarts()).pause(0.0)

    def end_late_templates(self, earliest: float) -> None:
        """End the templates that were begun before, and are not ready."""
        for template in self.templates:
            if not template.is_ready and template.began_at < earliest:
                template.kill()

    def _ready_template(self) -> TemplateProcess | None:
        return next((each for each in self.templates if each.is_ready), None)

    def _begin_again(self, now: float) -> None:
        try:
            self.begin()
        except OSError as error:
            self.failure = self.failure or f"no process can be started: {error.strerror or error}"
            self._template_due = now + self._template_restarts.pause(0.0)


def _described(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"the status {status}"
