"""Faults under load: what each client saw, what the tiers answered, and whether the two agree."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from installed_kit import MODELS_NAMESPACE, RATE, SYSTEM, TIER_PORT, Installed, cluster_ip
from pointsman import install
from pointsman.contract import ENTRY_STAT_PREFIX, FAIL_OPEN
from pointsman.lab.cluster.controllers import is_true
from wait import until_sync

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster_kit import World
    from pointsman.lab.load import Outcome

ANSWERED_S: Final = 75.0
"""A client gives an answer up after a minute."""
READY_S: Final = 180.0
COUNTED_S: Final = 60.0
"""Entries wait for a second in Envoy; what was lost is known at the next look at its counts."""
_OK: Final = 200


@dataclass
class Seen:
    """What clients saw of a fault: every request sent between its beginning and its end."""

    name: str
    outcomes: Sequence[Outcome] = ()
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[Outcome]:
        """Requests without an answer, or with another than 200 of a tier."""
        return [outcome for outcome in self.outcomes if outcome.status != _OK or not outcome.tier]

    def __str__(self) -> str:
        """Say it in one line."""
        times = sorted(outcome.seconds for outcome in self.outcomes) or [0.0]
        undecided = Counter(o.reason for o in self.outcomes if o.reason in FAIL_OPEN)
        first, last = self.outcomes[0].sent_at, self.outcomes[-1].sent_at
        said = [
            f"{last - first:.0f} s",
            f"{len(self.outcomes)} requests",
            f"{len(self.failed)} failed",
            f"p50 {statistics.median(times):.2f} s",
            f"p99 {times[len(times) * 99 // 100]:.2f} s",
            f"longest {times[-1]:.1f} s",
            *(f"{count} {reason}" for reason, count in undecided.items()),
            *(f"{name} {value}" for name, value in self.notes.items()),
        ]
        return f"chaos: {self.name}: {', '.join(said)}"


@contextmanager
def fault(installed: Installed, name: str) -> Iterator[Seen]:
    """Watch clients from before a fault until everything that was sent meanwhile has an answer; say it."""
    print(f"chaos: {name} …", flush=True)
    seen, begin = Seen(name), time.monotonic()
    yield seen
    seen.outcomes = answered(installed, begin)
    print(seen, flush=True)


def traffic_for(installed: Installed, seconds: float) -> None:
    """Wait until requests of so many seconds have been sent, from now on, and answered."""
    end = time.monotonic() + seconds
    seen = len(installed.tally.outcomes)

    def later() -> bool:
        return any(outcome.sent_at > end for outcome in installed.tally.outcomes[seen:])

    until_sync(later, seconds + ANSWERED_S, 0.2, what=f"clients have sent for {seconds} s")


def answered(installed: Installed, since: float) -> list[Outcome]:
    """Return what became of all requests that were sent from then until now, once all of it is known."""
    until = time.monotonic()
    witness = installed.tally

    def known() -> bool:
        # Requests are numbered in the order of their sending: no number may be missing.
        seen = [(_number(outcome), outcome.sent_at > until) for outcome in [*witness.outcomes]]
        first = min((number for number, later in seen if later), default=None)
        return first is not None and sum(number < first for number, _ in seen) == first

    until_sync(known, ANSWERED_S, 0.2, what="every request has an answer")
    found = [outcome for outcome in witness.outcomes if since <= outcome.sent_at <= until]
    return sorted(found, key=lambda outcome: outcome.sent_at)


def _number(outcome: Outcome) -> int:
    return int(outcome.session.split("-")[1])


# -- pods ------------------------------------------------------------------------------------------------


def pods(world: World, namespace: str, selector: str = "") -> list[dict[str, Any]]:
    """Return the pods that are not about to end."""
    return [pod for pod in world.pods(selector, namespace) if "deletionTimestamp" not in pod["metadata"]]


def delete(world: World, pod: Mapping[str, Any], *, force: bool = False) -> None:
    """Delete a pod; `force`: with no grace at all."""
    meta = pod["metadata"]
    more = ["--grace-period=0", "--force"] if force else []
    world.kubectl("delete", "pod", meta["name"], "-n", meta["namespace"], "--wait=false", *more)


def wait_whole(world: World, namespace: str, gone: Mapping[str, Any] | None = None) -> None:
    """Wait until a pod is gone, and all that are wanted in its namespace are there and Ready."""
    uid = gone["metadata"]["uid"] if gone else ""

    def whole() -> bool:
        found = world.pods("", namespace)
        if any(pod["metadata"]["uid"] == uid for pod in found):
            return False
        ready = [pod for pod in found if is_true(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]]
        return len(ready) == len(found) == _wanted(world, namespace)

    until_sync(whole, READY_S, 0.3, what=f"all pods of {namespace} are Ready")


def _wanted(world: World, namespace: str) -> int:
    kinds = ("deployments", "statefulsets")
    found = [
        item
        for kind in kinds
        for item in world.kube.get(f"/apis/apps/v1/namespaces/{namespace}/{kind}")["items"]
    ]
    return sum(int(item["spec"]["replicas"]) for item in found)


# -- tiers -----------------------------------------------------------------------------------------------


class Ledgers:
    """What all tiers answered, by the request's id, as far as their pods could be asked before they ended."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kept: dict[str, list[dict[str, Any]]] = {}

    def read(self) -> None:
        """Read the ledgers of all pods that there are."""
        for pod in self._world.pods("", MODELS_NAMESPACE):
            self.read_one(pod)

    def read_one(self, pod: Mapping[str, Any]) -> bool:
        """Read the ledger of one pod; False: it does not answer any more."""
        kept = self._kept.setdefault(pod["metadata"]["uid"], [])
        try:
            url = f"http://{pod['status']['podIP']}:{TIER_PORT}/ledger?after={len(kept)}"
            kept += httpx.get(url, timeout=10).raise_for_status().json()["entries"]
        except (httpx.HTTPError, KeyError):
            return False
        return True

    def answers(self) -> Counter[str]:
        """Return how many answers each of the clients' requests got, by its id."""
        return Counter(
            entry["id"]
            for entries in self._kept.values()
            for entry in entries
            if entry["status"] == _OK and not entry["shadow"]
        )

    def read_until_gone(self, ending: Sequence[Mapping[str, Any]]) -> None:
        """Read the ledgers of pods that end for as long as they answer."""
        until_sync(
            lambda: not [pod for pod in ending if self.read_one(pod)], READY_S, 0.3, what="all have ended"
        )


