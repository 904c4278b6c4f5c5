"""Policies and revisions as the API server would give them: small, valid, told apart by a few words."""

from __future__ import annotations

from typing import Any

from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision

BUNDLE = "a" * 64
PINNED: dict[str, Any] = {"type": "Pinned", "pinned": {"tier": "cheap"}}
CLASSIFIER: dict[str, Any] = {
    "type": "Classifier",
    "classifier": {
        "artifact": {"uri": "configmap://bundle", "sha256": BUNDLE},
        "thresholds": [{"tier": "cheap", "minScorePermille": 640}],
    },
}


def tier(name: str, url: str = "http://10.0.0.1:8000/v1", **fields: Any) -> dict[str, Any]:
    """Return a tier in JSON form."""
    return {"name": name, "endpoints": [{"url": url}], "model": f"model-{name}"} | fields


def triton(*urls: str) -> dict[str, Any]:
    """Return where the classifier runs."""
    return {"external": {"urls": list(urls or ("http://10.0.1.1:8000",))}}


def policy(
    name: str = "p",
    *,
    namespace: str = "ns",
    uid: str | None = None,
    created: str = "2026-11-01T10:00:00Z",
    deleted: str | None = None,
    gateway: str = "default",
    hosts: tuple[str, ...] = ("llm.example.com",),
    models: tuple[str, ...] = ("auto",),
    tiers: tuple[dict[str, Any], ...] = (),
    traffic: dict[str, int] | None = None,
    stable: str | None = None,
    candidate: str | None = None,
    **spec: Any,
) -> RoutingPolicy:
    """Return a policy with the tiers cheap and strong; `traffic` is weights in permille by revision."""
    shares = [{"revision": r, "weightPermille": w} for r, w in (traffic or {}).items()]
    made = {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{namespace}-{name}",
            "generation": 1,
            "creationTimestamp": created,
            "deletionTimestamp": deleted,
        },
        "spec": {
            "gatewayRef": {"name": gateway},
            "match": {"hostnames": list(hosts), "models": list(models)},
            "tiers": list(tiers or (tier("cheap"), tier("strong"))),
            "strategy": PINNED,
            "rollout": {"mode": "Direct"},
        }
        | spec,
        "status": {"traffic": shares, "stableRevision": stable, "candidateRevision": candidate},
    }
    return RoutingPolicy.model_validate(made)


def revision(
    name: str,
    of: RoutingPolicy,
    *,
    uid: str | None = None,
    tiers: tuple[dict[str, Any], ...] = (),
    **spec: Any,
) -> RoutingPolicyRevision:
    """Return a revision that a policy (or, with another `uid`, a stranger) owns; pinned to cheap."""
    made = {
        "metadata": {
            "name": name,
            "namespace": of.metadata.namespace,
            "ownerReferences": [
                {"kind": "RoutingPolicy", "name": of.metadata.name, "uid": uid or of.metadata.uid}
            ],
        },
        "spec": {
            "policyRef": {"name": of.metadata.name},
            "tiers": list(tiers or (tier("cheap"), tier("strong"))),
            "strategy": PINNED,
        }
        | spec,
    }
    return RoutingPolicyRevision.model_validate(made)


def by_key(*revisions: RoutingPolicyRevision) -> dict[str, RoutingPolicyRevision]:
    """Return revisions as `build` takes them."""
    return {each.key: each for each in revisions}
