"""The intent that a request counts for: by one classifier for both arms, or they would be sorted apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

from pointsman.contract import FAIL_OPEN
from pointsman.evaluator.classify import ClassifierError
from pointsman.evaluator.rollouts import triton_urls

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from pointsman.evaluator.classify import Classifiers
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.record import AccessRecord
    from pointsman.evaluator.rollouts import Rollouts


class Intents:
    """Labels requests. The reference is the incumbent's classifier; while it has none, the candidate's."""

    def __init__(
        self, policies: Policies, rollouts: Rollouts, classifiers: Classifiers, registry: CollectorRegistry
    ) -> None:
        self._policies = policies
        self._rollouts = rollouts
        self._classifiers = classifiers
        self._labels = Counter(
            "pointsman_evaluator_intents_total",
            "Requests of rollouts, by how their intent was found: own (Envoy asked the reference "
            "classifier), asked, unknown (no text, or no classifier), failed (no answer in time).",
            ["outcome"],
            registry=registry,
        )

    async def label(self, record: AccessRecord, body: Callable[[], bytes | None]) -> str:
        """Return the intent; "" where it is not known. `body`: the request as it came, if it is held."""
        rollout = self._rollouts.get(record.policy) if record.rollout else None
        if rollout is None or rollout.id != record.rollout:
            return record.intent
        reference = rollout.reference
        if reference is None:
            return self._said("unknown", "")
        own = self._policies.revision(record.policy, record.revision)
        if own is not None and own.model == reference.model and record.reason not in FAIL_OPEN:
            return self._said("own", record.intent)
        text = body()
        if text is None:
            return self._said("unknown", "")
        try:
            answer = await self._classifiers.ask(triton_urls(reference), reference.model, text)
        except ClassifierError:  # counted there, with the reason
            return self._said("failed", "")
        return self._said("asked", answer.intent)

    def _said(self, outcome: str, intent: str) -> str:
        self._labels.labels(outcome).inc()
        return intent
