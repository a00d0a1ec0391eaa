"""How servers report what a handler or a hook raised: as the standard library does, unless told otherwise."""

import sys
import traceback
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
    traceback.print_exc()
    print(rule, file=sys.stderr)  # noqa: T201


_ways: list[Report] = [print_traceback]


def report(client_address: object) -> None:
    """Report the exception that is being handled in the way that was asked for last."""
    _ways[-1](client_address)


def report_by(way: Report) -> Callable[[], None]:
    """Have all servers of this process report in another way from now on; return what ends that."""
    _ways.append(way)
    return lambda: _ways.remove(way)


# Warning without a risk to the service.


def warn(message: str, *, stacklevel: int = 1) -> None:
    """Issue a `RuntimeWarning`; one that is made an exception goes to `sys.excepthook`.

    ``python -W error`` is for finding what a program should not do. A server that runs under it still serves:
    a client must not pay for a warning.

    Parameters
    ----------
    message
        What to say.
    stacklevel
        Whose line is named: 1 the caller's, 2 that of the caller's caller, as in `warnings.warn`.
    """
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel + 1)
    except Exception as error:  # noqa: BLE001 - a RuntimeWarning, or what the program's showwarning raises
        sys.excepthook(type(error), error, error.__traceback__)
