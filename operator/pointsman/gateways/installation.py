"""What every gateway of an installation has in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Installation:
    """Where Pointsman is installed, and the images of what it runs."""

    namespace: str
    image: str
    """Of our own parts: writes Envoy's bootstrap."""
    envoy_image: str
    """With bash, which starts Envoy and drains it."""
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets with which these images are pulled."""
