"""Data sets that rubrics and gates refer to, each with the digest that its file must have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pointsman.api.v1alpha1.cel import matches, needs
from pointsman.api.v1alpha1.meta import ApiModel

Sha256 = Annotated[
    str,
    Field(max_length=64),
    matches(r"^[0-9a-f]{64}$", "must be the 64 lower-case hex digits that sha256sum prints for the file"),
]


class Dataset(ApiModel):
    """Cases with references: JSON lines, gzip allowed, and the digest that the file must have.

    A line: `{"prompt": … | "promptSha256": …, "reference": …, "intent"?, "group"?, "messages"?}`.
    """

    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            description=(
                "configmap://NAME[/KEY] in this namespace (default key dataset.jsonl), https://…, or "
                "file:///… where the evaluator runs with --allow-file-artifacts. JSON lines; .gz is unpacked."
            ),
        ),
        matches(
            r"^(configmap://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[-._a-zA-Z0-9]+)?|https://[!-~]+|file:///[!-~]+)$",
            "must be configmap://NAME, configmap://NAME/KEY, https://… or file:///…; "
            "for instance https://example.com/cases.jsonl.gz",
        ),
    ]
    sha256: Annotated[Sha256, Field(description="SHA-256 of the file as it is fetched, in hex.")]

    model_config = ApiModel.model_config | {
        "json_schema_extra": needs(
            sha256="must be set, or a changed file would change verdicts; sha256sum FILE prints it"
        )
    }


class RubricReference(ApiModel):
    """Where right answers come from. A request finds its own by the hash of its last user turn."""

    dataset: Annotated[Dataset, Field(description="The data set. Prompts that are not in it are not scored.")]
