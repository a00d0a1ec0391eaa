"""Warning without a risk to the service."""

import sys
import warnings


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