def answered_once(installed: Installed, ledgers: Ledgers) -> int:
    """Check that no tier answered a request that another answer was given to; return how many were looked at.

    A pod that was killed took its ledger with it: then a request has no entry. None has two.
    """
    answers = ledgers.answers()
    ids = Counter(outcome.request_id for outcome in [*installed.tally.outcomes] if outcome.status == _OK)
    twice = [name for name, count in answers.items() if name and count > 1]
    assert not twice, f"{len(twice)} requests were answered by tiers more than once: {twice[:5]}"
    assert not [name for name, count in ids.items() if count > 1], "two clients got the answer of one request"
    return sum(name in answers for name in ids)


# -- parts -----------------------------------------------------------------------------------------------


def leader(world: World) -> dict[str, Any]:
    """Return the pod of the operator that leads, once one does."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{install.OPERATOR}"

    def leads() -> dict[str, Any] | None:
        holder = str(world.kube.get(path)["spec"].get("holderIdentity") or "")
        found = pods(world, SYSTEM, f"{install.LABEL_COMPONENT}=operator")
        # A name of the pod's own, with or without what tells its runs apart.
        return next((pod for pod in found if holder.partition("_")[0] == pod["metadata"]["name"]), None)

    return until_sync(leads, READY_S, 0.2, what="an operator leads")


def under_way(envoy: Mapping[str, Any]) -> int:
    """Return how many requests an Envoy has accepted and not yet answered."""
    url = f"http://{envoy['status']['podIP']}:{install.ENVOY_STATS}/stats"
    pattern = f"^http\\.{ENTRY_STAT_PREFIX}\\.downstream_rq_active$"
    text = httpx.get(url, params={"filter": pattern}, timeout=10).raise_for_status().text
    return int(text.rpartition(":")[2])


def metric(world: World, service: str, port: int, name: str) -> float:
    """Return the sum of a metric of a part with one pod; nan where it does not show it or does not answer."""
    address = cluster_ip(world, service, SYSTEM)
    try:
        text = httpx.get(f"http://{address}:{port}/metrics", timeout=20).raise_for_status().text
    except httpx.HTTPError:
        return math.nan
    families = text_string_to_metric_families(text)
    found = [sample.value for family in families for sample in family.samples if sample.name == name]
    return sum(found) if found else math.nan


# -- counts ----------------------------------------------------------------------------------------------


@dataclass
class Counts:
    """What the evaluator knows of a time: entries that it received, and those that it knows to be lost."""

    received: float = math.nan
    lost: float = math.nan

    @property
    def known(self) -> float:
        """All of them."""
        return self.received + self.lost


@contextmanager
def counted(installed: Installed) -> Iterator[Counts]:
    """Check that every request that clients sent meanwhile was received by the evaluator or counted as lost.

    Entries come a second after their requests, and clients go on: so both are looked at from both sides.
    """
    world, counts = installed.world, Counts()
    answered_before, before = installed.tally.counts().requests, _counts(world)
    yield counts
    answered_after = installed.tally.counts().requests

    def all_known() -> Counts | None:
        now = _counts(world)
        return now if now.known - before.known >= answered_after - answered_before else None

    after = until_sync(all_known, COUNTED_S, 0.5, what="every request is received or counted as lost")
    counts.received, counts.lost = after.received - before.received, after.lost - before.lost
    # Those under way at both ends, and what came while we looked.
    most = installed.tally.counts().requests - answered_before + 10 * RATE
    assert counts.known <= most, f"{counts} of {most} requests: some are counted twice"


def _counts(world: World) -> Counts:
    names = ("pointsman_access_log_entries_total", "pointsman_access_log_lost_total")
    found = [metric(world, install.EVALUATOR, install.EVALUATOR_HTTP, name) for name in names]
    return Counts(*found)


# -- volumes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Volume:
    """A pod's volume: its claim, its name, and the folder of this machine that it is."""

    claim: str
    name: str
    folder: Path


def volume_of(world: World, pod: Mapping[str, Any]) -> Volume | None:
    """Return the volume that a pod claims; None: its claim has none yet, or is gone."""
    (claim,) = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    claims = world.kube.get(f"/api/v1/namespaces/{SYSTEM}/persistentvolumeclaims")["items"]
    name = next((c["spec"].get("volumeName", "") for c in claims if c["metadata"]["name"] == claim), "")
    if not name:
        return None
    found = world.kube.get(f"/api/v1/persistentvolumes/{name}")
    return Volume(claim, name, Path(found["spec"]["local"]["path"]))


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave not one byte free on the file system of a folder, meanwhile."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(bytes(1 << 16)):
                pass
        yield
    finally:
        ballast.unlink()
