"""RoutingGateway: a fleet of Envoys that the operator runs, and who may put policies on it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from pointsman import install
from pointsman.api.v1alpha1.cel import DURATION_PATTERN, duration_between, matches
from pointsman.api.v1alpha1.meta import (
    API_VERSION,
    UNSEEN,
    ApiModel,
    Condition,
    Name,
    ObjectMeta,
    list_map,
    list_of,
    rule,
    rules,
)
from pointsman.api.v1alpha1.pods import (
    NAME_RULE,
    AllowedNamespaces,
    Image,
    Placement,
    PullSecrets,
    Quantity,
    Replicas,
    Resources,
    columns,
)

__all__ = [
    "DURATION_PATTERN",
    "BoundListener",
    "Listener",
    "RoutingGateway",
    "RoutingGatewaySpec",
    "RoutingGatewayStatus",
]

MOST_LISTENERS: Final = 8

TierHost = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "must be a host of a tier's endpoint, for instance api.example.com, 10.0.0.7 or *.models.svc",
    ),
]


class CertificateRef(ApiModel):
    """A Secret of type kubernetes.io/tls in the gateway's own namespace."""

    name: Annotated[Name, Field(description="Name of the Secret.")]


class ListenerTls(ApiModel):
    """How a listener is served over TLS."""

    certificate_refs: Annotated[
        list[CertificateRef],
        Field(
            min_length=1,
            max_length=8,
            description="Certificates with their keys; the one whose names fit the client's SNI is shown.",
            json_schema_extra=list_of("atomic"),
        ),
    ]


class Listener(ApiModel):
    """A port that clients connect to."""

    name: Annotated[Name, Field(description="Name of the listener, and of the Service's port.")]
    port: Annotated[int, Field(ge=1, le=65535, description="Port of the Service, 80 or 443 for instance.")]
    protocol: Annotated[Literal["HTTP", "HTTPS"], Field(description="HTTP or HTTPS.")]
    tls: Annotated[ListenerTls | None, Field(description="Certificates, where protocol is HTTPS.")] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "(self.protocol == 'HTTPS') == has(self.tls)",
                "must be set where protocol is HTTPS, and only there; add tls.certificateRefs",
                ".tls",
            )
        )
    }


class GatewayService(ApiModel):
    """The Service before the Envoys."""

    type: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer"] | None,
        Field(description="ClusterIP, NodePort or LoadBalancer. Default ClusterIP."),
    ] = None
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]],
        Field(max_length=32, description="Annotations of the Service, for the cloud's load balancer."),
    ] = Field(default_factory=dict)


class GatewayLimits(ApiModel):
    """What one Envoy bears."""

    max_connections: Annotated[
        int | None,
        Field(ge=10, le=10000000, description="Connections of clients to one Envoy. Default 50000."),
    ] = None
    body: Annotated[
        Quantity | None,
        Field(description="Longest request; longer ones are answered 413. Default 16Mi."),
    ] = None


class RoutingGatewaySpec(ApiModel):
    """What the platform team wants."""

    listeners: Annotated[
        list[Listener],
        Field(
            min_length=1,
            max_length=MOST_LISTENERS,
            description="Ports that clients connect to.",
            json_schema_extra=list_map("name")
            | rules(
                rule(
                    "self.all(l, self.exists_one(m, m.port == l.port))",
                    "must not have two listeners of the same port; change one of them",
                )
            ),
        ),
    ]
    allowed_namespaces: Annotated[
        AllowedNamespaces | None,
        Field(description="Whose policies may be served here. Default: All."),
    ] = None
    tier_hosts: Annotated[
        list[TierHost],
        Field(
            max_length=128,
            description=(
                "Hosts that tiers may be at, exact or with a leading *. ; a policy with another one is not "
                "accepted. Default: every host."
            ),
            json_schema_extra=list_of("set"),
        ),
    ] = Field(default_factory=list)
    replicas: Annotated[Replicas | None, Field(description="How many Envoys. Default: 2.")] = None
    service: Annotated[GatewayService | None, Field(description="The Service before the Envoys.")] = None
    image: Annotated[
        Image | None, Field(description="Envoy's image. Default: the operator's own choice.")
    ] = None
    resources: Annotated[
        Resources | None,
        Field(
            description=(
                "Of each Envoy. Default: requests of 500m CPU and 512Mi, a limit of 2Gi of memory. The CPU "
                "limit (without one the request, 2 at least) is its number of threads; its heap stays below "
                "the memory limit."
            )
        ),
    ] = None
    placement: Annotated[Placement | None, Field(description="Where the Envoys may run.")] = None
    image_pull_secrets: PullSecrets = Field(default_factory=list)
    drain: Annotated[
        str | None,
        Field(
            max_length=16,
            description="How long an Envoy that ends lets requests finish. Default 60s.",
        ),
        duration_between("1s", "1h", "60s"),
    ] = None
    limits: Annotated[GatewayLimits | None, Field(description="What one Envoy bears.")] = None


