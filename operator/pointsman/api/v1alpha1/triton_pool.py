"""TritonPool: Triton servers that the operator runs, shared by the policies whose classifiers they serve."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pointsman.api.v1alpha1.meta import (
    API_VERSION,
    UNSEEN,
    ApiModel,
    Condition,
    ObjectMeta,
    list_map,
    rules,
)
from pointsman.api.v1alpha1.pods import (
    NAME_RULE,
    AllowedNamespaces,
    Image,
    Placement,
    PullSecrets,
    Replicas,
    Resources,
    columns,
)


class Gpu(ApiModel):
    """GPUs of each pod."""

    resource_name: Annotated[
        str | None,
        Field(max_length=253, description="The device plugin's resource. Default nvidia.com/gpu."),
    ] = None
    count: Annotated[int, Field(ge=1, le=16, description="GPUs of each pod.")]
    instances_per_gpu: Annotated[
        int | None,
        Field(
            alias="instancesPerGPU",
            ge=1,
            le=16,
            description="Instances of each model on each GPU (Triton's instance group). Default 1.",
        ),
    ] = None


class TritonPoolSpec(ApiModel):
    """What the platform team wants."""

    replicas: Annotated[Replicas | None, Field(description="How many Tritons. Default: 2.")] = None
    image: Annotated[
        Image | None, Field(description="Triton's image. Default: the operator's own choice.")
    ] = None
    gpu: Annotated[Gpu | None, Field(description="GPUs of each pod. Unset: CPU alone.")] = None
    resources: Annotated[
        Resources | None, Field(description="Of each Triton. Default: requests of 500m CPU and 1Gi.")
    ] = None
    placement: Annotated[Placement | None, Field(description="Where the pods may run.")] = None
    image_pull_secrets: PullSecrets = Field(default_factory=list)
    allowed_namespaces: Annotated[
        AllowedNamespaces | None,
        Field(description="Whose policies may have their classifiers here. Default: All."),
    ] = None


class TritonPoolStatus(ApiModel):
    """What is so; written by the operator alone."""

    observed_generation: Annotated[
        int, Field(ge=UNSEEN, description="metadata.generation that this was computed from; -1: of none yet.")
    ] = UNSEEN
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=8,
            description="Accepted, Available and Ready, which sums them up.",
            json_schema_extra=list_map("type"),
        ),
    ] = Field(default_factory=list)
    address: Annotated[
        str, Field(max_length=253, description="Host name of the headless Service within the cluster.")
    ] = ""
    replicas: Annotated[int, Field(ge=0, le=1000000, description="Tritons that shall run.")] = 0
    ready_replicas: Annotated[
        int, Field(ge=0, le=1000000, description="Tritons that hold every model that traffic needs.")
    ] = 0
    models: Annotated[int, Field(ge=0, le=1000000, description="Models that policies want loaded.")] = 0
    policies: Annotated[int, Field(ge=0, le=1000000, description="Policies whose classifiers it serves.")] = 0


class TritonPool(ApiModel):
    """Tritons that serve classifiers; lies in the namespace that Pointsman is installed in."""

    KIND: ClassVar[str] = "TritonPool"
    PLURAL: ClassVar[str] = "tritonpools"
    SINGULAR: ClassVar[str] = "tritonpool"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("tp",)
    PRINTER_COLUMNS: ClassVar[tuple[dict[str, Any], ...]] = columns(
        {"name": "Models", "type": "integer", "jsonPath": ".status.models"}
    )

    api_version: Literal["pointsman.dev/v1alpha1"] = API_VERSION
    kind: Literal["TritonPool"] = "TritonPool"
    metadata: ObjectMeta
    spec: TritonPoolSpec
    status: TritonPoolStatus = Field(default_factory=TritonPoolStatus)

    model_config = ApiModel.model_config | {"json_schema_extra": rules(NAME_RULE)}

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
