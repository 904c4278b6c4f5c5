"""Rubrics: what makes an answer good, said so that a program can tell."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pointsman.api.v1alpha1.cel import matches, needs, one_block
from pointsman.api.v1alpha1.datasets import RubricReference, Sha256
from pointsman.api.v1alpha1.meta import ApiModel, Name, SecretKeyRef, list_of, rule, rules
from pointsman.api.v1alpha1.tiers import ModelName, TierEndpoint

RubricType = Literal["ExactMatch", "Contains", "Regex", "JSONSchema", "Length", "Refusal", "Judge"]

GUARDS: Final = ("answered", "aborted", "refusal", "retry")
"""Names that the built-in guard rubrics have (`failOpen` is no DNS label, so nobody can write it)."""

DEFAULT_SCHEMA_KEY: Final = "schema.json"
DEFAULT_SCALE: Final = (1, 5)

REFUSALS: Final = 1
"""Number of the built-in list of refusals: a change of the list is a change of every Refusal rubric."""

Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        # An invalid expression fails the rule's evaluation; the server then says what RE2 minds about it.
        json_schema_extra=rules(
            rule(
                "''.matches(self) in [true, false]",
                "must be a regular expression that RE2 reads: no look-around, no back-references",
            )
        ),
    ),
]
"""A regular expression of RE2: linear time, whatever the text. Read models are not checked: a bad one scores
nothing and says why (Go and C++ do not refuse exactly the same)."""

Phrase = Annotated[str, Field(min_length=1, max_length=1024)]

Extract = Annotated[
    list[Pattern],
    Field(
        max_length=8,
        description=(
            "Regular expressions (RE2), tried in this order; of the first that matches, the last match "
            "counts: its group, or all of it where it has none. Begin with (?s)\\A.*? to take the first "
            "match. Unset: the whole answer."
        ),
        json_schema_extra=list_of("atomic"),
    ),
]


class ExactMatch(ApiModel):
    """Passes when what is extracted from the answer equals the reference; both without outer white space."""

    extract: Extract = Field(default_factory=list)
    reference: Annotated[RubricReference, Field(description="The right answers.")]
    ignore_case: Annotated[
        bool | None, Field(description="Whether upper and lower case are the same. Default false.")
    ] = None


def _phrases(description: str) -> Any:
    return Field(max_length=32, description=description, json_schema_extra=list_of("set"))


class Contains(ApiModel):
    """Passes when the answer holds all of `all`, at least one of `any` and nothing of `none`."""

    all: Annotated[list[Phrase], _phrases("What the answer must hold, every one.")] = Field(
        default_factory=list
    )
    any: Annotated[list[Phrase], _phrases("What the answer must hold at least one of.")] = Field(
        default_factory=list
    )
    none: Annotated[list[Phrase], _phrases("What the answer must not hold.")] = Field(default_factory=list)
    ignore_case: Annotated[
        bool | None, Field(description="Whether upper and lower case are the same. Default false.")
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "[has(self.all) && size(self.all) > 0, has(self.any) && size(self.any) > 0, "
                "has(self.none) && size(self.none) > 0].exists(x, x)",
                "must set all, any or none, or every answer would pass",
            )
        )
    }


class Regex(ApiModel):
    """Passes when the pattern is found in the answer, or where `mustMatch` is false: is not found."""

    pattern: Annotated[
        Pattern, Field(description="Regular expression (RE2), found anywhere; ^ and $ anchor it.")
    ]
    must_match: Annotated[
        bool | None, Field(description="Whether a match passes (true) or fails (false). Default true.")
    ] = None


class SchemaRef(ApiModel):
    """A JSON Schema in a ConfigMap of the policy's namespace, and the digest it must have."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=253, description="Name of the ConfigMap."),
        matches(
            r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            "must be the name of a ConfigMap in the policy's namespace: lower-case letters, digits, - and .",
        ),
    ]
    key: Annotated[
        Annotated[
            str,
            Field(min_length=1, max_length=253),
            matches(r"^[-._a-zA-Z0-9]+$", "must be a key of the ConfigMap: letters, digits, -, _ and ."),
        ]
        | None,
        Field(description="Key within the ConfigMap. Default schema.json."),
    ] = None
    sha256: Annotated[Sha256, Field(description="SHA-256 of the schema's text, in hex.")]

    model_config = ApiModel.model_config | {
        "json_schema_extra": needs(
            sha256="must be set, or a changed schema would change verdicts; sha256sum FILE prints it"
        )
    }


