"""What gateways and pools say of the pods that are run for them; words as in Kubernetes' own kinds."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pointsman.api.v1alpha1.cel import matches, rule, rules
from pointsman.api.v1alpha1.meta import ApiModel, list_map, list_of

Quantity = Annotated[
    str,
    Field(min_length=1, max_length=32),
    matches(
        r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        "must be a quantity, for instance 500m, 2, 512Mi or 4Gi",
    ),
]
"""A Kubernetes quantity, as far as CPU, memory and devices need it."""

NAME_RULE: Final = rule(
    # Services and Pods are named after it: pointsman-gateway-<name>-internal
    "self.metadata.name.size() <= 35 && !self.metadata.name.contains('.')",
    "metadata.name: must have at most 35 characters and no dot, as Services are named after it; shorten it",
)
"""Of a gateway's and of a pool's name."""

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
Image = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matches(
        r"^[A-Za-z0-9][-A-Za-z0-9._/:@]*$",
        "must be an image reference, best with its digest: registry/name@sha256:…",
    ),
]


def columns(*own: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return what `kubectl get` shows of a gateway or a pool, with its own columns in the middle."""
    ready = ".status.conditions[?(@.type=='Ready')]"
    return (
        {"name": "Ready", "type": "string", "jsonPath": f"{ready}.status"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".status.readyReplicas"},
        {"name": "Policies", "type": "integer", "jsonPath": ".status.policies"},
        *own,
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Reason", "type": "string", "jsonPath": f"{ready}.reason"},
        {"name": "Message", "type": "string", "jsonPath": f"{ready}.message", "priority": 1},
    )


class Resources(ApiModel):
    """Requests and limits of a container."""

    requests: Annotated[
        dict[str, Quantity],
        Field(max_length=8, description="What is set aside, for instance cpu and memory."),
    ] = Field(default_factory=dict)
    limits: Annotated[dict[str, Quantity], Field(max_length=8, description="What it may not go beyond.")] = (
        Field(default_factory=dict)
    )


class Replicas(ApiModel):
    """How many pods; with max above min a HorizontalPodAutoscaler chooses by CPU."""

    min: Annotated[int, Field(ge=1, le=1000, description="Fewest pods. Default 2.")] = 2
    max: Annotated[int | None, Field(ge=1, le=1000, description="Most pods. Default: min.")] = None
    target_cpu_percent: Annotated[
        int | None,
        Field(
            alias="targetCPUPercent",
            ge=10,
            le=100,
            description="CPU use, in percent of the request, that is aimed at. Default 70.",
        ),
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.max) || !has(self.min) || self.max >= self.min",
                "must not be less than min; raise it, or leave it out",
                ".max",
            )
        )
    }

    @property
    def most(self) -> int:
        """Most pods, default resolved."""
        return self.max if self.max is not None else self.min


class Toleration(ApiModel):
    """A taint that the pods tolerate (core/v1 Toleration)."""

    key: Annotated[str | None, Field(max_length=317, description="Key of the taint; unset: of all.")] = None
    operator: Annotated[
        Literal["Exists", "Equal"] | None, Field(description="Exists, or Equal to value. Default Equal.")
    ] = None
    value: Annotated[str | None, Field(max_length=63, description="Value of the taint.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None,
        Field(description="Effect of the taint; unset: every effect."),
    ] = None


class Placement(ApiModel):
    """Where the pods may run."""

    node_selector: Annotated[
        dict[str, LabelValue], Field(max_length=16, description="Labels that the node must have.")
    ] = Field(default_factory=dict)
    tolerations: Annotated[
        list[Toleration],
        Field(
            max_length=16,
            description="Taints that the pods tolerate.",
            json_schema_extra=list_of("atomic"),
        ),
    ] = Field(default_factory=list)


class PullSecret(ApiModel):
    """A Secret of type kubernetes.io/dockerconfigjson in the object's own namespace."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=253, description="Name of the Secret."),
        matches(
            r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            "must be the name of a Secret in this namespace: lower-case letters, digits, - and .",
        ),
    ]


PullSecrets = Annotated[
    list[PullSecret],
    Field(
        max_length=8,
        description="Credentials of the registries that the images come from, beside the operator's own "
        "(--image-pull-secret).",
        json_schema_extra=list_map("name"),
    ),
]


class LabelSelector(ApiModel):
    """Labels that must all be there."""

    match_labels: Annotated[
        dict[str, LabelValue],
        Field(min_length=1, max_length=16, description="Labels and their values."),
    ]


class AllowedNamespaces(ApiModel):
    """Whose policies may use it; as a Gateway API listener's allowedRoutes.namespaces."""

    from_: Annotated[
        Literal["All", "Same", "Selector"],
        Field(
            alias="from",
            description="All namespaces, the Same as this object's, or those that selector chooses.",
        ),
    ]
    selector: Annotated[
        LabelSelector | None, Field(description="Which namespaces, by their labels, where from is Selector.")
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "(self.from == 'Selector') == has(self.selector)",
                "must be set where from is Selector, and only there",
                ".selector",
            )
        )
    }

    def allow(self, own: str, namespace: str, labels: dict[str, str]) -> bool:
        """Tell whether a namespace, with its labels, may use an object that lies in `own`."""
        if self.from_ == "All":
            return True
        if self.from_ == "Same" or self.selector is None:
            return namespace == own
        return all(labels.get(key) == value for key, value in self.selector.match_labels.items())
