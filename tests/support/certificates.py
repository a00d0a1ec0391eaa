"""Certificates made for one run of the tests."""

import ssl

import trustme


class Authority:
    """A certificate authority that vouches for localhost."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self._certificate = self._authority.issue_cert("localhost", "127.0.0.1")

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    def asking_server_context(self) -> ssl.SSLContext:
        """Return the context of a server that asks for the client's certificate, and takes none as well."""
        context = self.server_context()
        context.verify_mode = ssl.CERT_OPTIONAL
        self._authority.configure_trust(context)
        return context

    def known_client_context(self) -> ssl.SSLContext:
        """Return the context of a client that has a certificate of its own."""
        context = self.client_context()
        self._authority.issue_cert("client@example.org").configure_cert(context)
        return context
