"""From a policy's rubrics to scorers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.evaluator.datasets import datasets
from pointsman.evaluator.rubrics.base import Broken, RubricScorer
from pointsman.evaluator.rubrics.exact import ExactMatchScorer, References
from pointsman.evaluator.rubrics.judge import JudgeScorer
from pointsman.evaluator.rubrics.judges import JudgeMetrics, Judges
from pointsman.evaluator.rubrics.schema import JSONSchemaScorer, schemas
from pointsman.evaluator.rubrics.text import ContainsScorer, LengthScorer, RefusalScorer, RegexScorer
from pointsman.evaluator.sources import Files, SourceMetrics

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable

    from jsonschema.protocols import Validator
    from prometheus_client import CollectorRegistry

    from pointsman.api.v1alpha1.datasets import RubricReference
    from pointsman.api.v1alpha1.rubrics import Rubric
    from pointsman.evaluator.datasets import Loaded
    from pointsman.evaluator.rubrics.judges import ReadKey
    from pointsman.rollout.observation import Source


@dataclass(frozen=True, slots=True)
class Resources:
    """What scorers of one policy work with; the parts are the process's, shared by all policies."""

    policy: str
    """namespace/name."""
    datasets: Files[Loaded]
    schemas: Files[Validator]
    judges: Judges

    @property
    def namespace(self) -> str:
        """Where ConfigMaps and Secrets are looked up."""
        return self.policy.partition("/")[0]


class Library:
    """What all scorers of a process share: data sets, schemas, judges. One per process."""

    def __init__(
        self,
        fetch: Callable[[Source], Awaitable[bytes]],
        key: ReadKey,
        registry: CollectorRegistry,
        *,
        judge_trust: ssl.SSLContext | bool = True,
        at_once: bool = False,
    ) -> None:
        """`fetch`: a `Fetcher` with `default_key=datasets.DEFAULT_KEY`; `key` reads one key of a Secret."""
        metrics = SourceMetrics(registry)
        self.datasets = datasets(fetch, metrics)
        self.schemas = schemas(fetch, metrics)
        self.judges = Judges(key, JudgeMetrics(registry), verify=judge_trust, at_once=at_once)

    def resources(self, policy: str) -> Resources:
        """Return what the scorers of `namespace/name` work with."""
        return Resources(policy, self.datasets, self.schemas, self.judges)

    async def close(self) -> None:
        """End what is under way."""
        await self.datasets.close()
        await self.schemas.close()
        await self.judges.close()


def scorers(rubrics: Iterable[Rubric], resources: Resources) -> tuple[RubricScorer, ...]:
    """Return a scorer for each rubric. Cheap, never raises: a bad rubric scores nothing and says why once."""
    return tuple(_scorer(rubric, resources) for rubric in rubrics)


def _scorer(rubric: Rubric, resources: Resources) -> RubricScorer:
    field = f"spec.evaluation.rubrics[{rubric.name}]"
    try:
        made = _made(rubric, resources, field)
    except ValueError as error:  # what a pattern or schema says of itself
        return Broken(rubric, resources.policy, f"{field}: {error}")
    return made or Broken(rubric, resources.policy, f"{field}: must have the settings of type {rubric.type}")


def _made(rubric: Rubric, resources: Resources, field: str) -> RubricScorer | None:
    policy = resources.policy

    def references(reference: RubricReference, member: str) -> References:
        return References(resources.datasets, resources.namespace, reference, f"{field}.{member}.reference")

    found: RubricScorer | None = None
    if rubric.type == "Refusal":
        found = RefusalScorer(rubric, policy, rubric.refusal)
    elif (exact := rubric.exact_match) is not None:
        found = ExactMatchScorer(rubric, policy, exact, references(exact.reference, "exactMatch"))
    elif rubric.contains is not None:
        found = ContainsScorer(rubric, policy, rubric.contains)
    elif rubric.regex is not None:
        found = RegexScorer(rubric, policy, rubric.regex)
    elif (schema := rubric.json_schema) is not None:
        found = JSONSchemaScorer(rubric, policy, schema, resources.schemas, resources.namespace)
    elif rubric.length is not None:
        found = LengthScorer(rubric, policy, rubric.length)
    elif (judge := rubric.judge) is not None:
        right = references(judge.reference, "judge") if judge.reference is not None else None
        found = JudgeScorer(rubric, policy, judge, resources.judges, right)
    return found
