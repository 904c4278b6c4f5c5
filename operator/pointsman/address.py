"""Addresses as `host:port`."""

from __future__ import annotations

import ipaddress


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port`; IPv6 hosts are in brackets. ValueError if it is none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address}: not host:port")
    return host.strip("[]"), int(port)


def is_ip(host: str) -> bool:
    """Tell an IP address from a name that DNS must resolve."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
