"""How servers report what a handler or a hook raised: as the standard library does, unless told otherwise."""

import sys
import warnings
from collections.abc import Callable

Report = Callable[[object], None]
"""Reports the exception that is being handled; its argument is the client's address, or None."""


def print_traceback(client_address: object) -> None:
    """Print the exception that is being handled to standard error, as `socketserver` does."""
    rule = "-" * 40
    print(rule, file=sys.stderr)  # noqa: T201 - the standard library's output, which programs know
    print(  # noqa: T201
        "Exception occurred during processing of request from",
        client_address,
        file=sys.stderr,
    )
    _print_exception()
    print(rule, file=sys.stderr)  # noqa: T201


def _print_exception() -> None:
    error = sys.exception()
    try:
        import traceback  # noqa: PLC0415 - takes 3 ms, which a server without errors is spared

        traceback.print_exception(error)
    except (ImportError, OSError):
        # The module cannot be loaded: no descriptor is left (EMFILE), or the program has another root by now
        # (chroot(2)). The interpreter itself needs none.
        if error is not None:
            sys.__excepthook__(type(error), error, error.__traceback__)


_ways: list[Report] = [print_traceback]


def report(client_address: object) -> None:
    """Report the exception that is being handled, in the way that `report_by` set last."""
    _ways[-1](client_address)


def report_by(way: Report) -> Callable[[], None]:
    """Have all servers of this process report in another way from now on; return what ends that."""
    _ways.append(way)
    return lambda: _ways.remove(way)


def warn(message: str, *, stacklevel: int = 1) -> None:
    """Issue a `RuntimeWarning`. Where a filter makes it an exception, that goes to `sys.excepthook`.

    ``python -W error`` is for finding what a program should not do. A server that runs under it still serves:
    a client must not pay for a warning.

    Parameters
    ----------
    message
        What to say.
    stacklevel
        The line that the warning names: 1 the caller's, 2 that of the caller's caller, as in `warnings.warn`.
    """
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel + 1)
    except Exception as error:  # noqa: BLE001 - a RuntimeWarning, or what the program's showwarning raises
        sys.excepthook(type(error), error, error.__traceback__)