class JSONSchema(ApiModel):
    """Passes when the answer is JSON that the schema (draft 2020-12 unless it says another) accepts."""

    schema_ref: Annotated[SchemaRef | None, Field(description="The schema, in a ConfigMap.")] = None
    inline: Annotated[
        Annotated[str, Field(min_length=2, max_length=32768)] | None,
        Field(description="The schema itself, as JSON text."),
    ] = None
    extract: Extract = Field(default_factory=list)

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "has(self.schemaRef) != has(self.inline)",
                "must set schemaRef or inline, and not both; inline holds the schema as JSON text",
            )
        )
    }


class Length(ApiModel):
    """Passes when the answer, without outer white space, has so many characters."""

    min_characters: Annotated[
        int | None, Field(ge=1, le=4194304, description="Least number of characters.")
    ] = None
    max_characters: Annotated[
        int | None, Field(ge=1, le=4194304, description="Greatest number of characters.")
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "has(self.minCharacters) || has(self.maxCharacters)",
                "must set minCharacters or maxCharacters, or every answer would pass",
            ),
            rule(
                "!has(self.minCharacters) || !has(self.maxCharacters) || "
                "self.minCharacters <= self.maxCharacters",
                "must not be greater than maxCharacters, which no answer could meet; lower it",
                ".minCharacters",
            ),
        )
    }


class Refusal(ApiModel):
    """Passes unless the model refused: by its own `refusal` field, or by how the answer begins."""

    patterns: Annotated[
        list[Pattern],
        Field(
            max_length=32,
            description=(
                "Regular expressions (RE2) of more refusals, found anywhere in the answer. English openings "
                "such as “I can't help with that” are known."
            ),
            json_schema_extra=list_of("set"),
        ),
    ] = Field(default_factory=list)


class JudgeEndpoint(TierEndpoint):
    """The OpenAI-compatible API that judges."""

    model: Annotated[ModelName, Field(description="Model name that the endpoint knows.")]
    api_key_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description="Bearer token for the endpoint, from a Secret in this namespace. Unset: none is sent."
        ),
    ] = None


class Scale(ApiModel):
    """The whole numbers that a judge may give."""

    min: Annotated[int, Field(ge=0, le=1000, description="The worst score.")]
    max: Annotated[int, Field(ge=1, le=1000, description="The best score.")]

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule("self.min < self.max", "must be less than max; for instance min: 1, max: 5", ".min")
        )
    }


class Judge(ApiModel):
    """Passes when a model, asked at temperature 0, gives at least `passAtLeast`."""

    endpoint: Annotated[JudgeEndpoint, Field(description="Who judges.")]
    prompt: Annotated[
        str,
        Field(
            min_length=1,
            max_length=16384,
            description=(
                "What the judge is asked. {question}, {answer} and {reference} are filled in; every other "
                "brace stays as it is. Its reply must hold the score as a whole number."
            ),
        ),
    ]
    pass_at_least: Annotated[int, Field(ge=0, le=1000, description="The least score that passes.")]
    scale: Annotated[
        Scale | None, Field(description="The scores that the judge may give. Default 1 to 5.")
    ] = None
    budget_per_hour: Annotated[
        int,
        Field(
            ge=1,
            le=1000000,
            description="Most calls of the judge in an hour, per evaluator; beyond it answers stay unscored.",
        ),
    ]
    reference: Annotated[
        RubricReference | None,
        Field(description="Model answers for {reference}. Prompts that it lacks are not scored."),
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "self.prompt.contains('{answer}')",
                "must contain {answer}, or the judge would not see what it judges",
                ".prompt",
            ),
            rule(
                "self.prompt.contains('{reference}') == has(self.reference)",
                "must contain {reference} where reference is set, and only there; set both or neither",
                ".prompt",
            ),
            rule(
                "has(self.scale) ? self.passAtLeast > self.scale.min && self.passAtLeast <= self.scale.max : "
                f"self.passAtLeast > {DEFAULT_SCALE[0]} && self.passAtLeast <= {DEFAULT_SCALE[1]}",
                "must be above the scale's min and not above its max, or every or no answer would pass",
                ".passAtLeast",
            ),
        )
    }


