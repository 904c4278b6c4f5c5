"""What Triton is told to load."""

from __future__ import annotations

import ast
import json
import sys

import pytest

import bundles as small
from pointsman.triton import bundle as bundles
from pointsman.triton import repository
from pointsman.triton.backend import request


def test_the_name_is_the_content() -> None:
    """A model is named by its bundle's digest."""
    assert repository.model_name("ab" * 32) == "pm-" + "ab" * 32


@pytest.mark.parametrize("tiers", [2, 3])
def test_config_promises_the_bundle_s_outputs(tiers: int) -> None:
    """The config has a score per tier, and nothing in it that JSON cannot hold."""
    config = repository.load_config(small.fitted(tiers))
    assert json.loads(json.dumps(config)) == config
    assert [output["dims"] for output in config["output"]] == [[tiers], [1]]


def test_the_queue_is_bounded() -> None:
    """Work that nobody waits for is refused: by age, and by length."""
    policy = repository.load_config(small.fitted())["dynamic_batching"]["default_queue_policy"]
    assert policy["timeout_action"] == "REJECT"
    assert 0 < policy["default_timeout_microseconds"] <= 5_000_000
    assert 0 < policy["max_queue_size"] <= 256


def test_files_are_complete() -> None:
    """The code imports only the standard library, numpy, Triton's own module, and what travels with it."""
    files = repository.load_files(small.file())
    assert files["file:1/bundle.zip"] == small.file()
    modules = {name.removeprefix("file:1/").removesuffix(".py") for name in files if name.endswith(".py")}
    outside = sys.stdlib_module_names | {"numpy", "triton_python_backend_utils"}
    for name, content in files.items():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= outside
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert str(node.module).split(".")[0] in outside
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1
                assert {node.module} <= modules or {alias.name for alias in node.names} <= modules


def test_warm_up_sends_the_probe() -> None:
    """The warm-up file is the probe in Triton's form for strings: length, bytes."""
    raw = repository.load_files(small.file())["file:warmup/probe"]
    assert int.from_bytes(raw[:4], "little") == len(raw) - 4
    assert isinstance(request.parse(raw[4:]), request.Prompt)


def test_probe_knows_the_right_answer() -> None:
    """The probe accepts what this bundle answers, and names what differs."""
    probe = repository.probe(bundles.read(small.file()))
    first, last = probe.scores
    assert probe.differs([first + 9e-6, last], probe.intent) is None
    assert probe.differs([first + 2e-5, last], probe.intent) is not None
    assert probe.differs([float("nan"), last], probe.intent) is not None
    assert probe.differs([first], probe.intent) == "1 scores instead of 2"
    assert probe.differs([first, last], "law") == f"intent 'law' instead of {probe.intent!r}"
