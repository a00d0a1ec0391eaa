"""The caller's end of a call: what is typed goes to the desk, what the desk says appears as it comes."""

import socket
import threading
import time
from collections.abc import Callable

from manyhands.desk import environment
from manyhands.desk.call_io import GOODBYE, CallIO, Ending
from manyhands.desk.encodings import UTF_8
from manyhands.desk.messages import (
    LineTooLong,
    Message,
    MessageDecoder,
    is_goodbye,
)
from manyhands.desk.names import fault
from manyhands.desk.screens import LONGEST_ORDER, Keyboard, PlainScreen, ScreenLine, notice
from manyhands.desk.stuck_output import OutputGuard
from manyhands.listening.endpoints import socket_path
from manyhands.model.addresses import Address
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import MissingExtra, Mistake

CONNECT_TIMEOUT = 10.0
"""Seconds for the desk's machine to answer."""

SILENCE = 2.0
"""Seconds of silence after which a pipe that has ended has heard all: a script's answer, not a person's."""

_HEARD = 0.02
"""Seconds that the desk may take to hear a line: twice what it takes by default for each of very many."""

_OUTBOX = 2 * LONGEST_ORDER
"""Bytes: the longest line of standard input has to fit."""

_GLANCE = 0.25
"""Seconds between two looks at whether to stop, while the desk does not read."""


class CallFailed(Exception):  # noqa: N818 - what happened
    """The call could not be made, or ended without a goodbye; the text says how, in one sentence."""


def run(
    address: Address,
    name: str | None = None,
    silence: float = SILENCE,
    encoding: str | None = None,
) -> None:
    """Call a desk from standard input and output, until one of both says goodbye.

    At a terminal, this is a prompt. Else lines are read and sent; at the end of the input the desk's
    answers are awaited until it is silent for `silence` seconds, and then goodbye is said.

    Parameters
    ----------
    address : Address
        The desk's.
    name : str, optional
        What to be called.
    silence : float
        Seconds.
    encoding : str, optional
        What the desk speaks, one of `encodings`; UTF-8 by default.

    Raises
    ------
    CallFailed
        When the desk cannot be reached, ends the call, or is lost.
    Mistake
        When a terminal is there, but not the extra that it needs.
    """
    with OutputGuard() as guard, _keyboard() as keyboard, _connect(address) as connection:
        desk = CallIO(connection, _OUTBOX)
        desk.encoding = encoding or UTF_8
        if name is not None:
            desk.say(f"/name {name}")
        if not isinstance(keyboard, PlainScreen):
            hint = f"you are calling {address}; byebye ends the call, /name NAME says who you are"
            keyboard.show([notice(hint)])
        client = Client(desk, keyboard, address)

        def stop() -> None:
            guard.begin()
            client.stop()

        with environment.stopping_on_signals(stop):
            client.talk(silence, guard.begin)


