"""Changing what a socket object does while it is in use, by giving it another class.

The descriptor, the object's identity and its layout stay. So the program, its hooks and the kernel go on
with the same connection, and no wrapper stands between them and it.
"""

import functools
from typing import Any


def mix_into(connection: Any, behaviour: type) -> None:
    """Put the methods of `behaviour` before those that the object's class has.

    Raises
    ------
    TypeError
        When the object is none of Python's, or its class has another layout.
    """
    base: Any = type(connection)
    connection.__class__ = class_with(behaviour, base)


@functools.cache
def class_with(behaviour: Any, base: Any) -> Any:
    """Make the class of objects of class `base` that `behaviour` comes before.

    It carries the name that people know; only `type()` tells the two apart. Without slots of its own it has
    the layout of `base`, which is what assigning to ``__class__`` asks for.
    """
    body: dict[str, Any] = {"__slots__": (), "__module__": base.__module__, "__doc__": base.__doc__}
    extra = getattr(behaviour, "methods_for", None)
    if extra is not None:
        body |= extra(base)
    return type(base.__name__, (behaviour, base), body)
