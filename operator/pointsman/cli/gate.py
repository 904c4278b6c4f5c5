"""`pointsman gate`: a candidate held against the incumbent on recorded answers, before any traffic."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointsman.api.v1alpha1.meta import SecretKeyRef
    from pointsman.api.v1alpha1.rubrics import Rubric
    from pointsman.evaluator.rubrics import Scored, Unscored
    from pointsman.evaluator.rubrics.base import RubricScorer
    from pointsman.gate.answers import Recorded
    from pointsman.gate.cases import GateCase
    from pointsman.gate.paired import Judged
    from pointsman.stats.types import Rule

T = TypeVar("T")

EXIT_FAIL: Final = 1
EXIT_UNDERPOWERED: Final = 3
_PERMILLE: Final = 1000
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_EPILOG = """\b
Files, JSON lines (.gz is unpacked):
  cases    {"id": "7", "prompt": "…", "reference": "C", "intent": "law", "group": "g3"}
           prompt, or promptSha256, or messages; the rest may be left out
  answers  {"id": "7", "answer": "… The answer is (C)."}   or   {"id": "7", "score": 1}
           promptSha256 or prompt can stand in for id

\b
Examples:
  pointsman gate --cases cases.jsonl --incumbent old.jsonl --candidate new.jsonl --rubric correct.yaml
  pointsman gate --cases cases.jsonl --incumbent old.jsonl --candidate new.jsonl --policy policy.yaml

\b
Exit code:
  0 pass   1 fail   2 wrong usage   3 underpowered (0 with --allow-underpowered)
"""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is held against what."""

    rubrics: tuple[Rubric, ...]
    rule: Rule
    min_cases: int


@click.command(epilog=_EPILOG)
@click.option("--cases", "cases_file", type=_FILE, required=True, help="The cases, with references.")
@click.option("--incumbent", type=_FILE, required=True, help="What the incumbent answered.")
@click.option("--candidate", type=_FILE, required=True, help="What the candidate answered.")
@click.option(
    "--rubric",
    "rubric_files",
    type=_FILE,
    multiple=True,
    help="A rubric as in spec.evaluation.rubrics, YAML; a list of them, too. Repeatable.",
)
@click.option("--policy", type=_FILE, help="A RoutingPolicy: its rubrics, margins and gate.minCases count.")
@click.option(
    "--minimum-drop",
    type=click.IntRange(0, 1000),
    metavar="PERMILLE",
    help="Fail where a drop beyond it is proven. Default: the policy's, else 10 (one point).",
)
@click.option(
    "--tolerated-drop",
    type=click.IntRange(1, 1000),
    metavar="PERMILLE",
    help="Pass where a drop below it is proven. Default: the policy's, else 30 (three points).",
)
@click.option("--min-cases", type=click.IntRange(1), help="Default: the policy's gate.minCases, else 50.")
@click.option(
    "--confidence",
    type=click.IntRange(50, 99),
    default=95,
    show_default=True,
    metavar="PERCENT",
    help="Of the two-sided intervals.",
)
@click.option("--skip-missing", is_flag=True, help="Leave out cases that one of the two has no answer to.")
@click.option("--allow-underpowered", is_flag=True, help="Exit code 0 where the cases are too few to tell.")
@click.option(
    "--judge-key", envvar="POINTSMAN_GATE_JUDGE_KEY", show_envvar=True, help="Bearer token for judges."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    *,
    cases_file: Path,
    incumbent: Path,
    candidate: Path,
    rubric_files: tuple[Path, ...],
    policy: Path | None,
    minimum_drop: int | None,
    tolerated_drop: int | None,
    min_cases: int | None,
    confidence: int,
    skip_missing: bool,
    allow_underpowered: bool,
    judge_key: str | None,
    as_json: bool,
) -> None:
    """Hold a candidate against the incumbent on the same cases, before it gets any traffic.

    Both models' answers were recorded beforehand. Rubrics score them, case by case; references are those of
    the cases. What decides is the mean difference within cases, which is far sharper than the difference of
    two averages, with standard errors by group of alike cases.

    A gate can prove a drop (fail), prove that there is none to mind (pass), or be too small for either
    (underpowered): then it says how many cases would do. Fifty cases see only drops of about ten points.
    """
    from pointsman.gate import report
    from pointsman.gate.answers import read_answers, recorded
    from pointsman.gate.cases import read_cases
    from pointsman.gate.paired import worst

    cases = _read(cases_file, read_cases)
    arms = [recorded(cases, _read(path, read_answers)) for path in (incumbent, candidate)]
    for path, arm in zip((incumbent, candidate), arms, strict=True):
        _missing(path, cases, arm, skip=skip_missing)
    asked = _asked(rubric_files, policy, minimum_drop, tolerated_drop, min_cases)
    found = _judged(cases, (arms[0], arms[1]), asked, confidence / 100, judge_key)
    verdict = worst(judged.verdict for judged in found)
    if as_json:
        shown = {"verdict": verdict, "cases": len(cases), "rubrics": [judged.view() for judged in found]}
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        click.echo(report.text(found, verdict, asked.rule, len(cases)))
    if verdict == "fail":
        sys.exit(EXIT_FAIL)
    sys.exit(EXIT_UNDERPOWERED if verdict == "underpowered" and not allow_underpowered else 0)


