"""Names that the drop-in has beyond the standard library's: a program's own of the same name counts.

A handler class may stand on ours first, and then on classes of the program's or of another library's. A
method of theirs would be hidden by a new one of ours, which the standard library's class does not have.
"""

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Yielding:
    """A method that yields to one of its name in any other class among the bases, wherever that stands."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._owner: type | None = None
        self._name = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name

    def __get__(self, thing: Any, kind: type) -> Any:
        bases = kind.__mro__
        start = bases.index(self._owner) + 1 if self._owner in bases else len(bases)
        for base in bases[start:]:
            other = vars(base).get(self._name)
            if other is not None:
                bind = getattr(type(other), "__get__", None)
                return other if bind is None else bind(other, thing, kind)
        return self._function if thing is None else MethodType(self._function, thing)


if TYPE_CHECKING:

    def yields_to_others(function: _Function) -> _Function:
        """Mark a method of ours."""

else:
    yields_to_others = _Yielding
