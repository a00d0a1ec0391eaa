"""A desk from opening to closing: the server, the transcript and the operator's screen put together."""

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

from manyhands.desk import environment
from manyhands.desk.call_handler import CallHandler
from manyhands.desk.call_io import GOODBYE
from manyhands.desk.desk_here import DeskHere
from manyhands.desk.encodings import UTF_8
from manyhands.desk.operator import Operator
from manyhands.desk.reception import Reception
from manyhands.desk.screens import Keyboard, PlainScreen, notice
from manyhands.desk.settings import Settings, server_of
from manyhands.desk.steps import StepRunner
from manyhands.desk.stuck_output import PATIENCE_WITH_A_READER, OutputGuard
from manyhands.desk.switchboard import Switchboard
from manyhands.desk.told_events import telling_of_events
from manyhands.desk.transcript import Transcript
from manyhands.desk.transcript_file import IN_MEMORY
from manyhands.desk.transcript_writer import TranscriptWriter
from manyhands.listening.bind import sentence_of
from manyhands.model.addresses import Address
from manyhands.model.usage_errors import MissingExtra, Mistake
from manyhands.server import Server
from manyhands.server.process import HandledSignals

Beside = Callable[[Server], AbstractContextManager[object]]
"""Makes the context of what goes on beside the desk, from its server: metrics, for one."""

_EVERY_INTERFACE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 - recognised, not bound


def run(settings: Settings, beside: Beside = nullcontext) -> None:
    """Open a desk on standard input and output, and run it until the operator closes it.

    With a terminal, this is a prompt; else lines are read and written. At the end of such input the desk
    stays open as long as there are calls. SIGINT, SIGTERM and SIGHUP close it, politely.

    Raises
    ------
    Mistake
        When an address or the transcript cannot be had, or an extra is missing.
    BrokenPipeError
        When the reader of the output has gone.
    """
    switchboard = Switchboard()
    environment.allow_many_descriptors()
    with OutputGuard() as guard:
        _run(settings, beside, switchboard, guard)
        print("the desk is closed", flush=True)  # noqa: T201 - the last line of a command's output


def _run(settings: Settings, beside: Beside, switchboard: Switchboard, guard: OutputGuard) -> None:
    file = environment.transcript_file(settings.transcript)
    # The screen first: it is closed last, and shows what goes wrong with the others until then.
    with (
        _screen(switchboard, file) as screen,
        Transcript(file, settings.keep) as transcript,
        TranscriptWriter(transcript, screen) as writer,
    ):
        reception = Reception(switchboard, writer, screen, settings.terms)
        with _serving(
            reception, StepRunner(writer, screen), screen, switchboard, settings
        ) as calls:
            server = calls.server
            transcript.addresses = [str(address) for address in server.addresses]
            operator = Operator(switchboard, writer, screen)

            def stop() -> None:
                guard.begin()
                screen.stop()

            with (
                HandledSignals(dict.fromkeys(environment.STOP_SIGNALS, stop)),
                telling_of_events(partial(_tell, screen)),
                beside(server),
                server,
                server.answering_signals(),
            ):
                try:
                    _invite(server, file, settings.terms.encoding)
                    if screen.attend(operator.carry_out):
                        guard.begin(PATIENCE_WITH_A_READER)
                        _serve_remaining_calls(reception, operator, switchboard, screen)
                finally:
                    guard.begin()
                    # First the goodbyes, then the server: it waits for the calls to end.
                    operator.close()
                    calls.end_calls()
                    server.stop()
        writer.desk_closed()


def _screen(switchboard: Switchboard, transcript: str) -> Keyboard:
    if not environment.has_terminal():
        # A full disk under what is shown ends no calls.
        return PlainScreen.on_standard_streams(may_lose=True)
    try:
        from manyhands.desk.terminal import OperatorTerminal  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("the desk at a terminal", "prompt_toolkit", "chat") from None
    return OperatorTerminal(switchboard, environment.history_file(transcript))


