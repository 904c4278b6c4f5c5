"""`pointsman operator` as a process: one leads, logs are clean, it ends as asked, another takes over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from operator_kit import Cluster, eventually, is_promoted, pinned_spec
from pointsman.kube.resources import LEASES
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.process import free_port
from wait import until, until_sync

pytestmark = pytest.mark.apiserver


@dataclass
class Process:
    """A running operator."""

    child: subprocess.Popen[bytes]
    url: str
    log: Path

    def readyz(self) -> tuple[int, str]:
        """Return status and words; (0, "") while it does not listen."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=2)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text.strip()

    def metrics(self) -> str:
        """Return /metrics."""
        return httpx.get(f"{self.url}/metrics", timeout=5).text

    def trouble(self) -> list[str]:
        """Return what it logged as a warning or an error, and what was no log line."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                level = json.loads(line)["level"]
            except ValueError:
                level = "not JSON"
            if level not in {"debug", "info"}:
                found.append(line)
        return found


@contextmanager
def operator(plane: ControlPlane, cluster: Cluster, log: Path, *more: str) -> Iterator[Process]:
    address = f"127.0.0.1:{free_port()}"
    command = [
        *(str(Path(sys.executable).with_name("pointsman")), "operator"),
        *("--kubeconfig", str(plane.kubeconfig_of("operator")), "--http-address", address),
        *("--lease-namespace", cluster.namespace, "--lease-duration", "3s", *more),
    ]
    with log.open("wb") as out:
        child = subprocess.Popen(command, stderr=out, stdout=out)
        try:
            yield Process(child, f"http://{address}", log)
        finally:
            child.kill()
            child.wait()


async def test_one_leads_and_the_next_takes_over(
    plane: ControlPlane, cluster: Cluster, tmp_path: Path
) -> None:
    """The first leads, the second stands by; when the first is told to end, the second leads soon."""
    with operator(plane, cluster, tmp_path / "first.log") as first:
        until_sync(lambda: first.readyz() == (200, "leading"), 20)
        with operator(plane, cluster, tmp_path / "second.log") as second:
            until_sync(lambda: second.readyz() == (200, "standing by"), 20)
            await cluster.apply(pinned_spec())

            async def promoted() -> bool | None:
                return is_promoted(await cluster.policy()) or None

            await eventually(promoted, "promoted by the first")
            metrics = first.metrics()
            assert "pointsman_operator_leader 1.0" in metrics
            assert 'pointsman_operator_writes_total{resource="routingpolicies"}' in metrics
            assert 'pointsman_operator_reconciles_total{result="ok"}' in metrics
            assert "pointsman_operator_leader 0.0" in second.metrics()
            first.child.send_signal(signal.SIGTERM)
            assert first.child.wait(10) == 0
            until_sync(lambda: second.readyz() == (200, "leading"), 8)
            await cluster.change(**pinned_spec("another"))
            await eventually(promoted, "promoted by the second")
            assert first.trouble() == []
            assert second.trouble() == []


async def test_a_killed_leader_is_followed(plane: ControlPlane, cluster: Cluster, tmp_path: Path) -> None:
    """After kill -9 the Lease runs out, and a fresh process goes on where the other was."""
    await cluster.apply(pinned_spec())
    with operator(plane, cluster, tmp_path / "first.log") as first:
        until_sync(lambda: first.readyz() == (200, "leading"), 20)
        first.child.kill()
    with operator(plane, cluster, tmp_path / "second.log") as second:
        until_sync(lambda: second.readyz() == (200, "leading"), 20)

        async def promoted() -> bool | None:
            return is_promoted(await cluster.policy()) or None

        await eventually(promoted, "promoted")
        assert second.trouble() == []


async def test_who_loses_the_lease_ends(plane: ControlPlane, cluster: Cluster, tmp_path: Path) -> None:
    """A leader whose Lease was taken ends with a code of its own, so that a fresh process follows."""
    with operator(plane, cluster, tmp_path / "first.log") as first:
        until_sync(lambda: first.readyz() == (200, "leading"), 20)

        async def stolen() -> bool:
            taken = {"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 3600}}
            await cluster.admin.patch(LEASES, "pointsman-operator", cluster.namespace, taken)
            return first.child.poll() is not None

        await until(stolen, 30, 0.2)
        assert first.child.returncode == 3


async def test_the_second_start_serves_the_first_fixed_identity(
    plane: ControlPlane, cluster: Cluster, tmp_path: Path
) -> None:
    """With a fixed identity a restart after kill -9 leads at once, although the Lease has not run out."""
    fixed = ("--lease-identity", "the-only-one", "--lease-duration", "1h")
    with operator(plane, cluster, tmp_path / "first.log", *fixed) as first:
        until_sync(lambda: first.readyz() == (200, "leading"), 20)
        first.child.kill()
    with operator(plane, cluster, tmp_path / "second.log", *fixed) as second:
        until_sync(lambda: second.readyz() == (200, "leading"), 20)
