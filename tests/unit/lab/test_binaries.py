"""Where binaries are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.lab import binaries
from pointsman.lab.binaries import TOOLS, find

VERSION = TOOLS["etcd"].version


def _binary(folder: Path, name: str, says: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n", "utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point all three places at empty folders."""
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin")
    monkeypatch.setenv("POINTSMAN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_assets_come_before_path_and_path_before_the_cache(places: Path) -> None:
    """Each is found when the ones before it are empty."""
    assert find("etcd") is None
    cached = _binary(places / "cache" / "bin", f"etcd-{VERSION}")
    found = find("etcd")
    assert found is not None
    assert (found.path, found.source) == (cached, "cache")
    on_path = _binary(places / "path", "etcd")
    found = find("etcd")
    assert found is not None
    assert (found.path, found.source) == (on_path, "PATH")
    asset = _binary(places / "assets", "etcd")
    found = find("etcd")
    assert found is not None
    assert (found.path, found.source) == (asset, "KUBEBUILDER_ASSETS")


@pytest.mark.parametrize(
    ("says", "taken"), [(f"etcd Version: {VERSION[1:]}", True), ("etcd Version: 3.5.0", False), ("", False)]
)
def test_a_cached_binary_must_have_the_pinned_version(places: Path, says: str, taken: bool) -> None:  # noqa: FBT001 - a table
    """A stale or foreign one is not used."""
    _binary(places / "cache" / "bin", "etcd", says)
    assert (find("etcd") is not None) is taken


def test_the_linker_is_told_the_servers_version() -> None:
    """Else the API server calls itself v0.0.0, and version-skew checks misbehave."""
    tool = TOOLS["kube-apiserver"]
    assert f"-X k8s.io/component-base/version.gitVersion={tool.version}" in tool.ldflags()
    assert "-X k8s.io/client-go/pkg/version.gitMinor=36" in tool.ldflags()


def test_every_tool_is_pinned() -> None:
    """The go.mod files of build/tools name a version of each."""
    assert all(tool.version.startswith("v") for tool in TOOLS.values())


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """POINTSMAN_CACHE, else XDG_CACHE_HOME."""
    monkeypatch.setenv("POINTSMAN_CACHE", str(tmp_path / "own"))
    assert binaries.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("POINTSMAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert binaries.cache_dir() == tmp_path / "xdg" / "pointsman"


def test_kubernetes_binaries_are_all_of_the_api_servers_version() -> None:
    """A kubelet may be older than its API server, never newer; one module gives them all."""
    kube = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
    assert len({TOOLS[name].version for name in kube}) == 1


def test_what_machines_often_have_an_old_one_of_is_taken_from_path_only_in_the_pinned_version(
    places: Path,
) -> None:
    """Somebody's kubectl of two years ago does not test this API server."""
    _binary(places / "path", "kubectl", "Client Version: v1.20.0")
    assert find("kubectl") is None
    _binary(places / "path", "kubectl", f"Client Version: {TOOLS['kubectl'].version}")
    found = find("kubectl")
    assert found is not None
    assert found.source == "PATH"


def test_every_tool_is_built_for_somebody() -> None:
    """Tests, node or, when asked for by name, the rest and what a bench runs beside us."""
    assert {*binaries.TESTS, *binaries.NODE, *binaries.EXTRA, *binaries.PEERS} == set(TOOLS)


def test_neither_tests_nor_node_build_the_peers() -> None:
    """They take minutes and only a bench needs them."""
    assert not {*binaries.TESTS, *binaries.NODE, *binaries.EXTRA} & {*binaries.PEERS}
