"""Specs that must be refused: each one change to a good one, with the field and remedy to be named."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any, Final


class _Absent:
    """Take the field away."""


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Bad:
    """`change` of the good spec `of`: path → value. The refusal of `field` must hold `remedy`."""

    name: str
    change: dict[str, Any]
    field: str
    remedy: str
    of: str = "full"


def apply(manifest: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with each path (`spec.tiers[0].name`) set to its value, or taken away."""
    changed = copy.deepcopy(manifest)
    for path, value in change.items():
        *parents, last = (
            int(i) if i else name for name, i in re.findall(r"([A-Za-z][A-Za-z0-9]*)|\[(\d+)\]", path)
        )
        holder: Any = changed
        for step in parents:
            holder = holder[step]
        if value is ABSENT:
            del holder[last]
        elif isinstance(last, int) and last == len(holder):
            holder.append(value)
        else:
            holder[last] = value
    return changed


MATCH: Final = "spec.match"
TIER: Final = "spec.tiers[0]"
CLASSIFIER: Final = "spec.strategy.classifier"
CAPTURE: Final = "spec.evaluation.capture"
ROLLOUT: Final = "spec.rollout"
RUBRICS: Final = "spec.evaluation.rubrics"
DAYS: Final = "days are not a unit: 7 days are 168h"
LABEL: Final = "must be lower-case letters, digits and -"
HOST: Final = "must be a lower-case host name without scheme, port or path, for instance llm.example.com"
URL: Final = "for instance https://api.example.com/v1; no user, query or fragment (keys go to apiKeyRef)"
DOLLARS: Final = 'must be US dollars as a decimal string, for instance "0.15"'


def _one(name: str, field: str, value: Any, remedy: str, *, of: str = "full") -> Bad:
    """Return a spec whose one changed field is the one that is named."""
    return Bad(name, {field: value}, field, remedy, of)


