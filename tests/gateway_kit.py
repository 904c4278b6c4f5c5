"""Gateways, Deployments and pods as the tests want them."""

from __future__ import annotations

from typing import Any

from pointsman.api.v1alpha1.routing_gateway import RoutingGateway


def gateway(**spec: Any) -> RoutingGateway:
    """Return a gateway with one HTTP listener."""
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    raw = {
        "metadata": {"name": "default", "namespace": "pm", "uid": "u", "generation": 1},
        "spec": {"listeners": listeners, **spec},
    }
    return RoutingGateway.model_validate(raw)


def deployment(wanted: int = 2, *, generation: int = 1, **status: int) -> dict[str, Any]:
    """Return a Deployment, by default with all of its pods."""
    whole = {
        "observedGeneration": generation,
        "replicas": wanted,
        "updatedReplicas": wanted,
        "readyReplicas": wanted,
        "availableReplicas": wanted,
    }
    return {
        "metadata": {"name": "d", "generation": generation},
        "spec": {"replicas": wanted},
        "status": whole | status,
    }
