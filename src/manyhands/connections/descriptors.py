"""The descriptor of whatever stands for a connection or a listener, asked so that nothing is raised."""

from typing import Any


def descriptor_of(request: Any) -> int:
    """Return the descriptor; -1 when it is closed or detached, or there is no socket at all. Thread-safe."""
    try:
        return int(request.fileno())
    except (AttributeError, OSError, ValueError):
        return -1


def is_closed(request: Any) -> bool:
    """Tell whether a request's socket is closed or detached; what has none counts as closed."""
    return descriptor_of(request) < 0
