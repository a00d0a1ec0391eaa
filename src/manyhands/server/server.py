"""`manyhands.Server`: several listeners on one engine, with signals and drain."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Never, Self, Unpack

from manyhands.config.option_types import Seconds, Whole
from manyhands.config.options import checked
from manyhands.connections.registry import Registry
from manyhands.connections.rooms import Member
from manyhands.engines import Engine, load
from manyhands.exchange.exchange import Exchange
from manyhands.model.addresses import Address, address_of
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.blocking_calls import blocking
from manyhands.runtime.wakeup import WakeUp
from manyhands.server.controls import OfServer
from manyhands.server.handler_check import check_handler, described
from manyhands.server.listener import Handler, Listener
from manyhands.server.one_supervisor import refuse_under_run
from manyhands.server.option_attributes import OptionValues, has_option_attributes, settled
from manyhands.server.other_names import (
    ServerClass,
    refuse_keywords,
    refuse_other_order,
    says_the_right_word,
)
from manyhands.server.process import ServerProcess, answering_operators, listen_keeping_signals
from manyhands.server.run import Announce, Run
from manyhands.server.served_sockets import ServedSockets
from manyhands.server.tls import server_tls
from manyhands.serving.controls import Controllable
from manyhands.serving.drain import CutOff
from manyhands.serving.info import PAGE, ServerInfo, info_of
from manyhands.serving.request_hooks import refuse_forked_handler
from manyhands.serving.served_connection import connection_meant
from manyhands.workers.role import is_template

if TYPE_CHECKING:
    import socket
    import ssl

    from manyhands.config.keywords import ServerAttributes, ServerOptions
    from manyhands.supervisor.template_process import Starter
    from manyhands.workers.share import Share
else:
    # What editors and type checkers know of the attributes, which the decorator makes.
    ServerAttributes = object

_COUNT = Whole(at_least=0)
_TIME = Seconds(may_be_zero=True)


@says_the_right_word
@has_option_attributes(attrgetter("_options"))
class Server(Controllable, ServerAttributes, metaclass=ServerClass):
    """Serves one handler on any number of addresses, until it is told to stop; then drains.

    Parameters
    ----------
    handler
        A handler class, or anything callable with ``(request, client_address, server)``.
    *addresses
        Where to listen: ``tcp://127.0.0.1:8008``, ``tls://[::]:8443``, ``udp://[::1]:53``,
        ``unix:///run/echo.sock``, ``unix-datagram:///run/log.sock``, ``fd://3``, ``systemd://web``; or a
        pair ``("127.0.0.1", 8008)``, which is TCP. A host of ``""`` or ``[::]`` takes IPv4 and IPv6.
    ssl_context
        The context that ``tls://`` connections are made with, in the place of ``certfile`` and what
        belongs to it; the program keeps it up to date.
    **options
        ``engine="threads"``, ``idle_timeout=60`` and so on: see the list below, and ``docs/options.md``. They
        are attributes too. Those that are adjustable may be set at any time, and hold from the next
        connection on; deadlines hold for the connections that are open as well, half a second later at the
        most. The others are settled here.

    Raises
    ------
    Mistake
        When an address, an option, a certificate or the handler does not fit.

    Notes
    -----
    `stop`, `hurry` and `is_stopping` may be used in any thread, in handlers (forked ones too) and in signal
    handlers; `reload`, `suspend`, `resume`, `wait_for_connections`, `info`, `drain`, `close` and the
    options in any thread; all else belongs to the thread that made the server. A handler's `server` is the
    listener that its client called: `self.server.shutdown()` is `stop`, and `self.server.server_close()`
    closes that one address.
    """

    def __init__(
        self,
        handler: Handler,
        *addresses: str | tuple[str, int] | Address,
        ssl_context: "ssl.SSLContext | None" = None,
        **options: "Unpack[ServerOptions]",
    ) -> None:
        refuse_keywords(dict(options))
        refuse_other_order(handler, addresses)
        self._handler = handler
        self._addresses = [address_of(each) for each in addresses]
        self._options = OptionValues(
            {**checked(options), "ssl_context": ssl_context},
            lambda name: refuse_forked_handler(f"set {name} of the server", *self.listeners),
            self._note_change,
        )
        check_handler(handler, self._addresses)
        self._tls = server_tls(self._addresses, options, ssl_context)
        self._is_purpose = False
        """Whether `run` was called: the server is what its process is for."""

        self._reloads_on_change = False

        self._sockets = self._new_sockets()
        self._sockets.open_control = self._open_control

    def _new_sockets(self) -> ServedSockets:
        handler, addresses, options, tls = (
            self._handler,
            self._addresses,
            self._options,
            self._tls,
        )
        if not options.workers or is_template():
            return ServedSockets(handler, addresses, options, tls)
        # Not at the top: few servers have workers.
        from manyhands.server import worker_roles  # noqa: PLC0415

        kind = worker_roles.supervised_by(handler)
        return kind(handler, addresses, options, tls, self._template_starter)

    def _template_starter(self, generation: int) -> "Starter":
        from manyhands.server import worker_roles  # noqa: PLC0415 - as above

        return worker_roles.starter(
            self._handler, generation, self._serve_as_copy, is_purpose=self._is_purpose
        )

    def _take_part(self) -> None:
        """Be the template, where this process is one: then only the workers return that it forks."""
        refuse_under_run(has_workers=bool(self._options.workers), is_purpose=self._is_purpose)
        if self._options.workers and is_template():
            from manyhands.server import worker_roles  # noqa: PLC0415 - as above

            self._load_for_workers()
            self._become_worker(
                worker_roles.share_of_template(
                    self._handler, self._addresses, tells_files=self._reloads_on_change
                )
            )

    def _load_for_workers(self) -> None:
        """Import before the forks what each worker would import after its own: so they share its memory."""
        import manyhands.dropin.starttls  # noqa: PLC0415 - as above
        import manyhands.server.worker_sockets  # noqa: PLC0415 - as above

        if self.control is not None or self.control_read is not None:
            import manyhands.control.sockets  # noqa: F401, PLC0415 - as above
        load(self._options["engine"])

    def _become_worker(self, share: "Share") -> None:
        from manyhands.server.worker_sockets import WorkerSockets  # noqa: PLC0415 - as above

        self._sockets = WorkerSockets(self._handler, self._options, self._tls, share)
        self._sockets.open_control = self._open_control

    def _serve_as_copy(self, channel: "socket.socket") -> None:
        """Be the template, in a forked copy of the supervisor's process, and its workers; never return."""
        from manyhands.server import worker_roles  # noqa: PLC0415 - as above

        self._sockets.close_all_copies()
        self._load_for_workers()
        self._become_worker(
            worker_roles.share_of_copy(self._handler, channel, tells_files=self._reloads_on_change)
        )
        worker_roles.end_copy_after(self.run)

    # What it is made of

    @property
    def addresses(self) -> list[Address]:
        """Where the server listens, with the ports that it got; empty when it does not listen."""
        return self._sockets.addresses

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The drop-in servers that it consists of, one for each endpoint; empty when it does not listen."""
        return tuple(self._sockets.group.listeners)

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""
        return self._sockets.engine

    @engine.setter
    def engine(self, engine: Never) -> Never:
        raise settled("engine", engine)

    @property
    def connections(self) -> Registry:
        """The open connections of all listeners, a live view, and why the others ended. Thread-safe."""
        return self._sockets.group.core.registry

    @property
    def controls(self) -> OfServer:
        """What operators may ask of it, and have it do: for tools that look at servers."""
        return OfServer(self._sockets, self._handler)

    @property
    def tls_context(self) -> "ssl.SSLContext | None":
        """What TLS connections are made with now; None of a server without certificates. Thread-safe."""
        return self._sockets.tls_context

    @property
    def is_stopping(self) -> bool:
        """Whether the server has been asked to stop, and has not come to its end yet."""
        return self._sockets.is_stopping

    @property
    def is_worker(self) -> bool:
        """Whether this process is one of the server's workers. Handlers may ask."""
        return self._sockets.is_worker

    @property
    def seconds_to_drain(self) -> float:
        """Seconds that connections get at the end: as `drain` was told, or `drain_timeout`; 0 in a hurry."""
        return self._sockets.current_run.time_to_drain

    def __repr__(self) -> str:
        where = ", ".join(map(str, self.addresses)) or "no address yet"
        run = self._sockets.current_run
        serving = "serving" if run.is_under_way else "not serving"
        state = "stopping" if run.is_under_way and run.is_stopping else serving
        return f"<Server of {described(self._handler)} on {where}: {state}, {len(self.connections)} open>"

    def info(self, *, first: int = PAGE, after: int = 0, totals: bool = False) -> ServerInfo:
        """Return a snapshot of the server as plain data. Thread-safe.

        Parameters
        ----------
        first, after
            Which of the open connections are in it: so many, of those whose numbers are higher than `after`.
        totals
            Whether bytes and durations are in it, added up, of a server that has metrics. The kernel is asked
            about each open connection then, which takes 2 ms for a thousand.

        Returns
        -------
        ServerInfo
            A dataclass of numbers and texts; `dataclasses.asdict` makes JSON of it. Nothing of it is live.

        Raises
        ------
        Mistake
            When `first` or `after` is no number of connections.
        """
        _check("first", first, _COUNT)
        _check("after", after, _COUNT)
        core = self._sockets.group.core
        return info_of(
            core,
            self.listeners,
            self._options,
            certificates=self._sockets.certificates_expire,
            first=first,
            after=after,
            totals=totals,
        )

    # Serving these sockets

    def listen(self) -> None:
        """Bind every address. Called by `run` and `start`, unless it was called before.

        Raises
        ------
        Mistake
            When a host has no address, or what should be a given socket cannot be served; of a server with
            workers, when another one listens in this process.
        OSError
            When an address cannot be had; the text says what holds it. Then none is held.
        """
        self._take_part()
        self._sockets.listen()

    def start(self) -> None:
        """Serve in a thread of the server's own, until `stop`. For embedding.

        A server that was told to stop, and not closed yet, is closed first, which waits for its
        connections (see `close`); then it starts anew.

        Raises
        ------
        OSError
            See `listen`.
        RuntimeError
            When the server is serving already, when a handler of it calls this, or when no thread can be had.
        """
        refuse_under_run(has_workers=bool(self._options.workers))
        self._sockets.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def reload(self) -> bool:
        """Read the certificates again; open connections stay, new ones are shown the new certificates.

        Returns
        -------
        bool
            False when they cannot be used: an event says why, and the old ones are kept.
        """
        return self._sockets.reload()

    def suspend(self) -> None:
        """Accept no client until `resume`: the kernel's backlog holds new ones, and open connections go on.

        Thread-safe, from handlers too, but for forked ones (`RuntimeError`). Before the server listens, it
        has it begin that way. A handler's `self.server.suspend()` concerns the one address that was called.
        """
        self._sockets.set_suspended(True)

    def resume(self) -> None:
        """Accept connections again, on all addresses, after `suspend`. Thread-safe."""
        self._sockets.set_suspended(False)

    def wait_for_connections(
        self,
        n: int | None = None,
        timeout: float | None = None,
        *,
        at_least: int | None = None,
        at_most: int | None = None,
    ) -> bool:
        """Wait until `n` connections are open, or between `at_least` and `at_most`, however shortly.

        Thread-safe, from handlers too; on fibers the others run meanwhile.

        Parameters
        ----------
        n : int, optional
            Exactly so many.
        timeout : float, optional
            Seconds; None: without end.
        at_least, at_most : int, optional
            In the place of `n`: so many or more, so many or fewer.

        Returns
        -------
        bool
            False when that has not come about in `timeout` seconds.

        Raises
        ------
        Mistake
            When it is not said how many to wait for, or in two ways, or what is said is no number, or can
            never come about.
        """
        if (n is None) == (at_least is None and at_most is None):
            raise Mistake("wait_for_connections takes n, or at_least and at_most")
        for name, count in (("n", n), ("at_least", at_least), ("at_most", at_most)):
            _check(name, count, _COUNT)
        _check("timeout", timeout, _TIME)
        least, most = (at_least, at_most) if n is None else (n, n)
        if least is not None and most is not None and least > most:
            raise Mistake(f"at_least {least} is more than at_most {most}: that never comes about")
        return blocking(self.connections.wait_for, least, most, timeout)

    def tell(self, room: str, data: Any, but: Any = None) -> int:
        """Send a piece of data to all members of a room, whole. Never waits for one of them.

        As `tell` of a handler's `self.server` does: see `manyhands.BaseServer.tell`.

        Returns
        -------
        int
            How many members are told.

        Raises
        ------
        Mistake
            When it is text, or longer than the option `outbox` allows.
        """
        core = self._sockets.group.core
        return core.rooms.tell(room, data, core.options.outbox_terms(self), connection_meant(but))

    @property
    def exchange(self) -> Exchange:
        """What the server's handlers, and the program, tell each other by subjects. Thread-safe."""
        return self._sockets.group.core.exchange

    def members(self, room: str) -> list[Member]:
        """Return the members of a room, in the order in which they have joined. Thread-safe."""
        return self._sockets.group.core.rooms.members(room)

    def _open_control(self) -> Callable[[], object] | None:
        return self._sockets.enter_control(self.controls, self.control, self.control_read)

    def _note_change(self) -> None:
        self._sockets.group.core.options.changed()
        self._sockets.notice()

    # Being the process

    def run(self, announce: Announce = lambda: None) -> list[CutOff]:
        """Serve until SIGINT or SIGTERM, or until `stop`; then drain. A second signal cuts the drain short.

        For programs: call it in the main thread. In another one it leaves signals alone, which Python
        handles in the main thread only, and serves until `stop`. On a server that `start` or a ``with``
        has started, it waits for that end and drains.

        Parameters
        ----------
        announce
            Called when every address is bound and a signal would end the server gracefully: a program that
            waits for a word of this one before it sends a signal should get it from here.

        Returns
        -------
        list of CutOff
            The connections that were cut off.

        Raises
        ------
        Mistake
            When `announce` cannot be called.
        OSError
            See `listen`.
        RuntimeError
            When another `run` is under way, or a handler of the server calls this.
        Exception
            Whatever ended the accept loop, such as an exception that `handle_error` raised; or `announce`.
        """
        if not callable(announce):
            raise Mistake(
                f"run() takes what is called when the server listens, not {announce!r}: an address is the "
                "constructor's"
            )
        self._is_purpose = True
        self._take_part()
        sockets = self._sockets
        sockets.refuse_own_handler()
        run = sockets.current_run
        if run.runner is not None:
            raise RuntimeError(
                "the server is running already: `run` can be called again when it has returned"
            )
        if run.is_being_ended():
            return run.outcome()
        listen_keeping_signals(sockets)
        sockets.can_be_upgraded()
        with (
            self._as_process(run) as process,
            run.wakeup() as wakeup,
            process.handling_signals(wakeup),
        ):
            try:
                process.heed_early_signals()
                sockets.announce(announce)
                with process.told_to_systemd():
                    self._serve_until_stopped(run, wakeup)
            finally:
                cut_off = run.finish()
                sockets.tell_end(cut_off)
        return cut_off

    @contextmanager
    def _as_process(self, run: Run) -> Iterator[ServerProcess]:
        run.runner = threading.get_ident()
        process = ServerProcess(self._sockets)
        try:
            yield process
        finally:
            # Perhaps it has failed before it served.
            run.finish()
            run.runner = None
            process.leave()

    def _serve_until_stopped(self, run: Run, wakeup: WakeUp) -> None:
        if run.thread is None and self.engine.name in {"processes", "workers"}:
            # A process that forks had better have no second thread, and a supervisor needs none.
            run.serve(wakeup)
            return
        if run.thread is None:
            run.start_thread()
        wakeup.wait_until(lambda: run.is_stopping)

    def answering_signals(self) -> AbstractContextManager[None]:
        """Have SIGUSR1, SIGQUIT, SIGUSR2 and SIGALRM mean during a context what they mean during `run`.

        For programs that start the server by `start`, in the main thread. A signal that has another handler,
        or is ignored, is left alone.
        """
        return answering_operators(self._sockets)

    @contextmanager
    def reloading_on_change(self) -> Iterator[None]:
        """Have new workers during a context whenever a file of the program changes: for developers.

        For what leads to `run`, or to `start`. The files are those that the program has imported, but for
        what is installed. Linux only, as workers are.

        Raises
        ------
        Mistake
            When the server has no workers, or listens already.
        MissingExtra
            When the package `watchfiles` is not here.
        """
        if not self._options.workers:
            raise Mistake("what reloads on a change are workers: give workers=1")
        if self.addresses:
            raise Mistake("the server listens already, and knows of no files: call it before that")
        self._reloads_on_change = True
        with self._sockets.reloading_on_change():
            yield

    # The end

    def stop(self) -> None:
        """Ask the server to stop; return at once. `run`, `close` or leaving the context then drains.

        Clients that have connected by then are still served. Called before the server serves, it has the next
        `run` or `start` stop at once, so that no signal that comes early is lost.
        """
        self._sockets.stop()

    def hurry(self) -> None:
        """Cut short the drain that is, or will be, under way."""
        self._sockets.hurry()

    def drain(self, timeout: float | None = None) -> list[CutOff]:
        """Stop and drain in `timeout` seconds, as `close` does; while `run` is under way, have it do so.

        A drain that is under way already is waited for; `timeout` may shorten it.

        Parameters
        ----------
        timeout : float, optional
            Seconds that the connections get; None: the server's `drain_timeout`.

        Returns
        -------
        list of CutOff
            The connections that were cut off, and what they were doing.

        Raises
        ------
        RuntimeError
            When a handler calls it, for whose end it would wait, or the thread that is in `run`.
        Mistake
            When `timeout` is no time.
        """
        return self._sockets.drain(timeout)

    def close(self) -> list[CutOff]:
        """Stop, drain, and give everything back, as leaving the context does. Once more does no harm.

        The connections under way get `drain_timeout` seconds to come to their end, `hurry` permitting;
        an exception meanwhile, such as a `KeyboardInterrupt`, cuts them off. While another thread does the
        same, it waits for that.

        Returns
        -------
        list of CutOff
            The connections that were cut off, and what they were doing.

        Raises
        ------
        RuntimeError
            When a handler calls it, for whose end it would wait, or while `run` is under way, which closes
            the server itself: there, `stop` is enough.
        Exception
            Whatever ended the accept loop.
        """
        return self._sockets.close()


def _check(name: str, value: object, kind: Whole | Seconds) -> None:
    if value is not None and not kind.fits(value):
        raise Mistake(f"{name} must be {kind.expected}, or none, not {value!r}")
