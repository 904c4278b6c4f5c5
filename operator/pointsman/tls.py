"""TLS of our gRPC servers, from PEM files that may be renewed while we run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from pathlib import Path


def grpc_credentials(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """Return TLS that reads renewed files in; with `client_ca`, only its certificates' holders are served."""

    def read() -> grpc.ServerCertificateConfiguration | None:
        shown = cert.read_bytes()
        found = grpc.ssl_server_certificate_configuration(
            [(key.read_bytes(), shown)],
            root_certificates=client_ca.read_bytes() if client_ca else None,
        )
        return found if cert.read_bytes() == shown else None  # else the key may be the next certificate's

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        try:
            return read()
        except OSError:
            return None  # being replaced: keep what we have

    return grpc.dynamic_ssl_server_credentials(
        read() or read(), renewed, require_client_authentication=client_ca is not None
    )
