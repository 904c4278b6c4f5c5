"""RoutingGateway → the manifests of what runs its Envoys. Pure, and the same for the same input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pointsman import install
from pointsman.api.v1alpha1.pods import Replicas
from pointsman.api.v1alpha1.routing_gateway import RoutingGateway
from pointsman.gateways import envoy
from pointsman.gateways.drain import GRACE_S
from pointsman.kube.resources import DEPLOYMENTS, SERVICES
from pointsman.workloads.manifest import (
    POD_SECURITY,
    autoscaler,
    budget,
    labels,
    metadata,
    owner_of,
    placement,
    pull_secrets,
    scaled,
    selector,
    service_account,
    spread,
)

if TYPE_CHECKING:
    from pointsman.gateways.installation import Installation
    from pointsman.workloads.manifest import Manifest

COMPONENT: Final = "gateway"


def manifests(gateway: RoutingGateway, where: Installation) -> list[Manifest]:
    """Return everything that a gateway needs, in the order in which it is applied."""
    name = install.gateway_name(gateway.metadata.name)
    replicas = gateway.spec.replicas or Replicas()
    meta = _metadata(name, gateway, where)
    found = [
        service_account(meta),
        _internal(gateway, where),
        _service(gateway, where),
        budget(meta, _selector(gateway)),
        _deployment(gateway, where),
    ]
    if scaled(replicas):
        found.append(autoscaler(meta, name, replicas))
    return found


def address(gateway: str, where: Installation) -> str:
    """Return the host name at which clients within the cluster reach a gateway."""
    return install.service_host(install.gateway_name(gateway), where.namespace)


def _deployment(gateway: RoutingGateway, where: Installation) -> Manifest:
    spec = gateway.spec
    pod: dict[str, Any] = {
        "serviceAccountName": install.gateway_name(gateway.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": envoy.drain_s(spec) + GRACE_S,
        "initContainers": [envoy.init_container(gateway, where)],
        "containers": [envoy.container(gateway, where)],
        "volumes": envoy.volumes(certificate(gateway.metadata.name)),
        **spread(_selector(gateway)),
        **placement(spec.placement),
        **pull_secrets(where.pull_secrets, spec.image_pull_secrets),
    }
    template = {
        "metadata": {
            "labels": labels(COMPONENT, install.LABEL_GATEWAY, gateway.metadata.name),
            "annotations": {"kubectl.kubernetes.io/default-container": envoy.CONTAINER},
        },
        "spec": pod,
    }
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": _metadata(install.gateway_name(gateway.metadata.name), gateway, where),
        "spec": {
            "replicas": (spec.replicas or Replicas()).min,
            "selector": {"matchLabels": _selector(gateway)},
            # never fewer than wanted: what is new must be ready first
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
            },
            "minReadySeconds": 5,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 3,
            "template": template,
        },
    }


def _service(gateway: RoutingGateway, where: Installation) -> Manifest:
    """Return the Service that clients connect to.

    External traffic may pass a node without an Envoy (`externalTrafficPolicy` is not `Local`): else it would
    be lost between the end of a node's last Envoy and the moment when the load balancer notices.
    """
    spec = gateway.spec
    meta = _metadata(install.gateway_name(gateway.metadata.name), gateway, where)
    if spec.service is not None and spec.service.annotations:
        meta["annotations"] = dict(spec.service.annotations)
    kind = (spec.service.type if spec.service else None) or "ClusterIP"
    ports = [
        {"name": listener.name, "port": listener.port, "targetPort": at.port, "protocol": "TCP"}
        for listener, at in zip(spec.listeners, gateway.bound(), strict=True)
    ]
    return _service_of(meta, {"type": kind, "selector": _selector(gateway), "ports": ports})


def _internal(gateway: RoutingGateway, where: Installation) -> Manifest:
    """Return the headless Service by which the evaluator finds each Envoy, and replays requests.

    Its name leads to Envoys that are ready, as replays must. Its EndpointSlices name those that drain as well
    (`ready: false`), and those are counted to their end.
    """
    meta = _metadata(install.gateway_internal(gateway.metadata.name), gateway, where)
    ports = [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
        for name, port in (
            (install.PORT_STATS, install.ENVOY_STATS),
            (install.PORT_SHADOW, install.ENVOY_SHADOW),
        )
    ]
    return _service_of(meta, {"clusterIP": "None", "selector": _selector(gateway), "ports": ports})


def certificate(gateway: str) -> str:
    """Return the name of the Secret of the Envoys' certificate."""
    return install.certificate_secret(install.gateway_name(gateway))


def _service_of(meta: Manifest, spec: Manifest) -> Manifest:
    return {"apiVersion": SERVICES.api_version, "kind": SERVICES.kind, "metadata": meta, "spec": spec}


def _selector(gateway: RoutingGateway) -> dict[str, str]:
    return selector(COMPONENT, install.LABEL_GATEWAY, gateway.metadata.name)


def _metadata(name: str, gateway: RoutingGateway, where: Installation) -> Manifest:
    owner = owner_of(RoutingGateway.KIND, gateway.metadata.name, gateway.metadata.uid)
    return metadata(
        name, where.namespace, labels(COMPONENT, install.LABEL_GATEWAY, gateway.metadata.name), owner
    )
