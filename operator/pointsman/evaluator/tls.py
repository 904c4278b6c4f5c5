"""Certificates: with them, only who has a client certificate of our authority may deliver logs and text."""

from pointsman.tls_files import Renewed, TLSFiles, server_context

__all__ = ["Renewed", "TLSFiles", "server_context"]