class When(ApiModel):
    """Which requests a rubric is about."""

    intents: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=128)]],
        Field(
            max_length=128,
            description="Intents as the classifier names them. Empty: all requests.",
            json_schema_extra=list_of("set"),
        ),
    ] = Field(default_factory=list)


BLOCKS: Final[dict[RubricType, str]] = {
    "ExactMatch": "exactMatch",
    "Contains": "contains",
    "Regex": "regex",
    "JSONSchema": "jsonSchema",
    "Length": "length",
    "Refusal": "refusal",
    "Judge": "judge",
}
"""The member that holds each type's settings."""


class Rubric(ApiModel):
    """A criterion that every scored answer passes or fails: `type` names the one member that is set."""

    name: Annotated[Name, Field(description="Name of the rubric within the policy.")]
    type: Annotated[
        RubricType,
        Field(
            description=(
                "ExactMatch: equals a reference. Contains, Regex: holds words or a pattern. JSONSchema: is "
                "valid JSON. Length: is neither too short nor too long. Refusal: is no refusal. "
                "Judge: a model finds it good."
            )
        ),
    ]
    when: Annotated[When | None, Field(description="Which requests it is about. Unset: all.")] = None
    exact_match: Annotated[ExactMatch | None, Field(description="Settings of type ExactMatch.")] = None
    contains: Annotated[Contains | None, Field(description="Settings of type Contains.")] = None
    regex: Annotated[Regex | None, Field(description="Settings of type Regex.")] = None
    json_schema: Annotated[
        JSONSchema | None, Field(alias="jsonSchema", description="Settings of type JSONSchema.")
    ] = None
    length: Annotated[Length | None, Field(description="Settings of type Length.")] = None
    refusal: Annotated[Refusal | None, Field(description="Settings of type Refusal.")] = None
    judge: Annotated[Judge | None, Field(description="Settings of type Judge.")] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                f"!(self.name in {list(GUARDS)})",
                f"is the name of a built-in guard rubric ({', '.join(GUARDS)}); choose another",
                ".name",
            ),
            *one_block(BLOCKS, optional=["Refusal"]),
        )
    }


def rubric_version(rubric: Rubric) -> str:
    """Return 8 hex digits of what decides a rubric's verdicts; evidence of another version is not evidence.

    Not in it: the name, keys, the judge's budget, where a data set or schema lies (its digest is in it),
    the order of sets, and whether a default was written out.
    """
    settings = getattr(rubric, _attribute(rubric.type))
    block = settings.to_kube() if settings is not None else {}
    for holder in (block, block.get("reference", {})):
        if "dataset" in holder:
            holder["dataset"] = holder["dataset"]["sha256"]
    if "schemaRef" in block:
        block["schemaRef"] = block["schemaRef"]["sha256"]
    for name in ("all", "any", "none", "patterns"):
        if name in block:
            block[name] = sorted(block[name])
    match rubric.type:
        case "ExactMatch" | "Contains":
            block.setdefault("ignoreCase", False)
        case "Regex":
            block.setdefault("mustMatch", True)
        case "Refusal":
            block = {"patterns": block.get("patterns", []), "builtIn": REFUSALS}
        case "Judge":
            block.setdefault("scale", {"min": DEFAULT_SCALE[0], "max": DEFAULT_SCALE[1]})
            block.pop("budgetPerHour")
            block["endpoint"].pop("apiKeyRef", None)
    when = sorted(rubric.when.intents) if rubric.when is not None else []
    canonical = json.dumps([rubric.type, when, block], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def _attribute(kind: RubricType) -> str:
    return {"ExactMatch": "exact_match", "JSONSchema": "json_schema"}.get(kind, BLOCKS[kind])
