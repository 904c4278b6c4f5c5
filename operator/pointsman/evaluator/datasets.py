"""Data sets of a policy: references by turn, and the cases of a gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.sources import SourceMetrics, Sources
from pointsman.gate.cases import GateCase, read_cases, references
from pointsman.rollout.observation import Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pointsman.api.v1alpha1.datasets import Dataset

DEFAULT_KEY: Final = "dataset.jsonl"
"""Key of a `configmap://NAME` without one: give it to the `Fetcher`."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A data set in memory."""

    cases: tuple[GateCase, ...]
    references: Mapping[str, tuple[str, ...]]
    """Turn hash → what counts as right."""


def read(content: bytes) -> Loaded:
    """Return what a data set's file holds; `CaseError` (a ValueError) names line and field."""
    cases = read_cases(content)
    return Loaded(cases, references(cases))


def source(namespace: str, dataset: Dataset) -> Source:
    """Return where a policy's data set lies."""
    return Source(namespace, dataset.uri, dataset.sha256)


def datasets(fetch: Callable[[Source], Awaitable[bytes]], metrics: SourceMetrics) -> Sources[Loaded]:
    """Return the process's data sets: `await datasets.get(source(namespace, dataset))`."""
    return Sources("dataset", fetch, read, metrics)
