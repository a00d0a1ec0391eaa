"""A listening socket that a program has wrapped for TLS, as a worker has it."""

from typing import Any

from manyhands.connections.socket_classes import ActsAsTLS, TLSTerms
from manyhands.connections.tls_handshake import wrap
from manyhands.workers.dealt_socket import DealtSocket


class DealtTLSSocket(ActsAsTLS, DealtSocket):
    """Stands where that would be: the accept loop has the worker of each connection do the handshake.

    It is no `ssl.SSLSocket`, which under gevent is of another layout.

    Attributes
    ----------
    context, do_handshake_on_connect, suppress_ragged_eofs
        As the listening socket has them: see `TLSTerms`.
    """

    def speak(self, terms: TLSTerms) -> None:
        """Have what is accepted speak TLS."""
        self.context = terms.context
        self.suppress_ragged_eofs = terms.suppress_ragged_eofs
        self.do_handshake_on_connect = terms.do_handshake_on_connect
        self._terms = terms

    def accept(self) -> tuple[Any, Any]:
        """Accept a connection and do its handshake, as `ssl.SSLSocket.accept` does, for hooks of programs."""
        plain, address = super().accept()
        try:
            connection = wrap(plain, self._terms)
            if self.do_handshake_on_connect:
                connection.do_handshake()
        except BaseException:
            plain.close()
            raise
        return connection, address
