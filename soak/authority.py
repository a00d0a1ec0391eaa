"""Certificates that are replaced while they are in use."""

from pathlib import Path

import trustme


class Authority:
    """Vouches for 127.0.0.1, with files in a folder.

    Parameters
    ----------
    folder
        Where the files are, and will be replaced.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.certfile = folder / "site.pem"
        self.keyfile = folder / "site.key"
        self.ca.write_bytes(self._authority.cert_pem.bytes())

    def issue(self) -> None:
        """Put a new certificate in the place of the one that is there, key and all."""
        issued = self._authority.issue_cert("127.0.0.1")
        _replace(self.keyfile, issued.private_key_pem.bytes())
        _replace(self.certfile, b"".join(pem.bytes() for pem in issued.cert_chain_pems))


def _replace(path: Path, contents: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(contents)
    new.replace(path)
