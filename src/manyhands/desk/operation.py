"""A desk from opening to closing: the server, the transcript and the operator's screen put together."""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

from manyhands.desk import surroundings
from manyhands.desk.invitation import invitation
from manyhands.desk.keeper import Keeper
from manyhands.desk.line import GOODBYE
from manyhands.desk.lines import Lines
from manyhands.desk.operator import Operator, from_the_desk
from manyhands.desk.reception import Reception
from manyhands.desk.settings import Settings
from manyhands.desk.shown import Keyboard, notice
from manyhands.desk.switchboard import Switchboard
from manyhands.desk.transcript import IN_MEMORY, Transcript
from manyhands.engines import ENGINES
from manyhands.model import events
from manyhands.model.usage_errors import MissingExtra, Mistake
from manyhands.server import Server

Beside = Callable[[Server], AbstractContextManager[object]]
"""Makes the context of what goes on beside the desk, from its server: metrics, for one."""


def run(settings: Settings, beside: Beside = nullcontext) -> None:
    """Open a desk on standard input and output, and run it until the operator closes it.

    With a terminal, this is a prompt; else lines are read and written. At the end of such input the desk
    stays open for as long as callers are on the line. SIGINT, SIGTERM and SIGHUP close it, politely.

    Raises
    ------
    Mistake
        When an address or the transcript cannot be had, or an extra is missing.
    BrokenPipeError
        When whoever read the output has gone.
    """
    switchboard = Switchboard()
    surroundings.allow_many_descriptors()
    file = surroundings.transcript_file(settings.transcript)
    with (
        _screen(switchboard, file) as screen,
        Transcript(file) as transcript,
        Keeper(transcript, screen) as keeper,
    ):
        reception = Reception(switchboard, keeper, screen, settings)
        server = _listening(reception, settings)
        transcript.addresses = [str(address) for address in server.addresses]
        operator = Operator(switchboard, keeper, screen)
        with (
            surroundings.stopping_on_signals(screen.stop),
            _telling_of_events(screen),
            beside(server),
            server,
        ):
            try:
                _invite(server, file)
                if screen.attend(operator.carry_out):
                    _serve_those_who_are_left(reception, operator, switchboard, screen)
            finally:
                operator.close()
                server.stop()
        keeper.desk_closed()
    print("the desk is closed")  # noqa: T201 - the last line of a command's output


def _screen(switchboard: Switchboard, transcript: str) -> Keyboard:
    if not surroundings.has_terminal():
        return surroundings.plain_lines()
    try:
        from manyhands.desk.terminal import Terminal  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("the desk at a terminal", "prompt_toolkit", "chat") from None
    return Terminal(switchboard, surroundings.history_file(transcript))


def _listening(reception: Reception, settings: Settings) -> Server:
    server = Server(
        reception.serve,
        *settings.addresses,
        engine=settings.engine or _best_engine(),
        # A caller may well have nothing to say for hours.
        idle_timeout=None,
        # Everybody was said goodbye to before the server waits for the calls to end.
        drain_timeout=GOODBYE + 3.0,
        # A person who waits in silence thinks that nobody is there.
        when_full="refuse",
        refusal=from_the_desk("no more calls are taken just now; please call again later") + "\n",
        **settings.limits,
    )
    try:
        server.listen()
    except OSError as error:
        another = "; --bind says another address" if error.errno == errno.EADDRINUSE else ""
        raise Mistake(f"{error.strerror or error}{another}") from None
    return server


def _best_engine() -> Literal["threads", "fibers"]:
    """Return the engine that holds most callers, of those that can be had."""
    try:
        ENGINES["fibers"]()
    except MissingExtra:
        return "threads"
    return "fibers"


def _invite(server: Server, transcript: str) -> None:
    where = "nowhere" if transcript == IN_MEMORY else f"in {transcript}"
    lines = [*invitation(server.addresses), f"what is said is kept {where}"]
    print("\n".join([*lines, "/help says what you can do"]), flush=True)  # noqa: T201 - a command's first lines


def _serve_those_who_are_left(
    reception: Reception, operator: Operator, switchboard: Switchboard, screen: Keyboard
) -> None:
    reception.is_unattended = True
    operator.stop_listening()
    if isinstance(screen, Lines):
        screen.wait_until(lambda: not switchboard.calls)


@contextmanager
def _telling_of_events(screen: Keyboard) -> Iterator[None]:
    """Show the operator what the server reports, such as that it runs out of descriptors."""

    def tell(event: events.Event) -> None:
        sentence, _, _ = str(event).partition("\n")  # a stack is nothing for the operator
        screen.show([notice(sentence.rstrip(":"))])

    unsubscribe = events.hub.subscribe(tell)
    try:
        yield
    finally:
        unsubscribe()
