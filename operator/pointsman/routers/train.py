"""From a problem to a bundle file: fit, evaluate, pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pointsman.routers import linear
from pointsman.routers.report import Report, evaluate
from pointsman.triton.bundle import Bundle, check, pack, sha256

if TYPE_CHECKING:
    from pointsman.routers.dataset import Problem

ROUTERS: Final[dict[str, Callable[[Problem, linear.Progress], Bundle]]] = {
    "linear": lambda problem, progress: linear.fit(problem, progress=progress),
}
"""Every kind of router that can be trained."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A bundle file and what it is worth. The report is in the bundle's manifest, too (`metrics`)."""

    data: bytes
    sha256: str
    bundle: Bundle
    report: Report


def train(
    problem: Problem,
    *,
    router: str = "linear",
    strong_share: float = 0.5,
    progress: linear.Progress = lambda _: None,
) -> Trained:
    """Train a router; raise `DatasetError` or `CollapseError`. The same problem gives the same bytes."""
    bundle = ROUTERS[router](problem, progress)
    progress("evaluating on the test folds")
    report = evaluate(bundle, problem, strong_share)
    bundle = replace(bundle, manifest={**bundle.manifest, "metrics": report.as_json()})
    data = pack(bundle.manifest, bundle.vocabulary, bundle.arrays)
    return Trained(data, sha256(data), check(data, tiers=len(problem.tiers)), report)
