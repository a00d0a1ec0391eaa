"""The addresses of another program that is to take this process over: had before it does."""

import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from manyhands.listening import multicast
from manyhands.listening.bind import bind, listen, sentence_of
from manyhands.listening.endpoints import Endpoint, endpoints
from manyhands.model.addresses import Address
from manyhands.model.usage_errors import Mistake
from manyhands.supervisor.fleet_terms import check_count
from manyhands.workers.share import endpoint_of, plain_endpoint
from manyhands.workers.shared_page import MOST_LISTENERS

if TYPE_CHECKING:
    from manyhands.listening.unix_paths import BoundPath


def asked_for(addresses: Iterable[Address]) -> list[list[Any]]:
    """Return the endpoints that a program asks for, as JSON has them; of too many no more than show that.

    After each, whether its file is to have a mode or an owner of its own. Not those of sockets that are
    given, which are the supervisor's alone.

    Raises
    ------
    Mistake, OSError
        As of `endpoints`.
    """
    asked = [each for address in addresses if not address.is_given for each in endpoints(address)]
    return [
        [*plain_endpoint(each), each.access is not None] for each in asked[: MOST_LISTENERS + 1]
    ]


class NewAddresses:
    """The addresses that a program which is to take over has, and this one has not. Not thread-safe.

    They are had from the look at that program on, lest somebody else have one by then: the new program could
    not serve, and the old one would be no more. Clients that find one meanwhile wait in its backlog. Others
    are only tried: those for datagrams, of which nobody would read what comes, and files not for everybody.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self.sockets: list[tuple[Endpoint, socket.socket]] = []
        """Those that listen, for the new program."""

    def take(
        self,
        asked: Sequence[Sequence[Any]],
        held: Iterable[Endpoint],
        shares_port: Callable[[Endpoint], bool],
        backlog: int,
    ) -> str:
        """Have them; return why a program that asks for these endpoints could not serve them, or nothing.

        Parameters
        ----------
        asked
            As of `asked_for`.
        held
            What is bound here, and need not be bound again.
        shares_port
            Whether the socket for an endpoint is bound with SO_REUSEPORT.
        backlog
            How many clients may wait at each address.
        """
        self.release()
        guarded = {endpoint_of(*each) for *each, is_guarded in asked if is_guarded}
        missing = Counter(endpoint_of(*each) for *each, _ in asked)
        missing.subtract(endpoint_of(*plain_endpoint(each)) for each in held)
        kept: list[tuple[Endpoint, socket.socket]] = []
        # All at the same time, for one may be in the way of another one.
        with ExitStack() as tried, ExitStack() as taken:
            try:
                check_count(len(asked))
                for endpoint in missing.elements():
                    is_kept = endpoint.kind == socket.SOCK_STREAM and endpoint not in guarded
                    keeper = taken if is_kept else tried
                    made = keeper.enter_context(socket.socket(endpoint.family, endpoint.kind))
                    path = _bind(made, endpoint, shares_port=shares_port(endpoint))
                    if path is not None:
                        keeper.callback(path.unlink)
                    # Also one that is only tried: two that are bound, with SO_REUSEADDR, are not in each
                    # other's way (socket(7)).
                    if endpoint.kind == socket.SOCK_STREAM:
                        listen(made, endpoint.address, backlog)
                    if is_kept:
                        kept.append((endpoint, made))
            except (OSError, Mistake) as error:
                return sentence_of(error)
            self.sockets, self._held = kept, taken.pop_all()
        return ""

    def release(self) -> None:
        """Have them no more: the other program does not take over."""
        self.sockets.clear()
        self._held.close()


def _bind(made: socket.socket, endpoint: Endpoint, *, shares_port: bool) -> "BoundPath | None":
    """Have a socket bound as that of a listener; return the file that this has made, if any.

    Raises
    ------
    OSError
        When that cannot be; the text says what holds the address.
    """
    if endpoint.kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    elif endpoint.family in multicast.FAMILIES and multicast.is_group(
        endpoint.family, endpoint.address[0]
    ):
        multicast.prepare(made)
    if shares_port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if endpoint.is_dual_stack:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return bind(made, endpoint.address)
