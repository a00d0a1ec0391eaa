"""The verbs of the control protocol: their names, what they take, and who may use them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from manyhands.control.messages import Refusal, Request
from manyhands.control.params import Param, check, unknown
from manyhands.control.process import ControlledProcess
from manyhands.control.protocol import Code


class Asker(Protocol):
    """The client that asks, as a verb sees it."""

    process: ControlledProcess
    may_write: bool

    def watch(self, what: Sequence[str], every: float) -> None:
        """Have the client told from now on, by itself, of what it watches."""


class Verb(NamedTuple):
    """One verb.

    Attributes
    ----------
    name : str
        Its name.
    act : callable
        Does it, for an asker and with the parameters by their names; returns the result, or a `Later` for
        one that has to be waited for. It waits for no client and no hub itself, and for handlers in
        processes of their own a moment, to tell where they stand.
    help : str
        What it does.
    params : tuple of Param
        What it takes.
    writes : bool
        Whether it changes anything.
    """

    name: str
    act: Callable[..., object]
    help: str
    params: tuple[Param, ...] = ()
    writes: bool = False


class Verbs:
    """The verbs that there are.

    Parameters
    ----------
    verbs
        All of them.
    """

    def __init__(self, *verbs: Verb) -> None:
        self._verbs = {verb.name: verb for verb in verbs}

    def __iter__(self) -> "Iterator[Verb]":
        return iter(self._verbs.values())

    def act_of(self, verb: str) -> Callable[..., Any]:
        """Return what does one of them."""
        return self._verbs[verb].act

    def takes(self, verb: str, param: str) -> bool:
        """Tell whether there is a verb that takes a parameter."""
        return verb in self._verbs and any(each.name == param for each in self._verbs[verb].params)

    def do(self, asker: Asker, request: Request) -> object:
        """Do what a client asks for, and return the result.

        Raises
        ------
        Refusal
            There is no such verb, the client may not use it, it does not fit, or it cannot be done.
        """
        verb = self._verbs.get(request.verb)
        if verb is None:
            raise Refusal(Code.NO_SUCH_VERB, unknown("verb", request.verb, list(self._verbs)))
        if verb.writes and not asker.may_write:
            raise Refusal(
                Code.READING_ONLY,
                f"{verb.name} changes something, and this socket is for reading only",
            )
        # Null is what `jq` makes of a name that is not there, and a listener left out stands for all of them.
        params = check(verb.params, request.params, null_is_none=not verb.writes)
        return verb.act(asker, **params)
