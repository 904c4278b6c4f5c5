"""How long a step may last. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.settings import Settings


def longest(cfg: Settings, name: str) -> float:
    """Return the seconds after which a step is inconclusive; the canary's are for all weights."""
    known = {
        "Load": cfg.load_max_s,
        "Gate": cfg.gate_max_s,
        "Noise": cfg.noise_max_s,
        "Shadow": cfg.shadow_max_s,
    }
    return known.get(name, cfg.canary_max_s)
