"""What is kept of the traffic, for how long, and with what struck out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pointsman.api.v1alpha1.cel import duration_between
from pointsman.api.v1alpha1.meta import ApiModel, Permille, list_of

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


class Evaluation(ApiModel):
    """How the traffic is observed. Requests are counted always; text is kept only where `capture` says so."""

    capture: Annotated[Capture | None, Field(description="Sampled text. Unset: none is kept.")] = None
