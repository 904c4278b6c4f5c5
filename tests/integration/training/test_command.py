"""`pointsman train` on real outcomes, as users call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pointsman.cli import main
from pointsman.triton import bundle as bundles

DATA = Path(__file__).parents[3] / "data" / "mmlu-pro"


def run(*arguments: str | Path) -> Result:
    """Run the command line."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_train_writes_a_bundle_and_its_report(tmp_path: Path) -> None:
    """`train --json` writes a bundle that can serve, prints its digest and the edge, and ends with 0."""
    out = tmp_path / "bundle.zip"
    pair = ("--cheap", "gemini-1.5-flash-002", "--strong", "gemini-1.5-pro-002")
    found = run("train", "--data", DATA, *pair, "--out", out, "--strong-share", "0.4", "--json")
    assert found.exit_code == 0, found.output
    printed = json.loads(found.stdout)
    bundle = bundles.check(out.read_bytes(), digest=printed["sha256"], tiers=2)
    assert printed["bytes"] == out.stat().st_size
    assert printed["report"] == bundle.manifest["metrics"]
    assert printed["report"]["shares"][1] == pytest.approx(0.4, abs=0.06)
