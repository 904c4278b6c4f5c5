"""Certificates change, Prometheus begins anew, the evaluator's disk is full: held, counted, gone on."""

from __future__ import annotations

import base64
import math
from typing import Any

import httpx

from chaos_kit import Volume, counted, delete, fault, full, metric, pods, traffic_for, volume_of, wait_whole
from chaos_rollout_kit import begin, ended, good, rollout
from installed_kit import SYSTEM, Installed
from pointsman import install
from pointsman.certificates.secrets import AUTHORITIES, CERTIFICATE
from pointsman.certificates.x509s import read_certificates
from wait import until_sync

PROMETHEUS = f"{install.LABEL_COMPONENT}=prometheus"
EVALUATOR = f"{install.LABEL_COMPONENT}=evaluator"
ROTATED_S = 300
"""Twice the operator's --certificate-settle, and what kubelets and a busy machine add."""


def test_an_authority_that_is_made_anew_costs_nothing(installed: Installed) -> None:
    """All certificates, and then their authority, are deleted; parts that start later are believed."""
    world = installed.world
    with fault(installed, "certificates and their authority made anew") as seen, counted(installed) as counts:
        before = _certificates(installed)
        for name in before:
            world.kubectl("delete", "secret", name, "-n", SYSTEM)
        until_sync(
            lambda: _all_new(installed, before), ROTATED_S, 0.5, what="every certificate is another one"
        )
        world.kubectl("delete", "secret", install.CA_SECRET, "-n", SYSTEM)
        until_sync(lambda: _authorities(installed) > 1, ROTATED_S, 0.5, what="a new authority is announced")
        until_sync(
            lambda: _authorities(installed) == 1, ROTATED_S, 0.5, what="the old authority is forgotten"
        )
        # Connections outlive certificates: whoever begins now has to be believed by what it brings.
        for part in ("xds", "evaluator"):
            for pod in pods(world, SYSTEM, f"{install.LABEL_COMPONENT}={part}"):
                delete(world, pod)
                wait_whole(world, SYSTEM, pod)
        until_sync(lambda: _connected(installed) == 2, 60, 0.5, what="both Envoys are connected to xds")
    assert not seen.failed, seen.failed[:3]
    assert not math.isnan(counts.known)


def test_a_prometheus_that_begins_anew_decides_nothing(installed: Installed) -> None:
    """In a canary its pod goes with its volume: nothing is decided meanwhile, and then what is right."""
    world = installed.world
    candidate = begin(installed, good(installed, 864, first_step="20s"))
    with fault(installed, "Prometheus replaced by an empty one in a canary") as seen:
        (pod,) = pods(world, SYSTEM, PROMETHEUS)
        volume = volume_of(world, pod)
        assert volume is not None
        world.kubectl("delete", "pvc", volume.claim, "-n", SYSTEM, "--wait=false")
        delete(world, pod, force=True)
        assert not rollout(installed).get("outcome"), "decided before there was a hole"
        until_sync(lambda: _another_volume(installed, volume), 120, 0.3, what="Prometheus has another volume")
        assert not rollout(installed).get("outcome"), "decided from the hole"
        wait_whole(world, SYSTEM)
        assert ended(installed, candidate) == "Promoted"
    assert not seen.failed, seen.failed[:3]


def test_a_full_disk_of_the_evaluator_is_said_and_survived(installed: Installed) -> None:
    """Requests go on; what is not stored is counted as lost; with room again all are stored again."""
    world = installed.world
    (pod,) = pods(world, SYSTEM, EVALUATOR)
    volume = volume_of(world, pod)
    assert volume is not None
    with fault(installed, "the evaluator's disk is full") as seen, counted(installed) as counts:
        with full(volume.folder):
            until_sync(
                lambda: _store_up(installed) == 0, 120, 0.5, what="the evaluator says that it cannot store"
            )
            traffic_for(installed, 20)
        until_sync(lambda: _store_up(installed) == 1, 120, 0.5, what="the evaluator stores again")
        wait_whole(world, SYSTEM)
    print(
        f"chaos: meanwhile {counts.received:.0f} entries stored, {counts.lost:.0f} counted as lost",
        flush=True,
    )
    assert not seen.failed, seen.failed[:3]
    (same,) = pods(world, SYSTEM, EVALUATOR)
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]


def _certificates(installed: Installed) -> dict[str, tuple[str, str]]:
    """Return what the parts hold: Secret → certificate and authorities, in base64."""
    found = installed.world.kube.get(f"/api/v1/namespaces/{SYSTEM}/secrets")["items"]
    return {
        secret["metadata"]["name"]: (secret["data"][CERTIFICATE], secret["data"][AUTHORITIES])
        for secret in found
        if secret["metadata"]["name"].endswith(install.certificate_secret(""))
    }


def _all_new(installed: Installed, before: dict[str, tuple[str, str]]) -> bool:
    now = _certificates(installed)
    return set(now) == set(before) and all(now[name][0] != before[name][0] for name in now)


def _authorities(installed: Installed) -> int:
    """Return how many authorities the parts trust; 0 where they differ."""
    trusted = {authorities for _, authorities in _certificates(installed).values()}
    return len(read_certificates(base64.b64decode(trusted.pop()))) if len(trusted) == 1 else 0


def _connected(installed: Installed) -> int:
    """Return the Envoys that xds servers have, all together."""
    found = 0
    for pod in pods(installed.world, SYSTEM, f"{install.LABEL_COMPONENT}=xds"):
        url = f"http://{pod['status']['podIP']}:{install.XDS_HTTP}/v1/state"
        state: dict[str, Any] = httpx.get(url, timeout=10).raise_for_status().json()
        found += sum(gateway["envoys"] for gateway in state["gateways"].values())
    return found


def _another_volume(installed: Installed, old: Volume) -> bool:
    found = pods(installed.world, SYSTEM, PROMETHEUS)
    volume = volume_of(installed.world, found[0]) if found else None
    return volume is not None and volume.name != old.name


def _store_up(installed: Installed) -> float:
    world, name = installed.world, "pointsman_evaluator_store_up"
    return metric(world, install.EVALUATOR, install.EVALUATOR_HTTP, name)
