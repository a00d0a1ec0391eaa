"""What a worker is given by its supervisor: its number, its channels, and its listeners."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from manyhands.listening.endpoints import Endpoint
from manyhands.model.socket_addresses import address_of_plain, plain_address

FIRST_LISTENER = 5
"""The position of the first listener's descriptor in a share: after those that each worker has once."""


class DealtEndpoint(NamedTuple):
    """A listener as a worker is to have it.

    Attributes
    ----------
    endpoint : Endpoint
        What it is; its descriptor is that of the deal channel, or of the socket for datagrams.
    is_given : bool
        Whether the listening socket was given to the supervisor, with the options of its giver.
    """

    endpoint: Endpoint
    is_given: bool


class Share(NamedTuple):
    """What one worker is given.

    Attributes
    ----------
    number : int
        The worker's number, from 1.
    generation : int
        The number of its generation, from 1.
    slot : int
        Its slot of the page.
    listeners : tuple of DealtEndpoint
        What it is to serve, in the supervisor's order.
    options : mapping of str to object
        The options of the server that an operator has changed, and others that this process does not know.
    hub : str
        The name of the hub by which workers tell each other things; empty where there is none.
    workers : int
        How many workers its generation has.
    spares : tuple of (int, int)
        The position of each listener for datagrams that has one, and the descriptor of the socket that a
        neighbour reads: this worker does while the neighbour is down.
    link, control, page, stacks, hand_overs : int
        Descriptors: of the link, of the channel on which operators' questions come, of the page, of the pipe
        that takes the stacks when the worker hangs, and of the channel on which it hands connections back.
    """

    number: int
    generation: int
    slot: int
    listeners: tuple[DealtEndpoint, ...]
    options: Mapping[str, Any]
    hub: str
    workers: int = 1
    spares: tuple[tuple[int, int], ...] = ()
    link: int = -1
    control: int = -1
    page: int = -1
    stacks: int = -1
    hand_overs: int = -1

    @property
    def descriptors(self) -> list[int]:
        """All descriptors, in the order in which they travel."""
        return [
            self.link,
            self.control,
            self.page,
            self.stacks,
            self.hand_overs,
            *(each.endpoint.descriptor for each in self.listeners),
            *(descriptor for _, descriptor in self.spares),
        ]

    def as_plain(self) -> dict[str, object]:
        """Return it as JSON has it, without its descriptors."""
        return {
            "number": self.number,
            "generation": self.generation,
            "slot": self.slot,
            "listeners": [
                [*plain_endpoint(endpoint), is_given] for endpoint, is_given in self.listeners
            ],
            "options": dict(self.options),
            "hub": self.hub,
            "workers": self.workers,
            "spares": [position for position, _ in self.spares],
        }

    @classmethod
    def of_plain(cls, said: Mapping[str, Any], descriptors: Sequence[int]) -> Self:
        """Make it of that, and of the descriptors that have come with it."""
        first_spare = FIRST_LISTENER + len(said["listeners"])
        listeners = tuple(
            DealtEndpoint(endpoint_of(*rest, descriptor=descriptor), bool(is_given))
            for (*rest, is_given), descriptor in zip(
                said["listeners"], descriptors[FIRST_LISTENER:first_spare], strict=True
            )
        )
        return cls(
            int(said["number"]),
            int(said["generation"]),
            int(said["slot"]),
            listeners,
            said["options"],
            str(said["hub"]),
            int(said["workers"]),
            tuple(zip(said["spares"], descriptors[first_spare:], strict=True)),
            *descriptors[:FIRST_LISTENER],
        )


def plain_endpoint(endpoint: Endpoint) -> list[Any]:
    """Return an endpoint as JSON has it, for `endpoint_of`: what it is asked for by, and no descriptor."""
    return [
        int(endpoint.family),
        int(endpoint.kind),
        plain_address(endpoint.address),
        endpoint.is_dual_stack,
        endpoint.is_tls,
    ]


def endpoint_of(  # noqa: PLR0913 - all that is written down of it
    family: int, kind: int, address: Any, is_dual_stack: bool, is_tls: bool, *, descriptor: int = -1
) -> Endpoint:
    """Return an endpoint of what JSON has of it."""
    return Endpoint(
        socket.AddressFamily(family),
        socket.SocketKind(kind),
        address_of_plain(address),
        is_dual_stack,
        is_tls,
        descriptor,
    )
