"""The certificate authority of a local hub.

Made with trustme: it comes with the development requirements that ``scripts/run`` and
``scripts/test`` install, needs no program on the path, and takes 5 ms a certificate where the
openssl program takes 70.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import trustme


@dataclass(frozen=True)
class IssuedCertificate:
    """A server certificate with its chain, and its key, both PEM."""

    chain: str
    key: str
    expires: datetime


class Authority:
    """A private root; everything a module must trust is `certificate`."""

    def __init__(self, ca: trustme.CA | None = None) -> None:
        self._ca = ca or trustme.CA(organization_name="local hub")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The authority kept in ``folder``; a new one where there is none."""
        certificate, key = folder / "ca.pem", folder / "ca.key"
        if certificate.exists() and key.exists():
            return cls(trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes()))
        authority = cls()
        key.touch(mode=0o600)
        key.write_bytes(authority._ca.private_key_pem.bytes())
        certificate.write_text(authority.certificate)
        return authority

    @property
    def certificate(self) -> str:
        """The root certificate, PEM."""
        return self._ca.cert_pem.bytes().decode()

    def issue(self, *names: str, life: timedelta = timedelta(days=30)) -> IssuedCertificate:
        """A server certificate for DNS names and IP addresses, the first as common name."""
        expires = (datetime.now(UTC) + life).replace(microsecond=0)
        leaf = self._ca.issue_cert(*names, common_name=names[0], not_after=expires)
        chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
        return IssuedCertificate(
            chain=chain.decode() + self.certificate,
            key=leaf.private_key_pem.bytes().decode(),
            expires=expires,
        )

    def server_context(self, *names: str) -> ssl.SSLContext:
        """TLS for a server of these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*names).configure_cert(context)
        return context
