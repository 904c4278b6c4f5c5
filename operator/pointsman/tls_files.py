"""Certificates of our parts: each shows its own, and demands one of our authority of whom it talks to.

Files may be renewed at any time, the authority's, too: they are looked at whenever a connection begins.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import grpc

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files: our certificate, its key, and the authorities of our peers' certificates."""

    cert: Path
    key: Path
    client_ca: Path

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return credentials that demand a client certificate; renewed files are read in."""
        from pointsman.tls import grpc_credentials  # gRPC is heavy, and most parts need none

        return grpc_credentials(self.cert, self.key, self.client_ca)

    def server_context(self) -> ssl.SSLContext:
        """Return a server's context that demands a client certificate, by the files as they are now."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.client_ca))
        context.load_cert_chain(self.cert, self.key)
        context.verify_mode = ssl.CERT_REQUIRED
        # a session that is resumed would not be held against the authorities again
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a client's context, by the files as they are now."""
        context = ssl.create_default_context(cafile=str(self.client_ca))
        context.load_cert_chain(self.cert, self.key)
        return context

    def there(self) -> bool:
        """Tell whether all files are there: a Secret may be made after its pod."""
        return all(path.is_file() for path in (self.cert, self.key, self.client_ca))

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes whenever a file does. OSError while one is not there."""
        stats = (path.stat() for path in (self.cert, self.key, self.client_ca))
        return tuple((found.st_mtime_ns, found.st_ino, found.st_size) for found in stats)


class Renewed:
    """A context that is made anew when its files are; those that cannot be read leave the last one."""

    def __init__(self, files: TLSFiles, make: Callable[[TLSFiles], ssl.SSLContext]) -> None:
        """Read the files; OSError or SSLError (one too) if that fails the first time."""
        self._files = files
        self._make = make
        self._stamp = files.stamp()
        self._failed: object = None
        self._context = make(files)

    def get(self) -> ssl.SSLContext:
        """Return the context: the same object until a file was renewed."""
        try:
            stamp = self._files.stamp()
            if stamp != self._stamp:
                self._context = self._make(self._files)
                self._stamp, self._failed = stamp, None
                log.info("renewed certificates are in use", extra={"certificate": str(self._files.cert)})
        except OSError as error:  # ssl.SSLError is one; half-written files, for a moment
            if str(error) != self._failed:
                log.warning("keeping the old certificates: %s", error)
                self._failed = str(error)
        return self._context


def server_context(files: TLSFiles) -> ssl.SSLContext:
    """Return a server's context for good: each handshake goes by the files as they are then."""
    renewed = Renewed(files, TLSFiles.server_context)
    shown = files.server_context()

    def begin(handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = renewed.get()  # certificate, key and authorities; called without SNI, too

    shown.sni_callback = begin
    return shown
