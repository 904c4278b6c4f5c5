"""Policies' status as time series."""

from __future__ import annotations

from typing import Any

from pointsman.lab.states import VERDICT, WEIGHT, families

POLICY: dict[str, Any] = {
    "metadata": {"namespace": "n", "name": "p"},
    "status": {
        "traffic": [{"revision": "a", "weightPermille": 750}, {"revision": "b", "weightPermille": 250}],
        "rollout": {"id": "0123abcd"},
        "step": {"name": "Canary", "state": "Running"},
        "verdicts": [
            {
                "stage": "Canary",
                "rubric": "correct",
                "intent": "law",
                "dropPermille": 31,
                "lowPermille": -12,
                "highPermille": 70,
            }
        ],
    },
}


def _samples(policies: list[dict[str, Any]]) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in families(policies)
    }


def test_weights_and_intervals_become_series() -> None:
    """A bound that the status does not hold is no series, and never a zero."""
    samples = _samples([POLICY])
    assert samples[WEIGHT] == {("n", "p", "a"): 750, ("n", "p", "b"): 250}
    assert samples[VERDICT] == {
        ("n", "p", "0123abcd", "Canary", "correct", "law", bound): value
        for bound, value in (("drop", 31), ("low", -12), ("high", 70))
    }


def test_a_policy_without_a_status_has_no_series() -> None:
    """As the API server stores it first."""
    assert not any(_samples([{"metadata": {"namespace": "n", "name": "p"}}]).values())
