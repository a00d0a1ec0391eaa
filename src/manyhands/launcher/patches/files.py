"""Terminals, pipes and fifos: a fiber that waits for one lets the others run.

gevent waits for sockets. What `open`, `os.read` and the standard streams wait for is the kernel's affair, and
would hold up all fibers of the thread. The descriptors stay as they are: a terminal is shared with the shell,
and a pipe with other processes, so none may be made non-blocking.
"""

import atexit
import builtins
import io
import os
import select
import stat
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import gevent
from gevent.lock import RLock

from manyhands.launcher.patches.waiting import (
    call_in_native_thread,
    is_fiber,
    is_ready,
    wait_until_ready,
)
from manyhands.runtime.caller import is_in_the_hub
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.sockets import AT_ONCE
from manyhands.runtime.unpatched import put_in_place

MEMORY_DEVICES = 1
"""The major number of /dev/null and its like, which never block (devices.txt of Linux)."""


def _wait(descriptor: int, event: int) -> None:
    """Wait until a call that blocks would not, in a fiber; elsewhere the call itself waits."""
    if is_fiber() and not is_ready(descriptor, event) and os.get_blocking(descriptor):
        wait_until_ready(descriptor, event)


_made: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""The files and buffers that are there."""


class RawFile(io.FileIO):
    """A raw file whose reads and writes let other fibers run."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        _made.add(self)

    is_buffered = False
    """Whether a buffer above it counts what each write has taken, and writes the rest."""

    def readinto(self, buffer: Any, /) -> Any:
        """Read into a buffer, once there is something."""
        _wait(self.fileno(), select.POLLIN)
        return super().readinto(buffer)

    def read(self, size: int | None = -1, /) -> Any:
        """Read up to `size` bytes, or all up to the end."""
        if size is None or size < 0:
            return self.readall()
        _wait(self.fileno(), select.POLLIN)
        return super().read(size)

    def readall(self) -> Any:
        """Read up to the end."""
        pieces = []
        while piece := self.read(io.DEFAULT_BUFFER_SIZE):
            pieces.append(piece)
        return None if piece is None and not pieces else b"".join(pieces)

    def write(self, data: Any, /) -> Any:
        """Write the data."""
        if not is_fiber():
            return super().write(data)
        written = 0
        with memoryview(data) as view, view.cast("B") as octets:
            while written < len(octets):
                _wait(self.fileno(), select.POLLOUT)
                count = super().write(octets[written : written + AT_ONCE])
                if count is None:
                    return written or None
                written += count
                if self.is_buffered:
                    break
        return written


def _in_turn(name: str, base: Any) -> Any:
    """Make a method of a buffer that one fiber at a time may be in."""
    method = getattr(base, name)

    def in_turn(self: Any, *arguments: Any) -> Any:
        with self.turn:
            return method(self, *arguments)

    in_turn.__name__, in_turn.__qualname__, in_turn.__doc__ = (
        name,
        f"{base.__name__}.{name}",
        method.__doc__,
    )
    return in_turn


# Python's buffers belong to a thread while it waits in them, and all its fibers are that thread: the second
# one would fail ("reentrant call").


class Reader(io.BufferedReader):
    """A buffer for reading, for one fiber at a time."""

    def __init__(self, raw: RawFile, buffer_size: int = io.DEFAULT_BUFFER_SIZE) -> None:
        super().__init__(raw, buffer_size)
        self._begin_anew()
        renew_in_copies(self, Reader._begin_anew)
        _made.add(self)

    def _begin_anew(self) -> None:
        self.turn = RLock()

    for _name in ("read", "read1", "readinto", "readinto1", "readline", "peek"):
        locals()[_name] = _in_turn(_name, io.BufferedReader)


class Writer(io.BufferedWriter):
    """A buffer for writing, for one fiber at a time."""

    def __init__(self, raw: RawFile, buffer_size: int = io.DEFAULT_BUFFER_SIZE) -> None:
        super().__init__(raw, buffer_size)
        raw.is_buffered = True
        self._begin_anew()
        renew_in_copies(self, Writer._begin_anew)
        _made.add(self)

    def _begin_anew(self) -> None:
        self.turn = RLock()

    def write(self, data: Any, /) -> int:
        """Write the data."""
        if self._would_hold_up_the_hub():
            gevent.spawn(self.write, bytes(data))
            return len(data)
        with self.turn:
            return super().write(data)

    def flush(self) -> None:
        """Write what is left in the buffer."""
        if self._would_hold_up_the_hub():
            gevent.spawn(self.flush)
            return
        with self.turn:
            super().flush()

    def _would_hold_up_the_hub(self) -> bool:
        # The hub prints too: what a signal handler says, and the tracebacks of gevent.
        return is_in_the_hub() and (
            self.turn.locked() or not is_ready(self.fileno(), select.POLLOUT)
        )


def _may_block(file: Any) -> bool:
    """Tell whether a path or a descriptor is that of a terminal, a pipe, a fifo or a socket."""
    try:
        found = os.stat(file)
    except (OSError, ValueError, TypeError):
        return False  # what is wrong with it, `open` says
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        return True
    return stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) != MEMORY_DEVICES


_plain_open: Any = builtins.open

_MODES = frozenset({"r", "w", "a"})

_RAW_MODES = _MODES | {"r+", "w+"}
"""The modes without a buffer; a buffer for both ways is for files that have positions."""


