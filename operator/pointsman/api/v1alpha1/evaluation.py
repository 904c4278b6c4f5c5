"""What is kept of the traffic, for how long, and with what struck out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pointsman.api.v1alpha1.cel import duration_between, matches
from pointsman.api.v1alpha1.datasets import Dataset
from pointsman.api.v1alpha1.meta import PORT_PATTERN, ApiModel, Permille, list_map, list_of
from pointsman.api.v1alpha1.rubrics import Rubric

Redaction = Literal["Email", "Phone", "CreditCard", "IPAddress", "SecretKey"]


class Capture(ApiModel):
    """Sampled text of requests and answers."""

    sample_permille: Annotated[
        Permille, Field(description="Share of requests whose text is kept, in permille.")
    ]
    max_bytes: Annotated[
        int | None,
        Field(
            ge=1024,
            le=4194304,
            description="Longest request and longest answer that is kept, in bytes each. Default 262144.",
        ),
    ] = None
    redact: Annotated[
        list[Redaction],
        Field(
            max_length=5,
            description="What is struck out before anything is stored.",
            json_schema_extra=list_of("set"),
        ),
    ] = Field(default_factory=list)
    retention: Annotated[
        Annotated[str, Field(max_length=32), duration_between("1m", "8760h", "168h")] | None,
        Field(description="How long text is kept. Default 168h."),
    ] = None


class Prometheus(ApiModel):
    """Where the evaluator's counts are."""

    url: Annotated[
        str,
        Field(
            min_length=8,
            max_length=512,
            description="Base URL of the Prometheus that scrapes the evaluator, for instance http://prometheus:9090.",
        ),
        matches(
            rf"^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:{PORT_PATTERN})?(/[-A-Za-z0-9._~/]*)?$",
            "must be http:// or https://, a host, and if needed a port and a path, for instance "
            "http://prometheus:9090; no user, query or fragment",
        ),
    ]


class Gate(ApiModel):
    """Cases that candidate and incumbent answer before any traffic, scored by the rubrics."""

    dataset: Annotated[Dataset, Field(description="The cases: JSON lines with prompt and reference.")]
    min_cases: Annotated[
        int | None, Field(ge=10, le=100000, description="Scored cases that a verdict needs. Default 50.")
    ] = None
    required: Annotated[
        bool | None,
        Field(
            description=(
                "true: a gate that has too few cases to tell holds the rollout. "
                "Default false: it goes on and says so."
            )
        ),
    ] = None
    max_duration: Annotated[
        Annotated[str, Field(max_length=32), duration_between("1s", "168h", "1h")] | None,
        Field(description="Longest gate; then onInconclusive. Default 1h."),
    ] = None


class Evaluation(ApiModel):
    """How the traffic is observed. Requests are counted always; text is kept only where `capture` says so."""

    prometheus: Annotated[Prometheus | None, Field(description="Where the evaluator's counts are.")] = None
    capture: Annotated[Capture | None, Field(description="Sampled text. Unset: none is kept.")] = None
    rubrics: Annotated[
        list[Rubric],
        Field(
            max_length=12,
            description="What a good answer is. The guard rubrics are always on, beside these.",
            json_schema_extra=list_map("name"),
        ),
    ] = Field(default_factory=list)
    gate: Annotated[Gate | None, Field(description="Cases to pass before any traffic. Unset: no gate.")] = (
        None
    )
