"""The goodbye of a TLS connection: said, and never waited for.

Without it a client cannot tell the end of what it was sent from an attacker's cut (RFC 8446, section 6.1),
and strict ones say so: "unexpected EOF while reading". `SSLSocket.shutdown` sends none, and
`SSLSocket.unwrap` waits for the client's own, for ever where that does not come.
"""

from typing import Any

from . import handshake


def say_goodbye(request: Any) -> None:
    """Send close_notify on a TLS connection whose handshake is done, if that can be done at once.

    Of anything else, and of a connection that is closed or broken, nothing is sent, and nothing raised.
    """
    if not handshake.is_tls(request) or isinstance(request, handshake.Unshaken):
        return
    try:
        usual_timeout = request.gettimeout()
        request.settimeout(0.0)
        try:
            request.unwrap()
        finally:
            # A program may have a duplicate of the descriptor, which shares whether it blocks.
            request.settimeout(usual_timeout)
    except (OSError, ValueError, AttributeError):
        # As a rule `SSLWantReadError`: the goodbye is on its way, and the client's would be waited for.
        # Or the connection has been closed or shut down, just now by another thread perhaps.
        return