def _read(path: Path, read: Callable[[bytes], T]) -> T:
    """Read a file or end with code 2."""
    from pointsman.gate.cases import CaseError

    try:
        return read(path.read_bytes())
    except CaseError as error:
        raise click.UsageError(f"{path}: {error}") from None


def _missing(path: Path, cases: Sequence[GateCase], arm: Sequence[Recorded | None], *, skip: bool) -> None:
    missing = [case for case, found in zip(cases, arm, strict=True) if found is None]
    if missing and len(missing) == len(cases):
        raise click.UsageError(f"{path}: answers none of the cases; do its ids or prompts match theirs?")
    if missing and not skip:
        raise click.UsageError(
            f"{path}: has no answer to {len(missing)} of {len(cases)} cases, first {missing[0].id}. "
            'One that failed is "answer": ""; --skip-missing leaves these cases out for both'
        )


def _asked(
    rubric_files: Sequence[Path],
    policy_file: Path | None,
    minimum_drop: int | None,
    tolerated_drop: int | None,
    min_cases: int | None,
) -> _Asked:
    """Put rubrics and margins together: options before the policy, the policy before the defaults."""
    from pointsman.api.v1alpha1.settings import settings
    from pointsman.stats.types import Rule

    rubrics = [rubric for path in rubric_files for rubric in _rubrics(path)]
    rule, least = Rule(), 50
    if policy_file is not None:
        policy = _policy(policy_file)
        resolved = settings(policy.spec)
        least = resolved.gate_min_cases
        rule = Rule(
            resolved.minimum_drop_permille / _PERMILLE,
            resolved.tolerated_drop_permille / _PERMILLE,
            resolved.false_alarm_permille / _PERMILLE,
            resolved.false_pass_permille / _PERMILLE,
        )
        evaluation = policy.spec.evaluation
        rubrics += evaluation.rubrics if evaluation is not None else []
    names = [rubric.name for rubric in rubrics]
    if len(set(names)) < len(names):
        raise click.UsageError(f"two rubrics have the same name, among {', '.join(names)}; rename one")
    margins = (
        rule.minimum_drop if minimum_drop is None else minimum_drop / _PERMILLE,
        rule.tolerated_drop if tolerated_drop is None else tolerated_drop / _PERMILLE,
    )
    return _Asked(tuple(rubrics), Rule(*margins, rule.false_alarm, rule.false_pass), min_cases or least)


def _policy(path: Path) -> Any:
    from pointsman.api import manifests

    try:
        found = manifests.read({str(path): path.read_text("utf-8")})
    except (manifests.ManifestError, UnicodeDecodeError) as error:
        raise click.UsageError(str(error)) from None
    if len(found.policies) != 1:
        raise click.UsageError(f"{path}: holds {len(found.policies)} RoutingPolicies; --policy takes one")
    return next(iter(found.policies.values()))


def _rubrics(path: Path) -> list[Rubric]:
    import yaml
    from pydantic import ValidationError

    from pointsman.api.manifests import unknown_fields
    from pointsman.api.v1alpha1.rubrics import Rubric

    try:
        value = yaml.safe_load(path.read_text("utf-8"))
        entries = value if isinstance(value, list) else [value]
        found = [Rubric.model_validate(_complete(entry)) for entry in entries]
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        raise click.UsageError(f"{path}: is no rubric as in spec.evaluation.rubrics: {error}") from None
    for entry, rubric in zip(entries, found, strict=True):
        unknown = unknown_fields(entry, rubric, rubric.name)
        if unknown:
            raise click.UsageError(f"{path}: unknown field {', '.join(unknown)}; correct or remove it")
    return found


