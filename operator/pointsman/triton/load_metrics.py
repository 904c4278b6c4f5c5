"""What loading models on Tritons counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class LoadMetrics:
    """Loads and sweeps."""

    def __init__(self, registry: CollectorRegistry, prefix: str = "pointsman_operator_triton") -> None:
        self.loads = Counter(
            f"{prefix}_loads_total",
            "Bundles loaded and probed on a server; outcome: ok, fetch, refused, unreachable or probe.",
            ["outcome"],
            registry=registry,
        )
        self.losses = Counter(
            f"{prefix}_losses_total",
            "Models that were ready and were found gone.",
            registry=registry,
        )
        self.sweeps = Counter(
            f"{prefix}_sweeps_total",
            "Models unloaded because nobody wants them.",
            registry=registry,
        )
