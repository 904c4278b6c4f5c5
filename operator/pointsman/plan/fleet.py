"""RoutingGateways: which listeners their Envoys have, and which policies they take. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import AcceptedReason
from pointsman.plan.types import CertificateName, Finding, FrontPlan, ListenerPlan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pointsman.api.v1alpha1 import RoutingPolicy
    from pointsman.api.v1alpha1.routing_gateway import RoutingGateway

_BODY_LIMIT: Final = "16Mi"
_UNITS: Final[dict[str, Decimal | int]] = {
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}
_SHOWN: Final = 8
"""Most names that a message lists."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The RoutingGateways of an installation, by name, and the labels that they choose namespaces by."""

    namespace: str
    """The system namespace."""
    gateways: Mapping[str, RoutingGateway]
    leaving: Mapping[str, RoutingGateway] = field(default_factory=dict)
    """Deleted ones whose Envoys are still connected: they finish what they have, and take nothing new."""
    labels: Mapping[str, Mapping[str, str]] | None = None
    """Of each namespace; None: not read yet."""

    def fronts(self) -> dict[str, FrontPlan]:
        """Return what each gateway's Envoys bind."""
        return {name: front(each) for name, each in {**self.leaving, **self.gateways}.items()}

    @property
    def needs_labels(self) -> bool:
        """Tell whether a gateway chooses namespaces by their labels."""
        return any(_by_labels(gateway) for gateway in self.gateways.values())

    def tier_hosts(self, gateway: str) -> tuple[str, ...]:
        """Return the hosts that tiers on a gateway may be at; empty: any."""
        found = self.gateways.get(gateway) or self.leaving.get(gateway)
        return tuple(found.spec.tier_hosts) if found is not None else ()

    def refusal(self, policy: RoutingPolicy) -> Finding | None:
        """Return why a policy's gateway does not take it; None: it does, or nobody can say yet."""
        name, namespace = policy.spec.gateway_ref.name, policy.metadata.namespace
        gateway = self.gateways.get(name)
        if gateway is None:
            return Finding(policy.key, AcceptedReason.GATEWAY_NOT_FOUND, self._no_gateway(name))
        allowed = gateway.spec.allowed_namespaces
        if allowed is None or self.in_doubt(policy):
            return None
        if allowed.allow(self.namespace, namespace, dict((self.labels or {}).get(namespace, {}))):
            return None
        remedy = "use another gateway, or ask who runs this one to allow the namespace"
        if allowed.selector is not None:
            wanted = ",".join(f"{k}={v}" for k, v in sorted(allowed.selector.match_labels.items()))
            remedy = f"use another gateway, or have the namespace labelled {wanted}"
        return Finding(
            policy.key,
            AcceptedReason.NAMESPACE_NOT_ALLOWED,
            f"gatewayRef: RoutingGateway {name} takes no policies of namespace {namespace} "
            f"(allowedNamespaces.from is {allowed.from_}); {remedy}",
        )

    def in_doubt(self, policy: RoutingPolicy) -> bool:
        """Tell whether it takes labels that have not been read to know if the gateway takes a policy."""
        gateway = self.gateways.get(policy.spec.gateway_ref.name)
        return gateway is not None and self.labels is None and _by_labels(gateway)

    def _no_gateway(self, name: str) -> str:
        there = ", ".join(sorted(self.gateways)[:_SHOWN]) or "none yet"
        return (
            f"gatewayRef: no RoutingGateway {name} in namespace {self.namespace} (there: {there}); "
            "correct gatewayRef.name, or have the gateway created"
        )


def fleet_of(gateways: Iterable[RoutingGateway]) -> Fleet | None:
    """Return the installation that these gateways make, labels of namespaces unread; None without any."""
    found = {gateway.metadata.name: gateway for gateway in gateways}
    if not found:
        return None
    return Fleet(next(iter(found.values())).metadata.namespace, found, labels={})


def front(gateway: RoutingGateway) -> FrontPlan:
    """Return what a gateway's Envoys bind."""
    namespace = gateway.metadata.namespace
    listeners = tuple(
        ListenerPlan(
            listener.name,
            at.port,
            tuple(CertificateName(namespace, ref.name) for ref in listener.tls.certificate_refs)
            if listener.tls is not None
            else (),
        )
        for listener, at in zip(gateway.spec.listeners, gateway.bound(), strict=True)
    )
    limits = gateway.spec.limits
    return FrontPlan(listeners, in_bytes((limits.body if limits else None) or _BODY_LIMIT))


def in_bytes(quantity: str) -> int:
    """Return a Kubernetes quantity as a whole number: `16Mi` is 16,777,216."""
    unit = next((unit for unit in _UNITS if quantity.endswith(unit)), "")
    return int(Decimal(quantity.removesuffix(unit)) * _UNITS.get(unit, 1))


def is_allowed(host: str, hosts: Iterable[str]) -> bool:
    """Tell whether one of `hosts` (exact, or `*.` and a suffix) is or covers a host."""
    return any(
        host.endswith(each[1:]) and len(host) > len(each) - 1 if each.startswith("*.") else host == each
        for each in hosts
    )


def host_refusal(policy: str, gateway: str, tier: str, host: str, hosts: tuple[str, ...]) -> Finding:
    """Return the finding of a tier at a host that the gateway does not allow."""
    shown = ", ".join(hosts[:_SHOWN]) + (" and more" if len(hosts) > _SHOWN else "")
    return Finding(
        policy,
        AcceptedReason.TIER_HOST_NOT_ALLOWED,
        f"tiers[{tier}].endpoints: host {host} is not among spec.tierHosts of RoutingGateway {gateway} "
        f"({shown}); use one of those, or ask who runs the gateway to add it. Nothing is sent there",
    )


def _by_labels(gateway: RoutingGateway) -> bool:
    allowed = gateway.spec.allowed_namespaces
    return allowed is not None and allowed.from_ == "Selector"
