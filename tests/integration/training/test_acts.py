"""The demo's acts on the real recorded verdicts: what each policy will do is known before it is tried."""

from __future__ import annotations

import re

import pytest
import yaml

from pointsman.api.v1alpha1.routing_policy import RoutingPolicy, RoutingPolicySpec
from pointsman.lab.controlplane import REPOSITORY
from pointsman.lab.demo.acts import ACTS, EXAMPLE, Change, Population, Scene, choices, compare, problems
from pointsman.lab.models import MODELS
from pointsman.routers import dataset
from pointsman.routers.train import train

SCENES = [(act.number, scene, act.incumbent) for act in ACTS for scene in act.scenes]
VALUES = {"SHA256": "0" * 64, "URL": "http://127.0.0.1:1"}


def spec(file: str) -> RoutingPolicySpec:
    """Read an example with something in place of its names."""
    text = (EXAMPLE / file).read_text("utf-8")
    filled = re.sub(r"\$\{\w+_(\w+)\}", lambda name: VALUES[name.group(1)], text)
    return RoutingPolicy.model_validate(yaml.safe_load(filled)).spec


@pytest.fixture(scope="module")
def population() -> Population:
    """Return the test split as the demo's classifier sees it."""
    problem = dataset.load(REPOSITORY / "data" / "mmlu-pro", MODELS)
    return Population.of(problem.split()[2], train(problem).bundle)


def change(file: str, incumbent: str | None, population: Population) -> Change:
    """Hold an example's policy against the one that it follows."""
    before = choices(None if incumbent is None else spec(incumbent), population)
    return compare(before, choices(spec(file), population), population)


@pytest.mark.parametrize(("number", "scene", "incumbent"), SCENES)
def test_every_candidate_is_what_its_act_calls_it(
    number: int, scene: Scene, incumbent: str | None, population: Population
) -> None:
    """Better ones drop less than minimumDrop everywhere; hidden ones ≤ 2 points, but ≥ 20 in one intent."""
    rollout = spec(scene.file).rollout
    assert rollout is not None
    verdict = rollout.verdict
    assert verdict is not None
    assert verdict.minimum_drop_permille is not None
    found = change(scene.file, incumbent, population)
    assert problems(scene.kind, found, verdict.minimum_drop_permille) == []


def test_the_first_policy_saves_more_than_a_quarter(population: Population) -> None:
    """Math, chemistry, biology and psychology on flash: 29 % of the cost, and no quality lost."""
    found = change("1-first.yaml", None, population)
    assert found.saved == pytest.approx(0.289, abs=0.005)
    assert found.accuracy[1] > found.accuracy[0]


def test_the_damage_is_in_engineering(population: Population) -> None:
    """Both hidden policies hurt the same intent, whose share of the prompts is small."""
    for file in ("3-hidden.yaml", "4-no-shadow.yaml"):
        assert change(file, "2-better.yaml", population).worst[0] == "engineering"
    assert population.intents.count("engineering") / len(population.intents) < 0.1


def test_a_policy_that_hides_nothing_is_called_so(population: Population) -> None:
    """The answer key does not nod everything through."""
    honest = change("2-better.yaml", "1-first.yaml", population)
    hurt = change("3-hidden.yaml", "2-better.yaml", population)
    assert problems("hidden", honest, 40)
    assert problems("better", hurt, 40)
    assert problems("broken", hurt, 40)


def test_windows_margins_and_steps_are_the_same_in_every_act() -> None:
    """Only what an act is about differs: strategy, the cheap tier's address, gate and shadow."""
    first = spec("1-first.yaml")
    for _, scene, _ in SCENES:
        other = spec(scene.file)
        assert other.rollout is not None
        assert first.rollout is not None
        assert other.rollout.model_copy(update={"shadow": None}) == first.rollout.model_copy(
            update={"shadow": None}
        )
        assert other.evaluation is not None
        assert first.evaluation is not None
        assert other.evaluation.rubrics == first.evaluation.rubrics
