"""`input()` and `getpass()` at a terminal, which let other fibers run while the operator thinks."""

import builtins
import ctypes
import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any

from gevent.lock import RLock

from manyhands.launcher.patches.files import RawFile
from manyhands.launcher.patches.waiting import is_fiber, wait_until_ready
from manyhands.runtime.unpatched import put_in_place

_plain_input: Any = builtins.input
_PlainFileIO = io.FileIO

_turn = RLock()
"""Held while a fiber reads a line: readline knows one line at a time."""


def _input(prompt: object = "", /) -> str:
    streams = getattr(sys, "stdin", None), getattr(sys, "stdout", None)  # a program may have none
    if not is_fiber() or not all(map(_is_terminal, streams, (0, 1))):
        # It reads by way of `sys.stdin`, whose waits let others run.
        line: str = _plain_input(prompt)
        return line
    with _turn:
        for stream in (sys.stderr, sys.stdout):
            stream.flush()
        edit = _line_editor()
        if edit is None:
            # The terminal edits the line by itself, and hands it over whole (termios(3), canonical mode).
            print(prompt, end="", flush=True)  # noqa: T201 - asking is what it is for
            wait_until_ready(0, select.POLLIN)
            return str(_plain_input())
        sys.audit("builtins.input", prompt)
        said = edit(str(prompt).encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
        if said is None:
            raise EOFError
        line = said.decode(sys.stdin.encoding, sys.stdin.errors or "strict")
        sys.audit("builtins.input/result", line)
        return line


def _is_terminal(stream: Any, descriptor: int) -> bool:
    """Tell whether a stream is the standard one, at a terminal: what `input` looks at."""
    try:
        return stream.fileno() == descriptor and os.isatty(descriptor)
    except (AttributeError, OSError, ValueError):
        return False


def _line_editor() -> Callable[[bytes], bytes | None] | None:
    """Return what reads a line with readline, where the program has loaded that; else None."""
    module: Any = sys.modules.get("readline")
    if module is None:
        return None
    try:
        return _Readline(module).read
    except (OSError, AttributeError):
        return None  # linked in another way: the terminal's own editing is left


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Readline:
    """Reads a line as Python's module `readline` does in C, a key at a time; other fibers run in between.

    The functions are those of the library that the module has (GNU Readline, "Alternate Interface").
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        # A module that is part of the interpreter has no file: its library is the interpreter's.
        self._library: Any = ctypes.CDLL(getattr(module, "__file__", None))
        self._library.rl_callback_handler_install.argtypes = [ctypes.c_char_p, _Handler]
        self._library.rl_callback_read_char.argtypes = []
        self._free: Any = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]

    def read(self, prompt: bytes) -> bytes | None:
        """Read a line, and remember it in the history; None at the end of input."""
        lines: list[bytes | None] = []

        def take(line: int | None) -> None:
            self._library.rl_callback_handler_remove()
            lines.append(None if line is None else ctypes.string_at(line))
            if line is not None:
                self._free(line)

        handler = _Handler(take)  # kept for as long as the library may call it
        self._library.rl_callback_handler_install(prompt, handler)
        try:
            while not lines:
                wait_until_ready(0, select.POLLIN)
                self._library.rl_callback_read_char()
        except BaseException:
            self._leave()
            raise
        self._remember(lines[0])
        return lines[0]

    def _leave(self) -> None:
        """Give the line up, as after a signal: the terminal is as it was before."""
        for name in ("rl_free_line_state", "rl_callback_sigcleanup", "rl_cleanup_after_signal"):
            function = getattr(self._library, name, None)  # libedit has not all of them
            if function is not None:
                function()
        self._library.rl_callback_handler_remove()

    def _remember(self, line: bytes | None) -> None:
        text = (line or b"").decode(sys.stdin.encoding, "surrogateescape")
        length = self._module.get_current_history_length()
        if text and (not length or self._module.get_history_item(length) != text):
            self._module.add_history(text)


class _PatientIO:
    """What `getpass` takes for `io`: it opens the terminal by itself."""

    @property
    def FileIO(self) -> type[io.FileIO]:  # noqa: N802 - the standard library's name
        # A test of the program's may have put a stand-in there.
        return RawFile if io.FileIO is _PlainFileIO else io.FileIO

    def __getattr__(self, name: str) -> Any:
        return getattr(io, name)


def patch_console() -> None:
    """Have questions at the terminal let other fibers run."""
    import getpass  # noqa: PLC0415 - few programs use it, and it takes next to no time

    put_in_place(builtins, "input", _input)
    vars(getpass)["io"] = _PatientIO()
