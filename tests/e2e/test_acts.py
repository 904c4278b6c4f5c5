"""The demo's five acts, played once: what the API server, Prometheus and the tiers' ledgers say of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_api_client import PrometheusConnect

from pointsman.clock import system_clock
from pointsman.lab import control
from pointsman.lab.demo.acts import ACTS, Scene
from pointsman.lab.demo.ended import ONLY_CANDIDATE, Ended
from pointsman.lab.demo.house import House
from pointsman.lab.demo.performance import Options, perform
from pointsman.lab.demo.scene import NAMESPACE, POLICY
from pointsman.lab.kubectl import Kubectl
from stack import pointsman

DATA = Path(__file__).resolve().parents[2] / "data" / "mmlu-pro"
BASE = f"/apis/pointsman.dev/v1alpha1/namespaces/{NAMESPACE}"
SCENES = [scene for act in ACTS for scene in act.scenes]
RATE = 80.0

pytestmark = [
    pytest.mark.timeout(1500),
    # The lab is meant to outlive the play that started it: the tests ask it, then take it down.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]


class Silent:
    """An audience that pytest shows where a test fails."""

    def say(self, text: str) -> None:
        """Print a line."""
        print(text)

    relay = say

    @contextlib.contextmanager
    def live(self) -> Iterator[Callable[[str], None]]:
        """Print where the rollout is."""
        yield self.say


@dataclass(frozen=True, slots=True)
class Night:
    """The whole performance, with the lab still up."""

    ended: dict[str, Ended]
    policy: dict[str, Any]
    revisions: dict[str, dict[str, Any]]
    prometheus: PrometheusConnect
    report: str

    def counted(self, query: str) -> float:
        """Return a sum from Prometheus; 0 where there is nothing."""
        found = self.prometheus.custom_query(f"sum({query})")
        return float(found[0]["value"][1]) if found else 0.0


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Play all acts as `make demo` does."""
    state = tmp_path_factory.mktemp("acts") / "lab"
    page = state.parent / "report.html"
    try:
        options = Options(House(DATA, state, keep=True), rate=RATE, report=page)
        played = perform(options, Silent(), system_clock)
        status = control.ask(state, {"do": "status"})
        with Kubectl(Path(status["kubeconfig"])) as kubectl:
            items = kubectl.get(f"{BASE}/routingpolicyrevisions")["items"]
            yield Night(
                ended={one.scene.file: one for act in played for one in act.ended},
                policy=kubectl.get(f"{BASE}/routingpolicies/{POLICY}"),
                revisions={item["metadata"]["name"]: item for item in items},
                prometheus=PrometheusConnect(url=status["prometheus"], disable_ssl=True),
                report=page.read_text("utf-8"),
            )
    finally:
        pointsman("lab", "down", "--state", str(state))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.file)
def test_every_scene_ends_as_the_recorded_verdicts_foretell(night: Night, scene: Scene) -> None:
    """Promoted, refused in shadow or rolled back: status, record, event, quality, cost and ledgers agree."""
    assert night.ended[scene.file].problems == []


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.file)
def test_the_revision_keeps_how_it_ended(night: Night, scene: Scene) -> None:
    """The attempt lies in the revision's own status: outcome, steps in order, verdicts."""
    rollout = night.ended[scene.file].rollout
    revision = night.revisions[rollout["candidate"]]
    attempt = next(a for a in revision["status"]["attempts"] if a["rollout"]["id"] == rollout["id"])
    assert attempt["rollout"]["outcome"] == scene.ends
    assert attempt["rollout"]["because"]
    assert [step["index"] for step in attempt["rollout"]["steps"]] == list(
        range(len(attempt["rollout"]["steps"]))
    )
    assert attempt["verdicts"]


def test_only_the_good_are_in_force_at_the_end(night: Night) -> None:
    """The better policy has all of the traffic; the three that failed last are named with their outcomes."""
    status = night.policy["status"]
    better = night.ended["2-better.yaml"].rollout["candidate"]
    assert status["traffic"] == [{"revision": better, "weightPermille": 1000}]
    assert status["stableRevision"] == better
    failed = {each["revision"]: each["outcome"] for each in status["failedRevisions"]}
    for file in ("3-hidden.yaml", "4-no-shadow.yaml", "5-own-tier.yaml", "6-own-tier-again.yaml"):
        rollout = night.ended[file].rollout
        assert failed[rollout["candidate"]] == rollout["outcome"]


def test_the_hidden_damage_cost_no_user_anything(night: Night) -> None:
    """Neither Prometheus' counts nor the tiers' ledgers know a client that it served."""
    hidden = night.ended["3-hidden.yaml"]
    served = f'pointsman_rubric_results_total{{rollout="{hidden.rollout["id"]}",arm="candidate"}}'
    assert night.counted(served) == 0
    pairs = (
        f'pointsman_rubric_pairs_total{{rollout="{hidden.rollout["id"]}",rubric="correct",stage="shadow"}}'
    )
    assert night.counted(pairs) > 100
    clients, replays = hidden.served[ONLY_CANDIDATE]
    assert (clients, replays > 0) == (0, True)


@pytest.mark.parametrize("file", ["4-no-shadow.yaml", "5-own-tier.yaml", "6-own-tier-again.yaml"])
def test_a_rollback_rests_on_what_prometheus_counted(night: Night, file: str) -> None:
    """The verdict's samples are answers that Prometheus holds; some more came until the weight was gone."""
    ended = night.ended[file]
    verdict = ended.decisive
    assert verdict is not None
    intent = f',intent="{verdict.key.intent}"' if verdict.key.intent not in {"", "(pooled)"} else ""
    labels = f'rollout="{ended.rollout["id"]}",arm="candidate",rubric="{verdict.key.rubric}"{intent}'
    assert 0 < verdict.candidate <= night.counted(f"pointsman_rubric_results_total{{{labels}}}")
    assert verdict.low > verdict.fail_beyond - 1
    assert ended.lag_ms is not None
    assert ended.lag_ms < 5000


def test_the_report_tells_every_rollout(night: Night) -> None:
    """The page is whole: one file, every rollout of the night in it."""
    assert "<html" in night.report
    assert 'src="http' not in night.report
    for ended in night.ended.values():
        assert ended.rollout["id"] in night.report