class _Calls(NamedTuple):
    """The calls of a desk: what serves them, and what waits for those elsewhere to have ended."""

    server: Server
    end_calls: Callable[[], object]


@contextmanager
def _serving(
    reception: Reception,
    runner: StepRunner,
    screen: Keyboard,
    switchboard: Switchboard,
    settings: Settings,
) -> Iterator[_Calls]:
    """Have a server listen for a context: in this process, or with workers that bring calls to it."""
    with ExitStack() as stack:
        if not settings.has_workers:
            handler = CallHandler(DeskHere(reception, runner), settings.terms)
            server = server_of(handler.serve, settings)
            yield _Calls(_listening(server), lambda: None)
            return
        # Not at the top: few desks have workers.
        from manyhands.desk.link_at_desk import WorkerLinks  # noqa: PLC0415
        from manyhands.server.stand_ins import HandlerElsewhere  # noqa: PLC0415

        links = WorkerLinks(reception, runner, screen, switchboard, settings.terms.encoding)
        stack.callback(links.close)
        links.open()
        stack.enter_context(environment.found_by_workers(links.address))
        server = server_of(HandlerElsewhere("CallInWorker"), settings)
        _listening(server)
        # Its processes end with it, whatever comes between here and its start.
        stack.callback(server.close)
        yield _Calls(server, partial(links.end_calls, GOODBYE))


def _listening(server: Server) -> Server:
    try:
        server.listen()
    except OSError as error:
        another = "; --bind says another address" if error.errno == errno.EADDRINUSE else ""
        raise Mistake(f"{sentence_of(error)}{another}") from None
    return server


def _tell(screen: Keyboard, sentences: Sequence[str]) -> None:
    screen.tell([notice(sentence) for sentence in sentences])


def _invite(server: Server, transcript: str, encoding: str) -> None:
    where = "nowhere" if transcript == IN_MEMORY else f"in {transcript}"
    lines = [*invitation(server.addresses, encoding), f"what is said is kept {where}"]
    print("\n".join([*lines, "/help says what you can do"]), flush=True)  # noqa: T201 - a command's first lines


def _serve_remaining_calls(
    reception: Reception, operator: Operator, switchboard: Switchboard, screen: Keyboard
) -> None:
    reception.is_unattended = True
    operator.stop_answering()
    if isinstance(screen, PlainScreen):
        screen.wait_until(lambda: not switchboard.calls)


# How to call in: commands that work as they stand in another terminal.


def invitation(addresses: Iterable[Address], encoding: str = UTF_8) -> Iterator[str]:
    """Say how to call in on each address, with our client and with netcat."""
    spoken = "" if encoding == UTF_8 else f" --encoding {encoding}"
    for address in addresses:
        yield f"the desk is open on {address}; to call in, type in another terminal"
        yield f"    {_command()} connect {_target(address)}{spoken}"
        yield f"or  {_netcat(address)}"


def _command() -> str:
    """Return the words that start this program from the current folder."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py" or not script.is_file():
        return f"{_shortest(Path(sys.executable))} -m manyhands"
    return _shortest(script)


def _shortest(program: Path) -> str:
    """Return the name of a program if the shell finds it by that, else its path, relative if it is below."""
    path = os.path.abspath(program)  # noqa: PTH100 - a link must stay one: it is what makes an environment's python
    if shutil.which(program.name) == path:
        return shlex.quote(program.name)
    relative = os.path.relpath(path)
    if relative.startswith(os.pardir):
        return shlex.quote(path)
    return shlex.quote(relative if os.sep in relative else os.path.join(os.curdir, relative))  # noqa: PTH118 - a Path drops the dot


def _target(address: Address) -> str:
    if address.path:
        return shlex.quote(str(address))
    host = _EVERY_INTERFACE.get(address.host, address.host)
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def _netcat(address: Address) -> str:
    if address.path:
        return f"nc -U {shlex.quote(address.path)}"
    return f"nc {_EVERY_INTERFACE.get(address.host, address.host)} {address.port}"
