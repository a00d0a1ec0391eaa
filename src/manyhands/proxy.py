"""The PROXY protocol: what a header says, and headers to send, for proxies and for tests.

What is announced of a connection is `proxy_header` of its handler and of its entry in `server.connections`;
`header_of` tells it of a request, for handlers that are functions. `ProxyHeaderParser` does no I/O.
"""

from manyhands.connections.socket_classes import header_of
from manyhands.protocol.proxy_addresses import Family
from manyhands.protocol.proxy_encoder import encode_local, encode_v1, encode_v2
from manyhands.protocol.proxy_errors import BadProxyHeader
from manyhands.protocol.proxy_header import Command, ProxyHeader, ProxyHeaderParser, Transport
from manyhands.protocol.proxy_tlvs import ClientFlag, ClientTls, SslTlvType, Tlv, TlvType

__all__ = [
    "BadProxyHeader",
    "ClientFlag",
    "ClientTls",
    "Command",
    "Family",
    "ProxyHeader",
    "ProxyHeaderParser",
    "SslTlvType",
    "Tlv",
    "TlvType",
    "Transport",
    "encode_local",
    "encode_v1",
    "encode_v2",
    "header_of",
]
