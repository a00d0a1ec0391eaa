"""The half of a `manyhands.Server` that serves its sockets, from `listen` to the end of a drain.

It knows nothing of signals and SIGHUP, and of systemd only how often its watchdog wants the loop to turn: the
other half is `process`.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

from manyhands.config.options import SERVER_OPTIONS
from manyhands.connections.connection import current_connection
from manyhands.connections.registry import Registry
from manyhands.engines import Engine
from manyhands.model.addresses import Address
from manyhands.server.listener import Handler
from manyhands.server.listener_group import ListenerGroup
from manyhands.server.option_attributes import OptionValues
from manyhands.server.run import Run
from manyhands.server.systemd import poll_interval
from manyhands.server.tls import ServerTLS
from manyhands.serving.admission_control import AdmissionControl
from manyhands.serving.controls import ServerControls
from manyhands.serving.drain import CutOff
from manyhands.serving.request_hooks import refuse_own_handler
from manyhands.serving.serve_loops import process_watch

if TYPE_CHECKING:
    import ssl
    from os import PathLike


class Reloadable(Protocol):
    """What a signal may ask to read its files again."""

    def reload_soon(self) -> None:
        """Reload at the next turn of the accept loop."""


ControlOpening = Callable[[], Callable[[], object] | None]
"""Has operators ask about the server, on control sockets; returns what ends that, if there are any."""

POLL_INTERVAL = 0.5
"""Seconds between two looks at the workers where none has reported; stopping does not wait for it."""


class ServedSockets:
    """Serves a handler on listeners of its own, one run after the other.

    Thread-safety is that of `manyhands.Server`, which it is the greater part of.

    Parameters
    ----------
    handler
        What serves each connection.
    addresses
        Where to listen.
    options
        The server's options.
    tls
        What TLS connections are made with, if there are any.
    books
        The registry and the admission control of a supervisor, or of a worker; None makes the usual ones.
    """

    is_supervisor = False
    """Whether workers serve, which take a while to come up."""

    is_worker = False
    """Whether this process is a worker, whose supervisor says what it is to do."""

    def __init__(
        self,
        handler: Handler,
        addresses: Sequence[Address],
        options: OptionValues,
        tls: ServerTLS | None,
        books: tuple[Registry, AdmissionControl] | None = None,
    ) -> None:
        self._handler = handler
        self._addresses = addresses
        self.options = options
        self.tls = tls
        self.group = ListenerGroup(books)
        """The listeners, and what they share."""

        self.group.core.options.take_from(options)
        self.chores: list[Callable[[], object]] = [] if tls is None else [tls.look]
        """What the accept loop does after each of its turns."""

        self.drain_chores: list[Callable[[], object]] = []
        """What is done after each turn of a drain."""

        self.current_run = Run(self)
        """The run that is under way, or the next one."""

        self.open_control: ControlOpening | None = None
        """What opens the control sockets, if the server is to have any."""

        self._leave_control: Callable[[], object] | None = None
        self.end_process: Callable[[], object] | None = None
        """What ends a process that is there for more than the server, in the place of a drain."""

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""
        settings = SimpleNamespace(**self.options, daemon_threads=True)
        return self.group.core.engines.of(settings, self.options["engine"])

    @property
    def addresses(self) -> list[Address]:
        """Where they listen, with the ports that they got; empty when they do not listen."""
        return self.group.addresses

    @property
    def tls_context(self) -> "ssl.SSLContext | None":
        """What TLS connections are made with now; None without certificates."""
        return None if self.tls is None else self.tls.context

    @property
    def certificates_expire(self) -> dict[str, float]:
        """When each certificate expires, in seconds since 1970, by its file."""
        validities = {} if self.tls is None else self.tls.validities
        return {file: validity.not_after for file, validity in validities.items()}

    @property
    def drain_timeout(self) -> float:
        """Seconds that connections get to come to their end."""
        seconds: float = self.options["drain_timeout"]
        return seconds

    @property
    def poll_interval(self) -> float:
        """Seconds between two turns of the accept loop when nothing happens."""
        return poll_interval(POLL_INTERVAL)

    @property
    def is_stopping(self) -> bool:
        """Whether the run has been asked to stop."""
        return self.current_run.is_stopping

    def listen(self) -> None:
        """Bind every address, unless that was done before. For what it raises, see `Server.listen`."""
        self.group.listen(self._addresses, self._handler, self.options, self, self.engine)
        self.begin_control()

    def begin_control(self) -> None:
        """Have operators ask about the server, unless that was done before."""
        if self.open_control is None or self._leave_control is not None:
            return
        try:
            self._leave_control = self.open_control()
        except BaseException:
            self.group.close()
            raise

    def enter_control(
        self,
        controls: ServerControls,
        control: "str | PathLike[str] | None",
        control_read: "str | PathLike[str] | None",
    ) -> Callable[[], object] | None:
        """Have operators ask about the server at these places; return what ends that, if anything does."""
        if control is None and control_read is None:
            return process_watch.begin(controls)
        # Not at the top: few servers of a program's own have one.
        from manyhands.control.sockets import control_sockets  # noqa: PLC0415

        return control_sockets.enter(controls, control, control_read)

    def start(self) -> None:
        """Serve in a thread of their own. For what it raises, see `Server.start`."""
        self.refuse_own_handler()
        run = self.current_run
        if run.thread is not None and run.is_stopping and run.runner is None:
            run.finish()
            run = self.current_run
        if run.is_under_way:
            raise RuntimeError("the server is serving already: stop it before it is started again")
        self.listen()
        self.engine.on_child = self.close_copies
        try:
            run.start_thread()
        except BaseException:
            self.group.close()
            self._close_control()
            raise

    def stop(self) -> None:
        """Ask for the end of the run; return at once."""
        self.current_run.stop()

    def stop_here(self) -> None:
        """Ask for that in this process alone: a signal has come."""
        self.stop()

    def hurry(self) -> None:
        """Cut short the drain that is, or will be, under way."""
        self.current_run.is_in_a_hurry = True

    def drain(self, timeout: float | None = None) -> list[CutOff]:
        """Stop and drain. For what it raises, see `Server.drain`."""
        if timeout is not None:
            SERVER_OPTIONS["drain_timeout"].check(timeout)
        self.refuse_own_handler()
        run = self.current_run
        if run.runner == threading.get_ident():
            raise RuntimeError("this thread runs the server: call stop(), and `run` drains")
        if timeout is not None:
            run.drain_in(timeout)
        run.stop()
        return run.finish() if run.runner is None else run.outcome()

    def close(self) -> list[CutOff]:
        """Stop, drain, and give everything back. For what it raises, see `Server.close`."""
        self.refuse_own_handler()
        run = self.current_run
        if run.runner is not None:
            raise RuntimeError(
                "the server is being served: call stop(), and it closes when it has drained"
            )
        return run.finish()

    def begin_next_run(self) -> None:
        """Be as new: a run has ended."""
        self._close_control()
        self.group.is_suspended = False
        self.current_run = Run(self)

    def _close_control(self) -> None:
        leave, self._leave_control = self._leave_control, None
        if leave is not None:
            leave()

    def set_suspended(self, value: bool) -> None:
        """Accept no client, or accept clients again."""
        self.group.set_suspended(value)
        self.notice()

    def reload(self) -> bool:
        """Read the certificates again; return False when they cannot be used."""
        return self.tls is None or self.tls.reload()

    def reload_then(self, done: Callable[[str | None], object]) -> None:
        """Reload; tell `done` the outcome, now or later: a sentence why it failed, or None."""
        done(None if self.reload() else "the certificates cannot be used")

    @property
    def reloadable(self) -> "Reloadable | None":
        """What SIGHUP reloads, if there is anything."""
        return self.tls if self.tls is not None and self.tls.can_reload else None

    def can_be_upgraded(self) -> None:
        """Note that the process is the server's."""

    def upgrade_soon(self) -> None:
        """Have another program take this process over, where that can be done."""

    has_upgrades = False
    """Whether that can be done."""

    def reloading_on_change(self) -> AbstractContextManager[object]:
        """Reload during a context when a file of the program changes: a supervisor does."""
        return nullcontext()

    def ask_workers_for_stacks(self) -> bool:
        """Have the workers tell where their handlers stand; return False where there are none."""
        return False

    def answer_for_stacks(self, tell: Callable[[], object]) -> None:
        """Have `tell` called whenever the supervisor asks where handlers stand, if there is one."""

    def announce(self, announce: Callable[[], object]) -> None:
        """Have it told that every address is bound."""
        announce()

    def tell_end(self, cut_off: Iterable[CutOff]) -> None:
        """Note that a run has come to its end, and what was cut off."""

    def close_all_copies(self) -> None:
        """Close a forked copy's copies of all listeners, those of datagrams too."""
        for listener in self.group.listeners:
            listener.socket.close()

    def elsewhere_cut_off(self) -> list[CutOff]:
        """Return the connections that workers have cut off."""
        return []

    def notice(self) -> None:
        """Have the accept loop look at its listeners again."""
        self.current_run.wake()

    def close_copies(self) -> None:
        """Close a child's copies of the listeners."""
        self.group.close_copies()

    def refuse_own_handler(self) -> None:
        """Raise `RuntimeError` when a handler calls, be it one that an earlier run has left behind."""
        served = current_connection()
        if served is not None and getattr(served.server, "owner", None) is self:
            refuse_own_handler(served.server)
