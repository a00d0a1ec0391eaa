"""One prompt at the bottom of a terminal, and lines that appear above it at any time.

The line being typed is never torn: the prompt is taken away, lines are printed, and the prompt comes back,
in one step of the event loop. The terminal stays in raw mode meanwhile. (`run_in_terminal` and
`patch_stdout` of prompt_toolkit put it into cooked mode for each print, where the terminal itself echoes
what is typed just then into the middle of the output.)
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Self, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer
from prompt_toolkit.formatted_text import FormattedText, StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style

from manyhands.desk.screens import SERVER, FairQueue, ScreenLine
from manyhands.model.escaping import encodable
from manyhands.runtime.blocking_calls import blocking

MOST_PRINTED = 200
"""Lines printed in one step: a few milliseconds, in which no key is looked at."""

REDRAW_INTERVAL = 0.05
"""Seconds between two steps: a flood redraws the prompt 20 times a second, however many lines it has."""


class Prompt:
    """A prompt that stays, with lines above it: a `Keyboard` on a terminal.

    Parameters
    ----------
    message : callable
        Makes the prompt, each time it is drawn.
    paint : callable
        Makes the fragments of a line. They are taken as they are: no markup in them is ever interpreted, but
        control characters must be escaped.
    style : Style
        What the classes in the fragments look like.
    history : History, optional
        Lines typed before.
    completer : Completer, optional
        What Tab completes.

    Notes
    -----
    `show`, `refresh` and `stop` may be called from any thread, `stop` from signal handlers too.
    """

    def __init__(
        self,
        message: Callable[[], StyleAndTextTuples],
        paint: Callable[[ScreenLine], StyleAndTextTuples],
        style: Style,
        history: History | None = None,
        completer: Completer | None = None,
    ) -> None:
        self._paint = paint
        self._style = style
        self._queue: FairQueue[StyleAndTextTuples] = FairQueue()
        self._output = _terminal()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_lines = asyncio.Event()
        self._is_stopping = False
        self._has_ended = False
        self._printing = threading.Lock()
        self._session: PromptSession[None] = PromptSession(
            lambda: FormattedText(message()),
            style=style,
            history=history,
            completer=completer,
            complete_while_typing=False,
            # Ctrl-Z, as elsewhere at a terminal; `fg` goes on. Else it would be a character of the line.
            enable_suspend=True,
            key_bindings=self._keys(),
            output=self._output,
            erase_when_done=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Print what has been told since `attend` returned."""
        self._print_rest()

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Prompt until `carry_out` returns False, the person leaves, or `stop`; return False.

        Parameters
        ----------
        carry_out : callable
            Called with each line that is entered, in the thread of the prompt. A person leaves by Ctrl-D, or
            Ctrl-C on an empty line. (Ctrl-C on another line discards it.)
        """
        self._session.default_buffer.accept_handler = partial(self._enter, carry_out)
        try:
            with contextlib.suppress(EOFError):
                # A SIGINT from elsewhere is for the handlers of the process: the loop would not look at it
                # while the terminal is stopped. (In raw mode Ctrl-C at the terminal is a key.)
                self._session.prompt(pre_run=self._begin, handle_sigint=False)
        finally:
            # In this order: a `show` that finds the end prints by itself, and one that came before it has put
            # its lines in the queue, from which the rest is printed here.
            self._loop = None
            self._has_ended = True
            self._queue.close()
            self._print_rest()
        return False

    def show(self, lines: Sequence[ScreenLine], source: int | None = None) -> None:
        """Have lines printed above the prompt or, once it has ended, where it was.

        With a `source`, wait until the lines of the same one before these are printed.
        """
        self._queue.put(source, [self._paint(line) for line in lines])
        if self._has_ended:
            # The terminal may be slow, and the caller may be a fiber.
            blocking(self._print_rest)
        self._in_loop(self._has_lines.set)

    def show_soon(self, lines: Sequence[ScreenLine], source: int) -> None:
        """Have lines of a call printed, without waiting."""
        self._queue.put_soon(source, [self._paint(line) for line in lines])
        if self._has_ended:
            blocking(self._print_rest)
        self._in_loop(self._has_lines.set)

    def when_caught_up(self, source: int, then: Callable[[], object]) -> None:
        """Call `then` once the lines of a call have been taken to be printed."""
        self._queue.when_taken(source, then)

    def tell(self, lines: Sequence[ScreenLine]) -> None:
        """Have lines printed, without waiting."""
        self._queue.offer(SERVER, [self._paint(line) for line in lines])
        self._in_loop(self._has_lines.set)

    def refresh(self) -> None:
        """Have the prompt drawn anew."""
        self._session.app.invalidate()

    def is_typing(self) -> bool:
        """Tell whether a line has been begun."""
        return bool(self._session.default_buffer.text)

    def stop(self) -> None:
        """Make `attend` return."""
        self._is_stopping = True
        self._in_loop(self._leave)

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._session.app.create_background_task(self._print_as_lines_come())
        # Asked for before there was a loop to tell of it.
        if self._is_stopping:
            self._leave()

    async def _print_as_lines_come(self) -> None:
        while True:
            # Before the queue is looked at: lines that come after the last look set it again.
            self._has_lines.clear()
            while lines := self._queue.take(MOST_PRINTED):
                self._print_above(lines)
                await asyncio.sleep(REDRAW_INTERVAL)
            await self._has_lines.wait()

    def _print_above(self, lines: list[StyleAndTextTuples]) -> None:
        app = self._session.app
        with self._output.in_one_write():
            app.renderer.erase()
            self._print(lines)
            # The prompt stands in another row now: what the renderer remembers of the screen is wrong.
            app.renderer.reset()
            # Not `invalidate`, which leaves the screen without a prompt until the loop's next turn.
            app.renderer.render(app, app.layout)

    def _print_rest(self) -> None:
        # A terminal that has gone takes no more; what was said is kept elsewhere.
        with self._printing, contextlib.suppress(OSError):
            while lines := self._queue.take(MOST_PRINTED):
                self._print(lines)

    def _print(self, lines: list[StyleAndTextTuples]) -> None:
        fragments = FormattedText([piece for line in lines for piece in [*line, ("", "\n")]])
        print_formatted_text(self._output, fragments, self._style)
        self._output.flush()

    def _enter(self, carry_out: Callable[[str], bool], buffer: Buffer) -> bool:
        if not carry_out(encodable(buffer.text)):
            self._leave()
        return False  # the line is empty again

    def _leave(self) -> None:
        app = self._session.app
        if app.future is not None and not app.future.done():
            app.exit()

    def _in_loop(self, step: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            # The loop may close just now; then the step is not needed any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(step)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        def _(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            else:
                self._leave()

        return keys


class _Output(Vt100_Output):
    """The terminal; what belongs together is written together, so that half of it is never seen."""

    _is_held = False

    def flush(self) -> None:
        """Write what has been collected, unless more is to come first."""
        if not self._is_held:
            super().flush()

    @contextmanager
    def in_one_write(self) -> Iterator[None]:
        """Collect all that is written in the context, and write it at the end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self.flush()


def _terminal() -> _Output:
    output = cast("_Output", _Output.from_pty(sys.stdout))
    # Asking the terminal where the cursor is costs a round trip for each print, and an answer that comes
    # late is taken for typing by the program that reads the terminal next.
    output.enable_cpr = False
    return output
