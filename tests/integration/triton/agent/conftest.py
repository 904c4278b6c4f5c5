"""A Triton of its own for the agent's tests, with a restricted API as in a pod; an authority."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.agent.serve import control_key
from pointsman.lab.pki import Authority
from pointsman.lab.triton import Triton
from pointsman.pools.pod_template import CONTROL_HEADER, RESTRICTED


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the key of Triton's restricted API lies."""
    return tmp_path_factory.mktemp("control") / "control.key"


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Iterator[Triton]:
    """Start Triton as a pod of a pool does."""
    restricted = f"--http-restricted-api={','.join(RESTRICTED)}:{CONTROL_HEADER}={control_key(key_file)}"
    with Triton(
        tmp_path_factory.mktemp("triton"), arguments=[restricted, "--strict-readiness=true"]
    ) as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority."""
    return Authority(tmp_path_factory.mktemp("pki"))
