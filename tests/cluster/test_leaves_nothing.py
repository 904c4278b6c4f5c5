"""A cluster that ended, well or badly, leaves the machine as it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from pointsman.lab import control
from pointsman.lab.cluster import machine
from pointsman.lab.cluster.sweep import remains
from stack import pointsman
from wait import NotInTimeError, until_sync


def _machine() -> dict[str, Any]:
    """Return what a node changes: devices, mounts, namespaces, cgroups, tables, switches."""
    links = json.loads(machine.run(["ip", "-json", "link", "show"]))
    groups = {str(path) for root in machine.cgroup_roots() for path in root.rglob("*") if path.is_dir()}
    return {
        "links": sorted(link["ifname"] for link in links),
        "routes": machine.run(["ip", "route"]),
        "mounts": sorted(
            line.split()[4] for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
        ),
        "namespaces": machine.run(["ip", "netns", "list"], check=False),
        "cgroups": sorted(path for path in groups if "pointsman" in path or "kubepods" in path),
        "tables": machine.run(["nft", "list", "tables"]),
        "forward": Path("/proc/sys/net/ipv4/ip_forward").read_text("ascii"),
        "shims": subprocess.run(
            ["pgrep", "-f", "containerd"], capture_output=True, text=True, check=False
        ).stdout,
    }


def _check_same(before: dict[str, Any]) -> None:
    """Check that the machine is as it was: init takes a moment to bury what was killed."""
    with contextlib.suppress(NotInTimeError):
        until_sync(lambda: _machine() == before, 20, 0.2)
    assert _machine() == before


def test_down_leaves_the_machine_as_it_was(tmp_path: Path) -> None:
    """After a start and an orderly end nothing differs."""
    before = _machine()
    pointsman("lab", "cluster", "up", "-d", "--state", str(tmp_path), "--image", "none", deadline_s=600)
    assert remains(tmp_path)
    said = pointsman("lab", "cluster", "status", "--json", "--state", str(tmp_path)).stdout
    assert all(part["healthy"] for part in json.loads(said)["parts"].values())
    pointsman("lab", "cluster", "down", "--state", str(tmp_path))
    assert remains(tmp_path) == []
    _check_same(before)


def test_what_a_killed_cluster_leaves_is_cleared(tmp_path: Path) -> None:
    """Its containers outlive the supervisor's kill -9; `down` finds and ends them without its memory."""
    before = _machine()
    pointsman("lab", "cluster", "up", "-d", "--state", str(tmp_path), "--image", "none", deadline_s=600)
    pid = control.holder(tmp_path)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until_sync(lambda: control.holder(tmp_path) is None, what="the supervisor is gone")
    assert any(found.startswith("process") for found in remains(tmp_path))
    pointsman("lab", "cluster", "down", "--state", str(tmp_path))
    assert remains(tmp_path) == []
    _check_same(before)
