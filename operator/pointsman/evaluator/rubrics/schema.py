"""JSONSchema: the answer is JSON that a schema accepts."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, cast

from jsonschema import FormatChecker, exceptions, validators
from jsonschema_specifications import REGISTRY

from pointsman.api.v1alpha1.rubrics import DEFAULT_SCHEMA_KEY
from pointsman.evaluator.rubrics.base import NotReadyError, RubricScorer
from pointsman.evaluator.rubrics.patterns import Extraction, PatternError, compiled
from pointsman.evaluator.rubrics.types import Scored, Unscored
from pointsman.evaluator.sources import Files, SourceError, SourceMetrics, Sources
from pointsman.rollout.observation import Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from jsonschema.protocols import Validator

    from pointsman.api.v1alpha1.rubrics import JSONSchema, Rubric
    from pointsman.evaluator.rubrics.types import Case

_DEFAULT = validators.Draft202012Validator


def read_schema(content: bytes) -> Validator:
    """Return what checks against a schema; `ValueError` where it is none. Nothing outside it is fetched."""
    try:
        schema = json.loads(content.decode())
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"the schema is not JSON: {str(error)[:200]}") from None
    if not isinstance(schema, dict):
        raise ValueError("the schema must be a JSON object")  # noqa: TRY004 - of the file, not of an argument
    kind: Any = validators.validator_for(schema, default=_DEFAULT)
    try:
        # without the check of `format: regex`, which would ask Python's own dialect
        kind.check_schema(schema, format_checker=FormatChecker(formats=()))
    except exceptions.SchemaError as error:
        raise ValueError(f"the schema is no JSON Schema: {error.json_path}: {error.message[:200]}") from None
    _check_patterns(schema)
    extend: Any = validators.extend  # it has no types
    checking = extend(kind, _WITH_RE2)
    return cast("Validator", checking(schema, registry=REGISTRY))  # which holds the drafts' own schemas alone


def schemas(fetch: Callable[[Source], Awaitable[bytes]], metrics: SourceMetrics) -> Sources[Validator]:
    """Return the process's schemas."""
    return Sources("schema", fetch, read_schema, metrics)


class JSONSchemaScorer(RubricScorer):
    """Validity of JSON."""

    def __init__(
        self, rubric: Rubric, policy: str, block: JSONSchema, sources: Files[Validator], namespace: str
    ) -> None:
        """`ValueError` where an inline schema is none."""
        super().__init__(rubric, policy)
        self._extract = Extraction(block.extract)
        self._sources = sources
        self._inline = read_schema(block.inline.encode()) if block.inline is not None else None
        ref = block.schema_ref
        self._source = (
            Source(namespace, f"configmap://{ref.name}/{ref.key or DEFAULT_SCHEMA_KEY}", ref.sha256)
            if ref is not None
            else None
        )

    async def whole(self, case: Case) -> Scored | Unscored:
        """Read the answer as JSON and check it, off the loop: a schema may take its time."""
        return await asyncio.to_thread(self._check, case.answer, await self._validator())

    async def _validator(self) -> Validator:
        if self._inline is not None:
            return self._inline
        field = f"spec.evaluation.rubrics[{self.name}].jsonSchema"
        if self._source is None:
            raise NotReadyError(f"{field}: must set schemaRef or inline")
        try:
            return await self._sources.get(self._source)
        except SourceError as error:
            raise NotReadyError(f"{field}.schemaRef: {error}") from None

    def _check(self, text: str, validator: Validator) -> Scored:
        part = self._extract(text)
        if part is None:
            return Scored(passed=False, note="nothing extracted")
        try:
            value = json.loads(part, parse_constant=_no_json)
        except (ValueError, RecursionError):
            return Scored(passed=False, note="not JSON")
        error = next(iter(validator.iter_errors(value)), None)
        return Scored(error is None, f"violates {error.validator}" if error is not None else "")


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[exceptions.ValidationError]:
    if isinstance(instance, str) and compiled(pattern).search(instance) is None:
        yield exceptions.ValidationError("does not match the pattern")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, _: Any
) -> Iterator[exceptions.ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        search = compiled(pattern).search
        for name, value in instance.items():
            if search(name) is not None:
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, additional: Any, instance: Any, schema: dict[str, Any]
) -> Iterator[exceptions.ValidationError]:
    if not isinstance(instance, dict):
        return
    searches = [compiled(pattern).search for pattern in schema.get("patternProperties", ())]
    for name, value in instance.items():
        if name not in schema.get("properties", ()) and all(search(name) is None for search in searches):
            yield from validator.descend(value, additional, path=name)


_WITH_RE2: Final = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
"""The keywords for which the library would use Python's `re`; it has one more (see `_check_patterns`)."""


def _check_patterns(schema: Any) -> None:
    """Refuse at once what RE2 does not read, and the one keyword that cannot be held to it."""
    waiting, keywords = [schema], set[str]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        if isinstance(value, dict):
            waiting += value.values()
            keywords |= value.keys() & {"patternProperties", "unevaluatedProperties"}
            written = value.get("pattern")
            more = value.get("patternProperties")
            for pattern in (written, *(more if isinstance(more, dict) else ())):
                if isinstance(pattern, str):
                    try:
                        compiled(pattern)
                    except PatternError as error:
                        raise ValueError(f"pattern: {error}") from None
    if len(keywords) > 1:
        raise ValueError(
            "unevaluatedProperties beside patternProperties is not supported; use additionalProperties"
        )
