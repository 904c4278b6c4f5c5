"""Pods of an installation end, in good order and by force, and no client notices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from chaos_kit import (
    Ledgers,
    answered_once,
    delete,
    fault,
    leader,
    pods,
    under_way,
    wait_whole,
)
from installed_kit import MODELS_NAMESPACE, SYSTEM, Installed
from pointsman import install

COMPONENT = install.LABEL_COMPONENT
NOTICED_S = 0.25
"""Within this time a client has noticed that its connection is gone."""


def test_every_pod_that_leaves_in_good_order_is_missed_by_nobody(installed: Installed) -> None:
    """Each is deleted, and the next one once it is replaced; the tiers' pods one of each tier at a time."""
    world, ledgers = installed.world, Ledgers(installed.world)
    wait_whole(world, SYSTEM)
    wait_whole(world, MODELS_NAMESPACE)
    for pod in pods(world, SYSTEM):
        with fault(installed, f"{pod['metadata']['name']} deleted") as seen:
            delete(world, pod)
            wait_whole(world, SYSTEM, pod)
        assert not seen.failed, seen.failed[:3]
    for wave in _waves(pods(world, MODELS_NAMESPACE)):
        with fault(installed, f"{len(wave)} pods of tiers deleted") as seen:
            for leaving in wave:
                delete(world, leaving)
            ledgers.read_until_gone(wave)
            wait_whole(world, MODELS_NAMESPACE)
        assert not seen.failed, seen.failed[:3]
    ledgers.read()
    assert answered_once(installed, ledgers) > 100


def test_parts_that_end_by_force_are_missed_by_nobody(installed: Installed) -> None:
    """The leading operator, an xds server, the evaluator, a Triton and Prometheus, all at once."""
    world = installed.world
    struck = [
        leader(world),
        *(_one(installed, part) for part in ("xds", "evaluator", "triton", "prometheus")),
    ]
    with fault(installed, "five parts deleted by force") as seen:
        for pod in struck:
            delete(world, pod, force=True)
        wait_whole(world, SYSTEM, struck[-1])
        seen.notes["new leader"] = leader(world)["metadata"]["name"]
    assert not seen.failed, seen.failed[:3]


def test_a_killed_envoy_loses_only_what_was_under_way_on_it(installed: Installed) -> None:
    """Deleted without grace: who had no answer yet has an error; nobody else has, before or after."""
    world, ledgers = installed.world, Ledgers(installed.world)
    envoy = _one(installed, "gateway")
    with fault(installed, "an Envoy deleted by force") as seen:
        seen.notes["under way on it just before"] = under_way(envoy)
        delete(world, envoy, force=True)
        wait_whole(world, SYSTEM, envoy)
    begun = max((outcome.sent_at for outcome in seen.failed), default=0.0)
    lost = min((outcome.done_at for outcome in seen.failed), default=0.0)
    assert begun < lost + NOTICED_S, f"these did not fail at one moment: {seen.failed}"
    assert {outcome.status for outcome in seen.failed} <= {0}, seen.failed
    ledgers.read()
    answered_once(installed, ledgers)


def _one(installed: Installed, component: str) -> dict[str, Any]:
    return pods(installed.world, SYSTEM, f"{COMPONENT}={component}")[0]


def _waves(found: list[dict[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return the first pod of each tier, then the second of each, and so on."""
    by_tier: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for pod in found:
        by_tier[pod["metadata"]["labels"]["app"]].append(pod)
    return [[pod for pod in wave if pod] for wave in zip_longest(*by_tier.values())]
