"""What translation needs beside the plan: addresses and limits of one fleet of Envoys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SYSTEM_CA_FILE: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian, Alpine and Envoy's own image keep the certificates that the system trusts."""


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the data plane; sizes in bytes."""

    entry_address: str = "0.0.0.0:8080"
    """`host:port` that the entry listener binds."""
    capture: bool = True
    """False: no text leaves Envoy, whatever the policies say."""
    compress: bool = False
    """True: JSON answers are gzipped towards clients that accept it (costs CPU; event streams never are)."""
    body_limit: int = 16 * 1024 * 1024
    """Longest request body; beyond it the answer is 413."""
    classify_limit: int = 1024 * 1024
    """Longest body that the classifier is asked about; longer ones go to the last tier."""
    scan_budget: int = 1_000_000
    """Most work of one scan for `model`, in bytes outside strings plus quotes: about 10 ms at worst."""
    ca_file: str = SYSTEM_CA_FILE
    """Authorities that https endpoints are checked against."""
    connect_timeout_s: float = 5.0
    """Longest wait for a tier's connection."""
