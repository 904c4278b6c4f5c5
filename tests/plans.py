"""Plans for tests: small, valid, told apart by one word."""

from __future__ import annotations

from pointsman.plan.types import ArmPlan, Endpoint, PolicyPlan, SecretName, TierPlan


def tier(
    name: str = "strong",
    *,
    model: str = "large",
    host: str = "127.0.0.1",
    port: int = 8000,
    namespace: str = "default",
    api_key: SecretName | None = None,
) -> TierPlan:
    """Return a tier with one plain HTTP endpoint."""
    return TierPlan(
        name=name,
        endpoints=(Endpoint("http", host, port, "/v1"),),
        model=model,
        api_key=api_key,
        idle_timeout_ms=5_000,
        total_timeout_ms=10_000,
        namespace=namespace,
    )


def arm(*tiers: TierPlan, revision: str = "r1", weight: int = 1000, pinned: str | None = None) -> ArmPlan:
    """Return an arm without a classifier: all traffic to its last tier, or to `pinned`."""
    return ArmPlan(revision=revision, weight_permille=weight, tiers=tiers or (tier(),), pinned=pinned)


def policy(
    name: str = "p",
    *arms: ArmPlan,
    namespace: str = "default",
    generation: int = 1,
    warm: tuple[ArmPlan, ...] = (),
    hostname: str | None = None,
) -> PolicyPlan:
    """Return a policy for the model `auto` on a hostname of its own."""
    return PolicyPlan(
        namespace=namespace,
        name=name,
        generation=generation,
        hostnames=(hostname or f"{name}.example.com",),
        models=("auto",),
        arms=arms or (arm(),),
        warm=warm,
    )
