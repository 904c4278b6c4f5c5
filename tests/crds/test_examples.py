"""The examples, as the API server sees them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from .conftest import Api

pytestmark = pytest.mark.apiserver

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
POLICIES = [
    path for path in sorted(EXAMPLES.glob("*/*.yaml")) if "kind: RoutingPolicy" in path.read_text("utf-8")
]
VALUES = {"SHA256": "0" * 64, "URL": "http://127.0.0.1:1", "PERMILLE": "500"}


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_example_is_accepted_as_it_stands(api: Api, path: Path) -> None:
    """No field that the API does not have, no broken rule, no warning."""
    text = re.sub(r"\$\{\w+_(\w+)\}", lambda name: VALUES[name.group(1)], path.read_text("utf-8"))
    answer = api.create(yaml.safe_load(text))
    assert answer.status == 201, answer.body.get("message")
    assert answer.warnings == []