BAD_SPECS: Final = (
    # what the policy is called and serves
    Bad("dotted policy name", {"metadata.name": "support.v2"}, "", "at most 52 characters and no dot"),
    Bad(
        "long policy name", {"metadata.name": "a" * 53}, "", "metadata.name: must have at most 52 characters"
    ),
    _one("gateway in capitals", "spec.gatewayRef.name", "Default", LABEL),
    _one("no gateway name", "spec.gatewayRef.name", "", "should be at least 1 chars long"),
    _one("hostname with a scheme", f"{MATCH}.hostnames[0]", "https://llm.example.com", HOST),
    _one("hostname with a port", f"{MATCH}.hostnames[0]", "llm.example.com:443", HOST),
    _one("hostname in capitals", f"{MATCH}.hostnames[0]", "LLM.example.com", HOST),
    _one(
        "hostname with a star inside",
        f"{MATCH}.hostnames[0]",
        "llm.*.com",
        "*.example.com and * are patterns",
    ),
    Bad(
        "the same hostname twice",
        {f"{MATCH}.hostnames[2]": "llm.example.com"},
        f"{MATCH}.hostnames[2]",
        "Duplicate",
    ),
    _one("no hostnames", f"{MATCH}.hostnames", [], "should have at least 1 items"),
    _one("too many models", f"{MATCH}.models", [f"m{i}" for i in range(17)], "must have at most 16 items"),
    _one(
        "model with a quote", f"{MATCH}.models[0]", 'au"to', "no double quote, backslash or control character"
    ),
    # tiers
    _one("no tiers", "spec.tiers", [], "should have at least 1 items"),
    Bad("two tiers of one name", {"spec.tiers[1].name": "cheap"}, "spec.tiers", "rename one of them"),
    _one("tier name with an underscore", f"{TIER}.name", "cheap_1", LABEL),
    _one("endpoint without a scheme", f"{TIER}.endpoints[0].url", "api.example.com/v1", URL),
    _one("endpoint with a key in it", f"{TIER}.endpoints[0].url", "https://k@api.example.com/v1", URL),
    _one("endpoint with a query", f"{TIER}.endpoints[0].url", "https://api.example.com/v1?key=k", URL),
    Bad(
        "endpoints with different paths",
        {f"{TIER}.endpoints[0].url": "https://api.example.com/openai/v1"},
        f"{TIER}.endpoints",
        "put endpoints with another path into a tier of their own",
    ),
    _one(
        "endpoint with an impossible port",
        f"{TIER}.endpoints[0].url",
        "https://api.example.com:70000/v1",
        URL,
    ),
    Bad(
        "endpoints of two schemes",
        {f"{TIER}.endpoints[0].url": "http://api.example.com/v1"},
        f"{TIER}.endpoints",
        "put http and https endpoints into tiers of their own",
    ),
    Bad(
        "the same endpoint twice",
        {f"{TIER}.endpoints[1].url": "https://api.example.com/v1"},
        f"{TIER}.endpoints",
        "must not name the same url twice; remove the copy",
    ),
    _one("no endpoints", f"{TIER}.endpoints", [], "should have at least 1 items"),
    _one("the key itself for its name", f"{TIER}.apiKeyRef.key", "Bearer sk-1", "not the key itself"),
    _one(
        "secret of another namespace",
        f"{TIER}.apiKeyRef.name",
        "other/keys",
        "a Secret in the policy's namespace",
    ),
    _one("price as a number", f"{TIER}.price.inputPerMillion", 0.15, "must be of type string"),
    _one("price with a currency", f"{TIER}.price.inputPerMillion", "$0.15", DOLLARS),
    _one("price with an exponent", f"{TIER}.price.outputPerMillion", "6e-1", DOLLARS),
    _one("timeout as a number", f"{TIER}.timeouts.idle", 30, "must be of type string"),
    _one("timeout in days", f"{TIER}.timeouts.total", "7d", "from 10ms to 24h in whole h, m, s or ms"),
    _one("timeout without a unit", f"{TIER}.timeouts.idle", "30", "for instance 60s"),
    _one("silence longer than the answer", f"{TIER}.timeouts.idle", "20m", "lower idle or raise total"),
    # strategy
    _one(
        "a strategy that is not there",
        "spec.strategy.type",
        "Cascade",
        'supported values: "Classifier", "Pinned"',
    ),
    _one("no classifier", CLASSIFIER, ABSENT, "must be set where type is Classifier, and only there"),
    _one("a pin beside a classifier", "spec.strategy.pinned", {"tier": "cheap"}, "remove it or change type"),
    _one(
        "pinned without a pin",
        "spec.strategy.pinned",
        ABSENT,
        "must be set where type is Pinned",
        of="pinned",
    ),
    _one(
        "pinned to no tier",
        "spec.strategy.pinned.tier",
        "large",
        "must be the name of one of tiers",
        of="pinned",
    ),
    _one(
        "unknown uri scheme", f"{CLASSIFIER}.artifact.uri", "s3://bucket/bundle.zip", "https://… or file:///…"
    ),
    _one(
        "relative file",
        f"{CLASSIFIER}.artifact.uri",
        "file://bundle.zip",
        "file:///…; for instance configmap://",
    ),
    _one("no digest", f"{CLASSIFIER}.artifact.sha256", ABSENT, "sha256sum FILE prints it"),
    _one(
        "short digest",
        f"{CLASSIFIER}.artifact.sha256",
        "abc",
        "64 lower-case hex digits that sha256sum prints",
    ),
    Bad(
        "threshold of no tier",
        {f"{CLASSIFIER}.thresholds[0].tier": "small"},
        f"{CLASSIFIER}.thresholds",
        "correct it or add the tier",
    ),
    Bad(
        "threshold of the last tier",
        {f"{CLASSIFIER}.thresholds[0].tier": "strong"},
        f"{CLASSIFIER}.thresholds",
        "name a cheaper tier",
    ),
    _one(
        "threshold over 1000",
        f"{CLASSIFIER}.thresholds[0].minScorePermille",
        1001,
        "less than or equal to 1000",
    ),
    _one(
        "threshold as a fraction",
        f"{CLASSIFIER}.thresholds[0].minScorePermille",
        0.64,
        "must be of type integer",
    ),
    Bad(
        "two thresholds of one tier",
        {f"{CLASSIFIER}.thresholds[1].tier": "cheap"},
        f"{CLASSIFIER}.thresholds[1]",
        "Duplicate value",
    ),
    Bad(
        "rule for no tier",
        {f"{CLASSIFIER}.perIntent[0].tier": "lawyer"},
        f"{CLASSIFIER}.perIntent",
        "correct it or add the tier",
    ),
    Bad(
        "two rules for one intent",
        {f"{CLASSIFIER}.perIntent[1].intent": "contracts"},
        f"{CLASSIFIER}.perIntent[1]",
        "Duplicate value",
    ),
    Bad(
        "classifier that chooses nothing",
        {f"{CLASSIFIER}.thresholds": [], f"{CLASSIFIER}.perIntent": ABSENT},
        CLASSIFIER,
        "must set thresholds or perIntent",
    ),
    _one("deadline too short", f"{CLASSIFIER}.deadline", "1ms", "from 5ms to 5s in whole h, m, s or ms"),
    _one("deadline too long", f"{CLASSIFIER}.deadline", "10s", "for instance 50ms"),
    # where it runs
    _one("no Triton", "spec.triton", ABSENT, "add triton.managed: {} or triton.external.urls"),
    _one(
        "Triton without a port", "spec.triton.external.urls[0]", "http://triton-0", "must be http://HOST:PORT"
    ),
    _one("Triton by TLS", "spec.triton.external.urls[0]", "https://triton-0:8000", "speaks no TLS"),
    _one("Triton with a path", "spec.triton.external.urls[0]", "http://triton-0:8000/v2", "without a path"),
    # observation
    _one("share over 1000", f"{CAPTURE}.samplePermille", 1001, "less than or equal to 1000"),
    _one("negative share", f"{CAPTURE}.samplePermille", -1, "greater than or equal to 0"),
    _one("too little kept", f"{CAPTURE}.maxBytes", 10, "greater than or equal to 1024"),
    _one("unknown redaction", f"{CAPTURE}.redact[0]", "Names", 'supported values: "Email", "Phone"'),
    _one("retention in days", f"{CAPTURE}.retention", "7d", DAYS),
    _one("retention for ever", f"{CAPTURE}.retention", "99999h", "from 1m to 8760h"),
    # rollout
    Bad(
        "nothing to prove with",
        {"spec.evaluation.prometheus": ABSENT},
        "spec.evaluation",
        "or set rollout.mode: Direct",
    ),
    Bad("nothing to shadow with", {CAPTURE: ABSENT}, "spec.evaluation", "or set rollout.shadow.mode: Off"),
    Bad(
        "rubrics without text",
        {f"{CAPTURE}.samplePermille": 0, "spec.rollout.mode": "Direct"},
        "spec.evaluation",
        "rubrics are scored on captured text; add evaluation.capture",
    ),
    _one(
        "a mode that is not there",
        f"{ROLLOUT}.mode",
        "Yolo",
        'supported values: "Progress", "Observe", "Direct"',
    ),
    _one("a first that is not there", f"{ROLLOUT}.first", "Hope", 'supported values: "Prove", "Direct"'),
    _one("noise windows of a day and more", f"{ROLLOUT}.noise.window", "48h", "from 1s to 24h"),
    _one("too few noise windows", f"{ROLLOUT}.noise.minWindows", 3, "greater than or equal to 4"),
    _one("multiplier as a sentence", f"{ROLLOUT}.noise.multiplier", "1,5", 'as a string, for instance "1.5"'),
    _one("shadow as a switch", f"{ROLLOUT}.shadow.mode", "yes", 'supported values: "On", "Off"'),
    _one("budget with a currency", f"{ROLLOUT}.shadow.budgetUSDPerHour", "$2", "no sign, unit or exponent"),
    _one("too few pairs", f"{ROLLOUT}.shadow.minPairs", 5, "greater than or equal to 20"),
    Bad(
        "weights that fall",
        {f"{ROLLOUT}.canary.steps[2].weightPermille": 20},
        f"{ROLLOUT}.canary.steps",
        "must rise from step to step",
    ),
    _one("a step for all", f"{ROLLOUT}.canary.steps[2].weightPermille", 1000, "less than or equal to 999"),
    _one("a step in days", f"{ROLLOUT}.canary.steps[0].minDuration", "1d", DAYS),
    _one("no steps", f"{ROLLOUT}.canary.steps", [], "should have at least 1 items"),
    Bad(
        "sticky by no header",
        {f"{ROLLOUT}.canary.stickyBy.header": ABSENT},
        f"{ROLLOUT}.canary.stickyBy.header",
        "must be set where type is Header",
    ),
    _one(
        "sticky by a header in capitals",
        f"{ROLLOUT}.canary.stickyBy.header",
        "X-Session",
        "must be the lower-case name",
    ),
    Bad(
        "margins that cross",
        {f"{ROLLOUT}.verdict.toleratedDropPermille": 10},
        f"{ROLLOUT}.verdict.toleratedDropPermille",
        "must be above minimumDropPermille",
    ),
    _one("sure of nothing", f"{ROLLOUT}.verdict.falseAlarmPermille", 500, "less than or equal to 200"),
    _one("no false alarm ever", f"{ROLLOUT}.verdict.falseAlarmPermille", 0, "greater than or equal to 1"),
    _one("approval of no step", f"{ROLLOUT}.approval[0]", "Lunch", 'supported values: "Canary", "Promotion"'),
    _one("warm for ever", f"{ROLLOUT}.keepWarm", "99999h", "from 1s to 8760h"),
    _one(
        "inconclusive and then",
        f"{ROLLOUT}.onInconclusive",
        "Promote",
        'supported values: "Pause", "Rollback"',
    ),
    _one(
        "Prometheus with a query",
        "spec.evaluation.prometheus.url",
        "http://p:9090?x=1",
        "no user, query or fragment",
    ),
    _one("gate without digest", "spec.evaluation.gate.dataset.sha256", ABSENT, "sha256sum FILE prints it"),
    # rubrics
    _one(
        "rubric named as a guard", f"{RUBRICS}[2].name", "answered", "is the name of a built-in guard rubric"
    ),
    _one("rubric with look-around", f"{RUBRICS}[2].regex.pattern", "(?=x)", "RE2 reads: no look-around"),
    _one("extract that does not end", f"{RUBRICS}[0].exactMatch.extract[0]", "(", "missing closing )"),
    _one("rubric without its block", f"{RUBRICS}[2].regex", ABSENT, "must be set where type is Regex"),
    Bad(
        "rubric with another's block",
        {f"{RUBRICS}[2].refusal": {}},
        f"{RUBRICS}[2].refusal",
        "is only for type Refusal; remove it or change type",
    ),
    _one("contains nothing", f"{RUBRICS}[1].contains", {}, "must set all, any or none"),
    _one(
        "schema without digest",
        f"{RUBRICS}[3].jsonSchema.schemaRef.sha256",
        ABSENT,
        "sha256sum FILE prints it",
    ),
    Bad(
        "both schemas",
        {f"{RUBRICS}[3].jsonSchema.inline": "{}"},
        f"{RUBRICS}[3].jsonSchema",
        "must set schemaRef or inline, and not both",
    ),
    _one("any length", f"{RUBRICS}[5].length", {}, "must set minCharacters or maxCharacters"),
    _one("blind judge", f"{RUBRICS}[7].judge.prompt", "Is it good?", "must contain {answer}"),
    _one("judge that cannot fail", f"{RUBRICS}[7].judge.passAtLeast", 0, "must be above the scale's min"),
    _one(
        "references of no digest",
        f"{RUBRICS}[0].exactMatch.reference.dataset.sha256",
        "x",
        "64 lower-case hex",
    ),
    _one("gate of three cases", "spec.evaluation.gate.minCases", 3, "greater than or equal to 10"),
    _one("suspend as a word", "spec.suspend", "yes", "must be of type boolean"),
    # whole fields
    _one("no spec", "spec", ABSENT, "Required value"),
    _one("no tiers field", "spec.tiers", ABSENT, "Required value"),
)

UNKNOWN_FIELDS: Final[tuple[tuple[str, Any], ...]] = (
    ("spec.tier", []),
    ("spec.tiers[0].modell", "small-1"),
    ("spec.strategy.classifier.threshold", 700),
    ("spec.rollout.weight", 10),
    ("spec.evaluation.capture.samplePercent", 10),
)
"""Fields that are no fields: path and value. The server names the path; kubectl refuses them by default."""