class Client:
    """One call, from the caller's end.

    Parameters
    ----------
    desk : CallIO
        The connection to the desk.
    keyboard : Keyboard
        What the caller types, and where the desk's lines are shown.
    address : Address
        The desk's, for sentences.
    """

    def __init__(self, desk: CallIO, keyboard: Keyboard, address: Address) -> None:
        self._desk = desk
        self._keyboard = keyboard
        self._address = address
        self._lines_said = 0
        self._has_said_goodbye = False
        self._is_leaving = False
        self._is_stopping = False
        self._heard_at = time.monotonic()
        self._end: str | None = None
        """How the call ended, as the hearing thread found it; `talk` decides whether that is a failure."""

        self._hearing = threading.Thread(target=self._hear, daemon=True)

    def talk(self, silence: float, ends: Callable[[], None] = lambda: None) -> None:
        """Hold the conversation; at the end of the input wait for so many seconds of silence.

        Parameters
        ----------
        silence : float
            Seconds.
        ends : callable
            Called when the conversation is over, and what is shown is all that is left to do.

        Raises
        ------
        CallFailed
            When the desk ends the call, or is lost.
        """
        self._hearing.start()
        try:
            if self._keyboard.attend(self._say):
                self._wait_for_silence(silence)
            self._take_leave()
        finally:
            self._desk.hang_up(Ending.HUNG_UP)
            ends()
            # The hearing thread and `finish` both receive: one after the other.
            self._hearing.join()
            self._desk.finish()
        # Not before: the desk may answer a goodbye, and hang up, before `_say` has returned.
        if self._end is not None and not self._has_said_goodbye:
            raise CallFailed(f"the desk at {self._address} {self._end}")

    def stop(self) -> None:
        """Make `talk` say goodbye and return. Safe in signal handlers."""
        self._is_stopping = True
        self._keyboard.stop()

    def _say(self, text: str) -> bool:
        """Say a line; return whether the conversation goes on."""
        if not self._desk.say(text):
            return False
        self._lines_said += 1
        # A pipe is read no faster than the desk reads. A prompt must not wait.
        if isinstance(self._keyboard, PlainScreen):
            self._wait_until_sent()
        # What is pasted at a terminal may have several lines.
        self._has_said_goodbye = any(map(is_goodbye, text.split("\n")))
        return not self._has_said_goodbye

    def _wait_until_sent(self) -> None:
        """Take no more from a pipe than the desk reads."""
        while not self._is_stopping and not self._desk.wait_until_sent(_GLANCE):
            pass

    def _wait_for_silence(self, silence: float) -> None:
        # In short steps, for a signal handler can set a flag only.
        while self._hearing.is_alive() and not self._is_stopping:
            left = self._heard_at + silence - time.monotonic()
            if left <= 0:
                return
            self._hearing.join(min(left, _GLANCE))

    def _take_leave(self) -> None:
        """Say goodbye, unless that was done: the desk's answer tells that it has heard everything."""
        if not self._has_said_goodbye and self._end is None:
            self._is_leaving = True
            self._has_said_goodbye = self._desk.say("byebye")
        self._await_the_answer()

    def _await_the_answer(self) -> None:
        # The desk hears no faster than a caller may speak: a pipe may have said a lot before its goodbye.
        deadline = time.monotonic() + GOODBYE + self._lines_said * _HEARD
        while self._hearing.is_alive() and (left := deadline - time.monotonic()) > 0:
            # In short steps, for a signal handler can set a flag only.
            self._hearing.join(min(left, _GLANCE))
            if self._is_stopping:
                deadline = min(deadline, time.monotonic() + GOODBYE)

    def _hear(self) -> None:
        """Show what the desk says until the call ends. Runs in a thread."""
        try:
            for messages in self._desk.hear(MessageDecoder(LONGEST_ORDER)):
                self._heard_at = time.monotonic()
                self._show(messages)
            self._end = "has ended the call"
        except LineTooLong:
            self._end = "sent a line that is too long"
        except OSError as error:
            self._end = f"was lost: {error.strerror or error}"
        self._keyboard.stop()

    def _show(self, messages: list[Message]) -> None:
        shown = [
            ScreenLine("", escape(message.text), is_said=True)
            for message in messages
            # Its answer to a goodbye that was not typed is not shown either.
            if not (self._is_leaving and is_goodbye(message.text))
        ]
        self._keyboard.show(shown, source=0)


def _keyboard() -> Keyboard:
    if not environment.has_terminal():
        return PlainScreen.on_standard_streams()
    try:
        from manyhands.desk.terminal import ClientTerminal  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("the client at a terminal", "prompt_toolkit", "chat") from None
    return ClientTerminal()


def _connect(address: Address) -> socket.socket:
    try:
        connection = _connected(address)
    except OSError as error:
        raise CallFailed(f"cannot call {address}: {_why(error)}") from None
    # The timeout was for connecting; from here on no receive and no send waits.
    connection.settimeout(None)
    return connection


def _connected(address: Address) -> socket.socket:
    if not address.path:
        return socket.create_connection(
            (address.host or "localhost", address.port), CONNECT_TIMEOUT
        )
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(socket_path(address))
    except OSError:
        connection.close()
        raise
    return connection


def _why(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused (is a desk open there?)"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT:g} seconds"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket (is a desk open there?)"
    return (error.strerror or str(error)).lower()


def check_name(name: str) -> str:
    """Return the name.

    Raises
    ------
    Mistake
        When the desk would not take it.
    """
    name = " ".join(name.split())
    why_not = fault(name)
    if why_not is not None:
        raise Mistake(f"--name {name!r}: {why_not}")
    return name
