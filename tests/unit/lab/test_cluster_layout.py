"""Configuration of a real node, and kwok's stages."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import yaml

from pointsman.lab.cluster import addons, kwok, layout
from pointsman.lab.pki import Pair

AT = layout.Layout(Path('/tmp/with "quotes" and spaces'))


def test_a_state_folder_of_any_name_gives_configuration_that_can_be_read() -> None:
    """Quotes and spaces in a path are no way out of the file's own syntax."""
    config = tomllib.loads(layout.containerd(AT, "registry.local/pause:dev"))
    assert config["root"] == str(AT.images)
    assert config["grpc"]["address"] == str(AT.socket)
    pair = Pair(AT.state / "a.crt", AT.state / "a.key")
    kubelet = json.loads(layout.kubelet(AT, pair.cert, pair))
    assert kubelet["containerRuntimeEndpoint"] == f"unix://{AT.socket}"
    assert json.loads(layout.network(AT))["plugins"][0]["ipam"]["dataDir"].startswith(str(AT.home))


def test_a_nodes_ports_are_its_own() -> None:
    """Two clusters' kubelets, one after the other on a machine, do not wait for each other's sockets."""
    ports = [AT.kubelet, AT.kubelet_health, AT.proxy_health, AT.proxy_metrics]
    assert len(set(ports)) == 4


def test_addons_ask_for_no_image_from_a_registry() -> None:
    """They are on the node before the pods are; a typing error shall not become a pull."""
    for manifest in addons.dns() + addons.metrics_server():
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            assert container["imagePullPolicy"] == "Never"
            assert container["image"].startswith("registry.local/")


def test_every_volume_has_its_folder() -> None:
    """A local volume whose folder is missing never mounts."""
    volumes = [each for each in addons.storage(AT.volumes) if each["kind"] == "PersistentVolume"]
    assert [volume["spec"]["local"]["path"] for volume in volumes] == [
        str(path) for path in addons.volume_folders(AT.volumes)
    ]


def test_only_readiness_is_withheld_from_a_held_pod(tmp_path: Path) -> None:
    """It can still be deleted."""
    stages = [
        {"kind": "Stage", "metadata": {"name": name}, "spec": {"selector": {"matchExpressions": []}}}
        for name in ("pod-ready", "pod-delete")
    ]
    path = tmp_path / "stages.yaml"
    path.write_text(yaml.safe_dump_all(stages), "utf-8")
    held = {
        stage["metadata"]["name"]: stage["spec"]["selector"]["matchExpressions"]
        for stage in yaml.safe_load_all(kwok.hold(path))
    }
    assert len(held["pod-ready"]) == 1
    assert held["pod-delete"] == []
