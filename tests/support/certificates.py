"""Certificates made for one run of the tests."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path


class Authority:
    """A certificate authority that vouches for localhost."""

    def __init__(self) -> None:
        # Here, since it takes a third of the start of a program that imports these helpers for another one.
        import trustme  # noqa: PLC0415

        self._kinds_of_keys = trustme.KeyType
        self._authority = trustme.CA()
        self._certificate = self._authority.issue_cert("localhost", "127.0.0.1")

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        return context

    @property
    def pem(self) -> str:
        """The certificate of the authority itself."""
        return self._authority.cert_pem.bytes().decode()

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

    def write(
        self,
        folder: Path,
        *names: str,
        stem: str = "site",
        is_rsa: bool = False,
        days: tuple[float, float] | None = None,
    ) -> tuple[str, str]:
        """Issue a certificate, write it and its key into a folder, and return the paths of the two files.

        It is valid from one day on until another, counted from now.
        """
        valid: dict[str, datetime] = {}
        if days is not None:
            now = datetime.now(UTC).replace(microsecond=0)
            limits = (now + timedelta(days=day) for day in days)
            valid = dict(zip(("not_before", "not_after"), limits, strict=True))
        issued = self._authority.issue_cert(
            *names,
            key_type=self._kinds_of_keys.RSA if is_rsa else self._kinds_of_keys.ECDSA,
            **valid,
        )
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        certfile, keyfile = folder / f"{stem}.pem", folder / f"{stem}.key"
        replace(certfile, chain)
        replace(keyfile, issued.private_key_pem.bytes())
        return str(certfile), str(keyfile)

    def write_authority(self, folder: Path) -> str:
        """Write the certificate of the authority itself into a folder; return its path."""
        path = folder / "ca.pem"
        replace(path, self.pem.encode())
        return str(path)


def replace(path: Path, contents: bytes) -> None:
    """Put a file in the place of another at once, as careful programs do: no reader gets half of it."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(contents)
    os.replace(new, path)  # noqa: PTH105 - the system call is the point