class BoundListener(ApiModel):
    """Where a listener is in the pods. It stays there for as long as the spec has a listener of its name."""

    name: Annotated[Name, Field(description="Name of the listener.")]
    port: Annotated[
        int, Field(ge=1, le=65535, description="What Envoy binds; the Service's port leads there.")
    ]


class RoutingGatewayStatus(ApiModel):
    """What is so; written by the operator alone."""

    observed_generation: Annotated[
        int, Field(ge=UNSEEN, description="metadata.generation that this was computed from; -1: of none yet.")
    ] = UNSEEN
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=8,
            description="Accepted, Certified, Available and Ready, which sums them up.",
            json_schema_extra=list_map("type"),
        ),
    ] = Field(default_factory=list)
    address: Annotated[
        str, Field(max_length=253, description="Host name of the Service within the cluster.")
    ] = ""
    listeners: Annotated[
        list[BoundListener],
        Field(
            max_length=MOST_LISTENERS,
            description="Where each listener is in the pods.",
            json_schema_extra=list_map("name"),
        ),
    ] = Field(default_factory=list)
    replicas: Annotated[int, Field(ge=0, le=100000, description="Envoys that shall run.")] = 0
    ready_replicas: Annotated[int, Field(ge=0, le=100000, description="Envoys that are ready.")] = 0
    policies: Annotated[int, Field(ge=0, le=1000000, description="Policies that name this gateway.")] = 0


class RoutingGateway(ApiModel):
    """Envoys that serve RoutingPolicies; lies in the namespace that Pointsman is installed in."""

    KIND: ClassVar[str] = "RoutingGateway"
    PLURAL: ClassVar[str] = "routinggateways"
    SINGULAR: ClassVar[str] = "routinggateway"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("rgw",)
    PRINTER_COLUMNS: ClassVar[tuple[dict[str, Any], ...]] = columns(
        {"name": "Address", "type": "string", "jsonPath": ".status.address"}
    )

    api_version: Literal["pointsman.dev/v1alpha1"] = API_VERSION
    kind: Literal["RoutingGateway"] = "RoutingGateway"
    metadata: ObjectMeta
    spec: RoutingGatewaySpec
    status: RoutingGatewayStatus = Field(default_factory=RoutingGatewayStatus)

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            NAME_RULE,
            rule(
                "!self.metadata.name.endsWith('-internal')",
                "metadata.name: must not end in -internal, which is how a gateway's second Service is named",
            ),
        )
    }

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def bound(self) -> list[BoundListener]:
        """Return where each listener is in the pods, in the order of the spec.

        What the status knows stays; the others take the lowest ports that are free, in the order of the spec.
        So operator and xds come to the same, also from an empty status, and a listener that goes moves none.
        """
        ports = range(install.ENVOY_FIRST_PORT, install.ENVOY_FIRST_PORT + MOST_LISTENERS)
        names = [listener.name for listener in self.spec.listeners]
        kept: dict[str, int] = {}
        for known in self.status.listeners:
            if known.name in names and known.port in ports and known.port not in kept.values():
                kept.setdefault(known.name, known.port)
        free = iter(sorted(set(ports) - set(kept.values())))
        return [BoundListener(name=name, port=kept[name] if name in kept else next(free)) for name in names]
