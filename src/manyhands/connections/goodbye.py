"""The goodbye of a TLS connection: said, and never waited for.

Without it a client cannot tell the end of what it was sent from an attacker's cut (RFC 8446, section 6.1),
and strict ones say so: "unexpected EOF while reading". `SSLSocket.shutdown` sends none, and
`SSLSocket.unwrap` waits for the client's own, for ever where that does not come.
"""

import sys
from typing import Any

from . import handshake, unannounced


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


def is_said_after_the_end(request: Any) -> bool:
    """Tell whether a connection that was half-closed beneath TLS can still be said goodbye to, in TLS.

    OpenSSL takes the missing goodbye of the client for an error, and tells the client so in place of ours,
    unless the context has `ssl.OP_IGNORE_UNEXPECTED_EOF`.
    """
    holder = request if handshake.is_tls(request) else unannounced.manner_due(request)
    ignores = getattr(sys.modules.get("ssl"), "OP_IGNORE_UNEXPECTED_EOF", 0)
    return holder is not None and bool(holder.context.options & ignores)
