"""How servers report what a handler or a hook raised: as the standard library does, unless told otherwise."""

import codecs
import math
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from manyhands.runtime.caller import current_task, hub_of_fiber, is_in_the_hub
from manyhands.runtime.locks import try_until
from manyhands.runtime.sockets import descriptor_of, takes_more

Report = Callable[[object], None]
"""Reports the exception that is being handled; its argument is the client's address, or None."""


LOOP_PATIENCE = 1.0
"""Seconds that an accept loop waits for a standard error that takes no more. A worker waits for as long as
that lasts, as with the standard library: it holds up its own client alone."""

LONGEST_PAUSE = 1.0
"""Seconds between two looks of a fiber whether standard error takes more."""

_PIECE = 1000
"""Characters that are written at once: in UTF-8 no more than a pipe takes without blocking (`AT_ONCE`)."""


def encoding_of(stream: object) -> str:
    """Return the encoding of a stream of text, as `gbk` in a terminal of that; UTF-8 where none is known."""
    known = getattr(stream, "encoding", None)
    try:
        return codecs.lookup(known).name if isinstance(known, str) else "utf-8"
    except LookupError:
        return "utf-8"  # a stream of the program's own


class _Output:
    """Standard error, as reports are printed to it."""

    lost = 0
    """How many reports standard error did not take."""


def print_traceback(client_address: object) -> None:
    """Print the exception that is being handled to standard error, as `socketserver` does.

    A standard error that is stuck holds up no accept loop, and of fibers only the one that prints; a full
    disk and a closed stream cost the report.
    """
    rule = "-" * 40 + "\n"
    head = f"{rule}Exception occurred during processing of request from {client_address}\n"
    print_error(sys.exception(), head, rule)


def print_uncaught(error: BaseException) -> None:
    """Hand an exception that must not end the service to `sys.excepthook`, as carefully.

    A hook of the program's that fails, since the disk is full, say, must not end it either: as by the
    interpreter, both errors are printed.
    """
    hook = sys.excepthook
    if hook is sys.__excepthook__:
        print_error(error)
        return
    try:
        hook(type(error), error, error.__traceback__)
    except Exception as failure:  # noqa: BLE001 - of the program's hook, see above
        print_error(failure, "Error in sys.excepthook:\n")
        print_error(error, "\nOriginal exception was:\n")


def words_of(error: Exception) -> str:
    """Return what an error says, for a sentence; print it too, if it is not the system's."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    print_uncaught(error)
    return f"{type(error).__name__}: {error}"


def say(text: str) -> None:
    """Print a text of our own to standard error, with the care of `print_traceback`."""
    _write(text)


def print_error(error: BaseException | None, head: str = "", end: str = "") -> None:
    """Print an exception, and what stands before it and after it, with the care of `print_traceback`."""
    try:
        import traceback  # noqa: PLC0415 - takes 3 ms, which a server without errors is spared

        text = "".join(traceback.format_exception(error))
    except (ImportError, OSError):
        # The module cannot be loaded: no descriptor is left (EMFILE), or the program has another root by now
        # (chroot(2)). The interpreter itself needs none.
        _write(head)
        if error is not None:
            sys.__excepthook__(type(error), error, error.__traceback__)
        _write(end)
    else:
        _write(f"{head}{text}{end}")


def _write(text: str) -> None:
    # As `print` does with a stream that is not there.
    stream: Any = sys.stdout if sys.stderr is None else sys.stderr
    if _Output.lost:
        text = f"({_Output.lost} reports before this one could not be written)\n{text}"
    try:
        for start in range(0, len(text), _PIECE):
            if not _takes_more(stream):
                _Output.lost += 1
                return
            stream.write(text[start : start + _PIECE])
            if len(text) > _PIECE:
                stream.flush()  # what its buffer gathers is more than a pipe takes at once
    except Exception:  # noqa: BLE001 - a full disk, say, or a stream of the program's own
        _Output.lost += 1
    else:
        _Output.lost = 0


def _takes_more(stream: Any) -> bool:
    """Wait until a stream takes a piece; return False when the caller must not wait for that."""
    hub, is_worker = hub_of_fiber(), current_task() is not None
    if hub is None and is_worker and not is_in_the_hub():
        return True  # the thread, or the process, is this one client's: it may block
    descriptor = descriptor_of(stream)
    if descriptor < 0 or takes_more(descriptor):
        return True
    # After one report that was lost in vain no other waits.
    patience = 0.0 if _Output.lost or is_in_the_hub() else LOOP_PATIENCE
    if hub is None:
        return takes_more(descriptor, patience)
    deadline = math.inf if is_worker else time.monotonic() + patience
    return try_until(lambda: takes_more(descriptor), deadline, LONGEST_PAUSE)


_BEYOND_SELECT = "filedescriptor out of range in select()"

_SELECT_ADVICE = (
    "select.select takes descriptors up to 1,023 (FD_SETSIZE, select(2)), and this process has more open: "
    "wait with selectors.DefaultSelector or select.poll, or have the server take fewer connections "
    "(max_connections)"
)

_ways: list[Report] = [print_traceback]


def report(client_address: object) -> None:
    """Report the exception that is being handled, in the way that `report_by` set last."""
    error = sys.exception()
    if isinstance(error, ValueError) and str(error) == _BEYOND_SELECT:
        error.add_note(_SELECT_ADVICE)
    _ways[-1](client_address)


def report_by(way: Report) -> Callable[[], None]:
    """Have all servers of this process report in another way from now on; return what ends that."""
    _ways.append(way)
    return lambda: _ways.remove(way)


_OF_WARNINGS = {"warnings", "_py_warnings"}
"""The modules that have Python's own `showwarning`, which prints; the second from Python 3.14 on."""


def warn(message: str, *, stacklevel: int = 1) -> None:
    """Issue a `RuntimeWarning`. Where a filter makes it an exception, that goes to `sys.excepthook`.

    ``python -W error`` is for finding what a program should not do. A server that runs under it still serves:
    a client must not pay for a warning. And a standard error that is stuck costs the warning.

    Parameters
    ----------
    message
        What to say.
    stacklevel
        The line that the warning names: 1 the caller's, 2 that of the caller's caller, as in `warnings.warn`.
    """
    # Not where the program has warnings shown in another way, as in its log (`logging.captureWarnings`).
    is_printed = warnings.showwarning.__module__ in _OF_WARNINGS
    if is_printed and sys.stderr is not None and not _takes_more(sys.stderr):
        _Output.lost += 1
        return
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel + 1)
    except Exception as error:  # noqa: BLE001 - a RuntimeWarning, or what the program's showwarning raises
        print_uncaught(error)


def is_undecoded_name(arguments: "sys.UnraisableHookArgs") -> bool:
    """Tell whether `ssl` was sent a host name (SNI) that is not ASCII, which failed the handshake."""
    error, what = arguments.exc_value, arguments.object
    if not isinstance(error, UnicodeDecodeError):
        return False
    # Until Python 3.13 the name is the object that is reported, from 3.14 on the message holds it.
    says_so = (arguments.err_msg or "").startswith("Exception ignored in ssl servername callback")
    return says_so or (isinstance(what, bytes) and error.object == what)