def _open(  # noqa: PLR0913, PLR0917 - `open` has them
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> Any:
    is_binary = "b" in mode if isinstance(mode, str) else False
    way = mode.replace("b", "").replace("t", "") if isinstance(mode, str) else ""
    # What is wrong, or rare, is the original's.
    is_raw = is_binary and buffering == 0 and way in _RAW_MODES
    is_usual = is_raw or (way in _MODES and isinstance(buffering, int) and buffering != 0)
    if not is_usual or opener is not None or not _may_block(file):
        return _plain_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if is_binary and (encoding, errors, newline) != (None, None, None):
        return _plain_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if is_binary and buffering == 1:
        warnings.warn(
            "line buffering (buffering=1) isn't supported in binary mode, "
            "the default buffer size will be used",
            RuntimeWarning,
            stacklevel=2,
        )
    raw = RawFile(file, way, closefd, opener=None if isinstance(file, int) else _open_descriptor)
    try:
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffer: Any = (Reader if way == "r" else Writer)(raw, size)
        if is_binary:
            return buffer
        is_line_by_line = buffering == 1 or (buffering < 0 and raw.isatty())
        encoding = io.text_encoding(encoding, 2)
        text: Any = io.TextIOWrapper(buffer, encoding, errors, newline, is_line_by_line)
    except BaseException:
        raw.close()
        raise
    text.mode = mode
    return text


def _open_descriptor(path: Any, flags: int) -> int:
    return _os_open_in_fiber(path, flags, 0o666)  # as `FileIO` does without an opener


_os_read, _os_readv, _os_open = os.read, os.readv, os.open
_os_write, _os_writev, _os_sendfile = os.write, os.writev, os.sendfile
_os_readinto: Any = getattr(os, "readinto", None)  # from Python 3.14 on

_NEVER_WAITS = os.O_NONBLOCK | os.O_PATH


def _os_open_in_fiber(
    path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
) -> int:
    is_one_way = flags & os.O_ACCMODE != os.O_RDWR
    if is_one_way and is_fiber() and dir_fd is None and not flags & _NEVER_WAITS and _is_fifo(path):
        # It waits for the other end (fifo(7)), and no descriptor is there yet to wait for.
        opened: int = call_in_native_thread(_os_open, os.close, path, flags, mode)
        return opened
    return _os_open(path, flags, mode, dir_fd=dir_fd)


def _is_fifo(path: Any) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError, TypeError):
        return False


def _read(fd: int, length: int, /) -> bytes:
    _wait(fd, select.POLLIN)
    return _os_read(fd, length)


def _readv(fd: int, buffers: Any, /) -> int:
    _wait(fd, select.POLLIN)
    return _os_readv(fd, buffers)


def _readinto(fd: int, buffer: Any, /) -> int:
    _wait(fd, select.POLLIN)
    count: int = _os_readinto(fd, buffer)
    return count


def _write(fd: int, data: Any, /) -> int:
    if not is_fiber():
        return _os_write(fd, data)
    with memoryview(data) as view, view.cast("B") as octets:
        if len(octets) <= AT_ONCE or not _may_block(fd) or not os.get_blocking(fd):
            _wait(fd, select.POLLOUT)
            return _os_write(fd, octets)
        written = 0
        while written < len(octets):
            _wait(fd, select.POLLOUT)
            written += _os_write(fd, octets[written : written + AT_ONCE])
        return written


def _writev(fd: int, buffers: Any, /) -> int:
    return _write(fd, b"".join(buffers)) if is_fiber() else _os_writev(fd, buffers)


def _sendfile(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    if not is_fiber() or not _may_block(out_fd) or not os.get_blocking(out_fd):
        return _os_sendfile(out_fd, in_fd, offset, count)
    sent = 0
    while sent < count:
        _wait(out_fd, select.POLLOUT)
        start = None if offset is None else offset + sent
        piece = _os_sendfile(out_fd, in_fd, start, min(count - sent, AT_ONCE))
        if not piece:
            break  # the end of the file
        sent += piece
    return sent


def _patiently(stream: Any) -> Any:
    """Return a standard stream whose waits let other fibers run, or the stream itself where it has none."""
    try:
        if not _may_block(stream.fileno()):
            return stream
    except (AttributeError, OSError, ValueError):
        return stream  # none, or not the interpreter's own
    is_unbuffered = isinstance(stream.buffer, io.FileIO)
    before = stream.buffer if is_unbuffered else stream.buffer.raw
    is_input = before.readable()
    raw = RawFile(stream.fileno(), "r" if is_input else "w", closefd=False)
    raw.name = before.name
    buffer: Any = raw if is_unbuffered else (Reader if is_input else Writer)(raw)
    text: Any = io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",  # as the interpreter makes them on POSIX
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    text.mode = stream.mode
    return text


class _PlainFile(io.FileIO):
    pass


class _PlainReader(io.BufferedReader):
    pass


class _PlainWriter(io.BufferedWriter):
    pass


_PLAIN: dict[type, type] = {RawFile: _PlainFile, Reader: _PlainReader, Writer: _PlainWriter}


def _leave() -> None:
    """Have the files wait as all others do: the interpreter flushes some when no fiber may run any more.

    And when the modules have been cleared that these classes need.
    """
    for file in list(_made):
        file.__class__ = _PLAIN[type(file)]


def patch_files() -> None:
    """Have reads and writes of terminals, pipes and fifos let other fibers run."""
    atexit.register(_leave)  # the first to come, so it runs last
    if _os_readinto is not None:
        put_in_place(os, "readinto", _readinto)
    for module, name, ours in (
        (os, "read", _read),
        (os, "readv", _readv),
        (os, "write", _write),
        (os, "writev", _writev),
        (os, "sendfile", _sendfile),
        (os, "open", _os_open_in_fiber),
        (io, "open", _open),
    ):
        put_in_place(module, name, ours)
    builtins.open = io.open
    for name in ("stdin", "stdout", "stderr"):
        ours = _patiently(getattr(sys, name))
        setattr(sys, name, ours)
        setattr(sys, f"__{name}__", ours)
