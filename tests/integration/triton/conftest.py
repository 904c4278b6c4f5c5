"""One real Triton for the tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.lab.triton import Triton
from pointsman.routers import dataset
from pointsman.routers.train import Trained, train
from triton_kit import Server

DATA = Path(__file__).parents[3] / "data" / "mmlu-pro"


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """Start Triton, empty."""
    with Triton(Path(tmp_path_factory.mktemp("triton"))) as triton:
        yield triton


@pytest.fixture
def server(process: Triton) -> Iterator[Server]:
    """Connect to Triton."""
    server = Server(process.http_url)
    yield server
    server.http.close()


@pytest.fixture(scope="session")
def prompts() -> tuple[str, ...]:
    """Return a thousand real prompts that no classifier was trained on."""
    _, _, test = dataset.load(DATA, ["gemini-1.5-flash-002", "gemini-1.5-pro-002"]).split()
    return test.texts[:1000]


@pytest.fixture(scope="session")
def trained() -> Trained:
    """Train on the pair of the examples."""
    return train(dataset.load(DATA, ["gemini-1.5-flash-002", "gemini-1.5-pro-002"]))
