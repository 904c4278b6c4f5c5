"""The same test files in Argo CD's own command, with its own Lua and the generated settings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import gitops_kit as kit
from pointsman.lab import binaries

SETTINGS = kit.ROOT / "gitops" / "argo-cd" / "argocd-cm.yaml"


@pytest.fixture(scope="session")
def argocd() -> str:
    """Return the path of argocd; it is large, so it is not built for a test."""
    found = binaries.find("argocd")
    path = str(found.path) if found is not None else shutil.which("argocd")
    if path is None:
        pytest.skip(
            "no argocd on PATH or in the cache of binaries: the scripts were NOT tried in its own Lua"
        )
    return path


def admin(argocd: str, *words: str | Path) -> str:
    """Run `argocd admin settings resource-overrides`; return what it prints."""
    command = [argocd, "admin", "settings", "resource-overrides", *words, "--argocd-cm-path", SETTINGS]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("path", "expected"), [pytest.param(p, e, id=f"{p.parts[-3]}-{p.stem}") for p, e in kit.health_tests()]
)
def test_argo_cd_sees_the_same_health(argocd: str, path: Path, expected: dict[str, str]) -> None:
    """Status and message."""
    assert admin(argocd, "health", path) == f"STATUS: {expected['status']}\nMESSAGE: {expected['message']}\n"


@pytest.mark.parametrize(
    ("path", "expected"), [pytest.param(p, e, id=p.stem) for p, e in kit.discovery_tests()]
)
def test_argo_cd_offers_the_same_actions(argocd: str, path: Path, expected: list[dict[str, Any]]) -> None:
    """Names, and what is disabled."""
    rows = [line.split() for line in admin(argocd, "list-actions", path).splitlines()[1:]]
    assert sorted(rows) == sorted([one["name"], str(one["disabled"]).lower()] for one in expected)


@pytest.mark.parametrize(
    ("path", "test"), [pytest.param(p, t, id=f"{t['action']}-{p.stem}") for p, t in kit.action_tests()]
)
def test_argo_cd_creates_the_same_word(argocd: str, path: Path, test: dict[str, Any]) -> None:
    """The RolloutAction."""
    printed = admin(argocd, "run-action", path, test["action"])
    made = yaml.safe_load(printed.partition("created:")[2])
    (expected,) = yaml.safe_load((path.parents[1] / test["expectedOutputPath"]).read_text("utf-8"))
    assert made == expected["unstructuredObj"]
