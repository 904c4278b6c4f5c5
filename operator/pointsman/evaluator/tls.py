"""Certificates: with them, only who has a client certificate of our authority may deliver logs and text."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.tls import grpc_credentials

if TYPE_CHECKING:
    from pathlib import Path

    import grpc


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files: our certificate, its key, and the authority of Envoy's client certificates."""

    cert: Path
    key: Path
    client_ca: Path

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return credentials that demand a client certificate; a renewed one of ours is read in."""
        return grpc_credentials(self.cert, self.key, self.client_ca)

    def context(self) -> ssl.SSLContext:
        """Return a server's context that demands a client certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.client_ca))
        context.load_cert_chain(self.cert, self.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def reload(self, context: ssl.SSLContext) -> None:
        """Read a renewed certificate in, for new connections; OSError leaves the old one."""
        context.load_cert_chain(self.cert, self.key)
