"""Where each policy is, as Prometheus sees it: gauges of its status, and how its rollouts ended."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from pointsman.rollout import measures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus
    from pointsman.clock import Clock

_FAMILIES: Final = measures.GAUGES | {shown.name: shown.help for shown in measures.SHOWN}
"""Name and help of each gauge."""
_WHILE_LIVE: Final = frozenset({measures.BOUND.name, measures.SAMPLES.name})
_LABELS: Final = ["namespace", "policy"]

Key = tuple[str, str]
"""A policy's namespace and name."""


class RolloutMetrics:
    """Gauges of the statuses that were last shown, as the text that a scrape gets.

    Written when a status is shown, not when it is scraped: with thousands of policies the client library
    would hold up every reconcile for seconds at each scrape. A series is gone with what it told of.
    """

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._text: dict[str, dict[Key, str]] = {name: {} for name in _FAMILIES}
        self._verdicts_until: dict[Key, float] = {}
        """Unix times; of policies that have verdicts shown."""
        self._ended = Counter(
            measures.ENDED,
            "Rollouts that ended, by outcome; counted by the process that ended them.",
            [*_LABELS, "outcome"],
            registry=registry,
        )

    def show(self, namespace: str, name: str, status: RoutingPolicyStatus) -> None:
        """Show a policy's status."""
        key = (namespace, name)
        lines: dict[str, list[str]] = {
            gauge: [_line(gauge, _LABELS, key, value)] for gauge, value in measures.gauges(status).items()
        }
        until = measures.verdicts_until(status)
        shown = [*measures.states(status)]
        self._verdicts_until.pop(key, None)
        if until > self._clock().timestamp():
            self._verdicts_until[key] = until
            shown += measures.verdicts(status)
        for family, labels, value in shown:
            line = _line(family.name, [*_LABELS, *family.labels], (*key, *labels), value)
            lines.setdefault(family.name, []).append(line)
        for family_name, by_policy in self._text.items():
            if family_name in lines:
                by_policy[key] = "".join(lines[family_name])
            else:
                by_policy.pop(key, None)

    def count(self, namespace: str, name: str, old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> None:
        """Count the rollouts that a status write ended."""
        for outcome in measures.ended(old, new):
            self._ended.labels(namespace, name, outcome).inc()

    def forget(self, namespace: str, name: str) -> None:
        """Drop the series of a policy that is gone."""
        self._verdicts_until.pop((namespace, name), None)
        for by_policy in self._text.values():
            by_policy.pop((namespace, name), None)
        for outcome in measures.OUTCOMES:
            with suppress(KeyError):
                self._ended.remove(namespace, name, outcome)

    def render(self) -> bytes:
        """Return the gauges in Prometheus's text format."""
        now_s = self._clock().timestamp()
        for key in [key for key, until in self._verdicts_until.items() if until <= now_s]:
            del self._verdicts_until[key]
            for name in _WHILE_LIVE:
                self._text[name].pop(key, None)
        parts = []
        for name, told in _FAMILIES.items():
            parts += [f"# HELP {name} {told}\n# TYPE {name} gauge\n", *self._text[name].values()]
        return "".join(parts).encode()


def _line(name: str, labels: Iterable[str], values: Iterable[str], value: float) -> str:
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in zip(labels, values, strict=True))
    number = "+Inf" if value == float("inf") else repr(value)
    return f"{name}{{{pairs}}} {number}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
