"""What the Triton pool counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class PoolMetrics:
    """Loads and sweeps."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loads = Counter(
            "pointsman_operator_triton_loads_total",
            "Bundles loaded and probed on a server; outcome: ok, fetch, refused, unreachable or probe.",
            ["outcome"],
            registry=registry,
        )
        self.losses = Counter(
            "pointsman_operator_triton_losses_total",
            "Models that were ready and were found gone.",
            registry=registry,
        )
        self.sweeps = Counter(
            "pointsman_operator_triton_sweeps_total",
            "Models unloaded because nobody wants them.",
            registry=registry,
        )
