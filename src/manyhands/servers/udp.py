"""Datagram servers: UDP and Unix."""

import socket
from typing import Any

from manyhands.rules import events

from .tcp import TCPServer


class UDPServer(TCPServer):
    """Serves datagrams; a request is the pair of the datagram and the socket to answer on."""

    socket_type: int = socket.SOCK_DGRAM

    # On a datagram socket it would let a second server take the port over.
    allow_reuse_address: bool = False
    allow_reuse_port: bool = False

    max_packet_size: int = 8192
    """Bytes that a handler gets of a datagram; what was longer is cut, counted, and told as an event."""

    truncated_datagrams: int = 0
    """How many datagrams were cut to `max_packet_size`."""

    def get_request(self) -> tuple[Any, Any]:
        """Receive one datagram. A hook."""
        # One byte more than is wanted tells whether there was more.
        data, client_address = self.socket.recvfrom(self.max_packet_size + 1)
        if len(data) > self.max_packet_size:
            data = data[: self.max_packet_size]
            self.truncated_datagrams += 1
            events.hub.emit(
                events.DatagramTruncated(
                    self._describe_listener(), client_address, self.max_packet_size
                )
            )
        return (data, self.socket), client_address

    def server_activate(self) -> None:
        """Do nothing: a datagram socket receives as soon as it is bound."""

    def shutdown_request(self, request: Any) -> None:
        """Do nothing but `close_request`: the socket is the server's own."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Do nothing: the socket is the server's own."""
