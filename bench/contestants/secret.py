"""The TLS of all contestants: the standard library's context, and a certificate for localhost."""

import ssl
from pathlib import Path


def context():
    """Return the context of a server."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(Path(__file__).parent / "localhost.pem")
    return made
