"""Reconciles RoutingGateways: makes what runs their Envoys, and says in their status how that is."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Gauge
from pydantic import ValidationError

from pointsman import install
from pointsman.api.conditions import find
from pointsman.api.gateway_conditions import CertifiedReason, GatewayAcceptedReason, GatewayConditionType
from pointsman.api.v1alpha1.meta import API_VERSION
from pointsman.api.v1alpha1.routing_gateway import RoutingGateway, RoutingGatewayStatus
from pointsman.certificates.secrets import Part, check_served, read_leaf
from pointsman.certificates.x509s import UnreadableError
from pointsman.controllers.objects import owners
from pointsman.gateways.manifests import address, certificate, manifests
from pointsman.gateways.status import ACCEPTED, CERTIFIED, Seen, announcement, next_status
from pointsman.kube.client import secret_data
from pointsman.kube.errors import NotFound
from pointsman.kube.resources import DEPLOYMENTS, GATEWAYS, PODS, SECRETS
from pointsman.kube.status import status_patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from pointsman.clock import Clock
    from pointsman.controllers.objects import Objects, Refusal
    from pointsman.gateways.installation import Installation
    from pointsman.gateways.status import Finding
    from pointsman.kube.client import KubeClient, Object
    from pointsman.kube.events import Recorder
    from pointsman.kube.informer import Change
    from pointsman.kube.resources import Resource

log = logging.getLogger(__name__)

_AGAIN_S: Final = 5.0
"""Between looks: policies are counted, and time itself makes a trouble of an Envoy that is not ready."""
_REFUSED_S: Final = 30.0


class Gateways:
    """One reconcile a gateway. `policies` returns how many policies name a gateway."""

    kind = "gateway"

    def __init__(
        self,
        client: KubeClient,
        objects: Objects,
        where: Installation,
        *,
        recorder: Recorder,
        registry: CollectorRegistry,
        clock: Clock,
        policies: Callable[[str], int],
    ) -> None:
        self._client = client
        self._objects = objects
        self._where = where
        self._recorder = recorder
        self._clock = clock
        self._policies = policies
        self._refused: dict[str, tuple[datetime, str, list[Refusal]]] = {}
        """By gateway: when the API server refused something, of which object's version, and its words."""
        self._ready = Gauge(
            "pointsman_gateway_ready",
            "1 while the RoutingGateway's condition Ready is True.",
            ["gateway"],
            registry=registry,
        )

    def first(self) -> Iterable[str]:
        """Return what to look at even if nothing ever changes."""
        return []

    def concerned(self, resource: Resource, change: Change) -> Iterable[str]:
        """Return the gateways that a change is about."""
        name = change.key.partition("/")[2]
        if resource is GATEWAYS:
            return [name]
        if resource is not SECRETS:
            return owners(change, install.LABEL_GATEWAY)
        return [
            gateway
            for found in self._objects.all(GATEWAYS)
            if name in {certificate(gateway := str(found["metadata"]["name"])), *_named_secrets(found)}
        ]

    async def reconcile(self, name: str) -> float | None:
        """Make one gateway be as its spec says, and its status say how it is."""
        raw = self._objects.get(GATEWAYS, name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            with suppress(KeyError):
                self._ready.remove(name)
            self._refused.pop(name, None)
            return None  # what was made for it goes with it: Kubernetes collects it
        try:
            gateway = RoutingGateway.model_validate(raw)
        except ValidationError as error:
            finding = (GatewayAcceptedReason.INVALID_SPEC, _words(error))
            await self._tell(raw, finding, (CertifiedReason.CERTIFICATE_MISSING, "the spec cannot be read"))
            return None
        raw = await self._remember(raw, gateway)
        certified = self._certified(gateway)
        refusals = await self._settle(raw, gateway, certified)
        await self._tell(raw, self._accepted(gateway, refusals), certified)
        return _AGAIN_S

    async def _remember(self, raw: Object, gateway: RoutingGateway) -> Object:
        """Write where the listeners are, before a Service leads there; return the gateway as it is then."""
        bound = gateway.bound()
        if bound == gateway.status.listeners:
            return raw
        patch = {"listeners": [listener.to_kube() for listener in bound]}
        metadata = raw["metadata"]
        written = await self._client.patch_status(
            GATEWAYS,
            metadata["name"],
            self._where.namespace,
            patch,
            resource_version=metadata["resourceVersion"],
        )
        self._objects.note(GATEWAYS, written)
        return written

    async def _settle(self, raw: Object, gateway: RoutingGateway, certified: Finding) -> list[Refusal]:
        """Make what the gateway needs; what was refused is tried again after a while, or once it changes."""
        name, version = gateway.metadata.name, str(raw["metadata"].get("generation"))
        before = self._refused.get(name)
        if before and before[1] == version and (self._clock() - before[0]).total_seconds() < _REFUSED_S:
            return before[2]
        wanted = manifests(gateway, self._where)
        deployment = install.gateway_name(name)
        if certified != CERTIFIED and self._objects.get(DEPLOYMENTS, deployment) is None:
            # pods that wait for a Secret are tried by kubelet ever more rarely: the Secret comes first
            wanted = [manifest for manifest in wanted if manifest["kind"] != DEPLOYMENTS.kind]
        refusals = await self._objects.settle(wanted, install.LABEL_GATEWAY, name)
        self._refused.pop(name, None)
        if refusals:
            self._refused[name] = (self._clock(), version, refusals)
        return refusals

    # -- findings --------------------------------------------------------------------------------------------

    def _accepted(self, gateway: RoutingGateway, refusals: Sequence[Refusal]) -> Finding:
        for refusal in refusals:
            quota = GatewayAcceptedReason.QUOTA_EXCEEDED
            reason = quota if refusal.quota else GatewayAcceptedReason.REFUSED
            return reason, f"{refusal.what}: {refusal.words}"
        for place, listener in enumerate(gateway.spec.listeners):
            for number, ref in enumerate(listener.tls.certificate_refs if listener.tls else ()):
                field = f"spec.listeners[{place}].tls.certificateRefs[{number}]"
                secret = self._objects.get(SECRETS, ref.name)
                if secret is None:
                    words = (
                        f"{field}: there is no Secret {ref.name} of type kubernetes.io/tls in namespace "
                        f"{self._where.namespace}; create it: kubectl -n {self._where.namespace} create "
                        f"secret tls {ref.name} --cert=FILE --key=FILE"
                    )
                    return GatewayAcceptedReason.SECRET_NOT_FOUND, words
                try:
                    check_served(secret_data(secret), self._clock())
                except UnreadableError as error:
                    return GatewayAcceptedReason.SECRET_INVALID, f"{field}: Secret {ref.name} {error}"
        return ACCEPTED

    def _certified(self, gateway: RoutingGateway) -> Finding:
        name = gateway.metadata.name
        secret_name = certificate(name)
        part = Part.of(secret_name, install.gateway_internal(name), self._where.namespace)
        secret = self._objects.get(SECRETS, secret_name)
        if secret is None:
            return CertifiedReason.CERTIFICATE_MISSING, (
                f"there is no Secret {secret_name} (kubernetes.io/tls) in namespace {self._where.namespace}; "
                f"it must hold tls.crt, tls.key and ca.crt for {part.names[0]}"
            )
        try:
            leaf = read_leaf(secret_data(secret), part)
        except UnreadableError as error:
            return CertifiedReason.CERTIFICATE_INVALID, f"Secret {secret_name} {error}"
        ends = leaf.pair.certificate.ends
        if not leaf.pair.certificate.valid(self._clock()):
            return CertifiedReason.CERTIFICATE_EXPIRED, f"Secret {secret_name}: its certificate ended {ends}"
        return CERTIFIED

    async def _tell(self, raw: Object, accepted: Finding, certified: Finding) -> None:
        """Write the status if it changed; then events and metrics."""
        metadata = raw["metadata"]
        name = str(metadata["name"])
        old = _status(raw)
        new = next_status(
            Seen(
                generation=int(metadata.get("generation", 0)),
                status=old,
                accepted=accepted,
                certified=certified,
                deployment=self._objects.get(DEPLOYMENTS, install.gateway_name(name)),
                pods=self._objects.of(PODS, install.LABEL_GATEWAY, name),
                address=address(name, self._where),
                policies=self._policies(name),
            ),
            self._clock(),
        )
        patch = status_patch(raw.get("status") or {}, new.to_kube())
        if patch:
            with suppress(NotFound):  # deleted meanwhile
                written = await self._client.patch_status(
                    GATEWAYS, name, self._where.namespace, patch, resource_version=metadata["resourceVersion"]
                )
                self._objects.note(GATEWAYS, written)
            told = announcement(old, new)
            if told is not None:
                well, reason, words = told
                self._recorder.record(
                    _regarding(metadata),
                    kind="Normal" if well else "Warning",
                    reason=reason,
                    action="Reconcile",
                    note=words,
                )
        ready = find(new.conditions, GatewayConditionType.READY)
        self._ready.labels(name).set(1 if ready is not None and ready.status == "True" else 0)


def _status(raw: Object) -> RoutingGatewayStatus:
    """Return the status as it is; an empty one where it cannot be read."""
    try:
        return RoutingGatewayStatus.model_validate(raw.get("status") or {})
    except ValidationError:
        return RoutingGatewayStatus()


def _named_secrets(gateway: Object) -> Iterable[str]:
    """Return the Secrets that the listeners of a gateway name."""
    for listener in gateway["spec"].get("listeners") or ():
        for ref in (listener.get("tls") or {}).get("certificateRefs") or ():
            yield str(ref.get("name"))


def _words(error: ValidationError) -> str:
    """Return the first of what is wrong, by its field."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _regarding(metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": RoutingGateway.KIND,
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
    }
