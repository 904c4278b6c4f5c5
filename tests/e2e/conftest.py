"""One lab for all end-to-end tests, a classifier trained on the repository's data, a policy with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.routers import dataset
from stack import HOST, Bundle, Stack, config_map, pointsman

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "data" / "mmlu-pro"
CHEAP, STRONG = "gemini-1.5-flash-002", "gemini-1.5-pro-002"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here: it needs the whole lab."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a linear classifier, trained by the command that users have."""
    out = tmp_path_factory.mktemp("bundle") / "bundle.zip"
    report = pointsman(
        "train", "--data", str(DATA), "--cheap", CHEAP, "--strong", STRONG, "--out", str(out), "--json"
    )
    threshold = json.loads(report.stdout)["report"]["threshold_permille"]
    return Bundle(out.read_bytes(), int(threshold))


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Prompts of the test split."""
    problem = dataset.load(DATA, (CHEAP, STRONG))
    return list(problem.split()[2].texts)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run a lab whose tiers answer at once: nothing here is about models' latency."""
    state = tmp_path_factory.mktemp("lab")
    pointsman("lab", "up", "--detach", "--state", str(state), "--tier-speed", "1000", deadline_s=300)
    try:
        running = Stack(state)
        yield running
        running.kube.close()
    finally:
        pointsman("lab", "down", "--state", str(state))


@pytest.fixture(scope="session")
def routed(stack: Stack, bundle: Bundle) -> str:
    """Apply a policy on `HOST`, wait for its classifier, return its name."""
    stack.apply(config_map("chaos-bundle", bundle))
    stack.apply(stack.policy("chaos", host=HOST, **stack.classified(bundle, "chaos-bundle")))
    stack.ready("chaos")
    return "chaos"