def _complete(value: Any) -> Any:
    """Fill in the reference that a rubric needs in a policy: here it is the cases' own."""
    block = value.get("exactMatch") if isinstance(value, dict) else None
    if isinstance(block, dict) and "reference" not in block:
        cases = {"dataset": {"uri": "file:///cases", "sha256": "0" * 64}}
        return {**value, "exactMatch": {**block, "reference": cases}}
    return value


def _judged(
    cases: Sequence[GateCase],
    arms: tuple[Sequence[Recorded | None], Sequence[Recorded | None]],
    asked: _Asked,
    confidence: float,
    judge_key: str | None,
) -> list[Judged]:
    from pointsman.gate.paired import Pair, judge

    scored = asyncio.run(_scored(cases, arms, asked.rubrics, judge_key))
    found = []
    for name, (old, new) in scored.items():
        pairs, left = [], dict[str, int]()
        for case, before, after in zip(cases, old, new, strict=True):
            because = before if isinstance(before, str) else after
            if isinstance(before, str) or isinstance(after, str):
                left[str(because)] = left.get(str(because), 0) + 1
            else:
                pairs.append(Pair(case.group, case.intent, before, after))
        left.pop("not_applicable", None)
        found.append(
            judge(name, pairs, asked.rule, confidence=confidence, min_cases=asked.min_cases, unscored=left)
        )
    return found


async def _scored(
    cases: Sequence[GateCase],
    arms: Sequence[Sequence[Recorded | None]],
    rubrics: Sequence[Rubric],
    judge_key: str | None,
) -> dict[str, list[list[float | str]]]:
    """Return rubric → for each arm, each case's score (0..1), or in a word why it has none."""
    if not rubrics:
        return {"score": [_scores(arm) for arm in arms]}
    from prometheus_client import CollectorRegistry

    from pointsman.evaluator.rubrics import Library, Resources, scorers
    from pointsman.fetching import Fetcher

    for rubric in rubrics:
        if rubric.judge is not None and rubric.judge.endpoint.api_key_ref is not None and not judge_key:
            raise click.UsageError(f"--judge-key: rubric {rubric.name} has an apiKeyRef; give its key here")

    async def key(_namespace: str, _ref: SecretKeyRef) -> str:
        return judge_key or ""

    fetcher = Fetcher(None, process="gate")
    library = Library(fetcher, key, CollectorRegistry(), at_once=True)
    resources = Resources("default/gate", _Given(tuple(cases)), library.schemas, library.judges)
    try:
        return {
            scorer.name: [await _by(scorer, cases, arm) for arm in arms]
            for scorer in scorers(rubrics, resources)
        }
    finally:
        await library.close()
        await fetcher.close()


def _scores(arm: Sequence[Recorded | None]) -> list[float | str]:
    found: list[float | str] = []
    for entry in arm:
        if entry is not None and entry.score is None:
            raise click.UsageError(
                f"line {entry.line} has an answer and no score; name what scores it: --rubric or --policy"
            )
        found.append("missing" if entry is None or entry.score is None else entry.score)
    return found


async def _by(
    scorer: RubricScorer, cases: Sequence[GateCase], arm: Sequence[Recorded | None]
) -> list[float | str]:
    """Score one arm; a rubric that cannot work ends the command with code 2."""
    verdicts = await asyncio.gather(*(_verdict(scorer, *pair) for pair in zip(cases, arm, strict=True)))
    if scorer.problem and any(verdict in {"error", "judge_failed"} for verdict in verdicts):
        raise click.UsageError(f"rubric {scorer.name}: {scorer.problem}")
    return verdicts


async def _verdict(scorer: RubricScorer, case: GateCase, entry: Recorded | None) -> float | str:
    from pointsman.evaluator.rubrics import Case

    if entry is None:
        return "missing"
    if entry.answer is None:
        raise click.UsageError(
            f"line {entry.line} has a score and no answer for rubric {scorer.name} to score"
        )
    verdict: Scored | Unscored = await scorer.score(
        Case(
            body=b"",
            turn_sha256=case.turn_sha256,
            question=case.question,
            answer=entry.answer,
            intent=case.intent,
        )
    )
    return float(verdict.passed) if hasattr(verdict, "passed") else verdict.because


@dataclass(frozen=True, slots=True)
class _Given:
    """The one data set there is: the cases."""

    cases: tuple[GateCase, ...]

    async def get(self, source: object) -> Any:  # noqa: ARG002 - whatever the rubric names
        from pointsman.evaluator.datasets import Loaded
        from pointsman.gate.cases import references

        return Loaded(self.cases, references(self.cases))
