"""A classifier's way into force: fetched, verified, loaded on every Triton, promoted, healed, swept."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import httpx
import pytest

from operator_kit import (
    Cluster,
    bundle,
    classifier_spec,
    condition,
    eventually,
    is_promoted,
    pinned_spec,
    sha256,
    shown,
)
from pointsman.api.v1alpha1.meta import UNSEEN
from pointsman.lab.triton import Triton
from pointsman.triton.endpoint import Settings as TritonSettings
from pointsman.triton.repository import PROBE_BODY
from wait import until_sync

pytestmark = [pytest.mark.apiserver, pytest.mark.triton]


def urls(tritons: list[Triton]) -> list[str]:
    return [triton.http_url for triton in tritons]


def loaded(triton: Triton) -> set[str]:
    """Return the digests of the bundles that a Triton serves."""
    found = httpx.get(f"{triton.http_url}/v2/models/stats", timeout=5).json()["model_stats"]
    return {entry["name"].removeprefix("pm-") for entry in found}


def unload(triton: Triton, digest: str) -> None:
    httpx.post(f"{triton.http_url}/v2/repository/models/pm-{digest}/unload", timeout=5).raise_for_status()
    until_sync(lambda: digest not in loaded(triton))


async def test_a_classifier_takes_traffic_once_every_triton_has_it(
    cluster: Cluster, tritons: list[Triton]
) -> None:
    """Until then the policy's traffic is empty; then one write promotes it."""
    content = bundle(mark="promote")
    digest = sha256(content)
    async with cluster.operator() as operator:
        await cluster.apply(classifier_spec("configmap://bundle", digest, urls(tritons)))
        await operator.condition("ClassifierReady", "BundleNotFound")
        policy = await cluster.policy()
        assert "traffic" not in policy["status"]
        assert policy["status"]["candidateRevision"] == (await cluster.revisions())[0]["metadata"]["name"]
        await cluster.config_map("bundle", content)
        policy = await operator.promoted()
        assert condition(policy, "ClassifierReady")["reason"] == "Loaded"
        assert all(digest in loaded(triton) for triton in tritons)
        told = {"BundleNotFound", "Loaded", "Promoted", "RevisionFrozen"}
        await eventually(lambda: cluster.events("Promoted"), "the events are posted")
        assert set(await cluster.events()) == told


async def test_a_changed_threshold_loads_nothing(cluster: Cluster, tritons: list[Triton]) -> None:
    """A new revision with the same bundle is in force at once; going back reuses the old revision."""
    content = bundle(mark="threshold")
    await cluster.config_map("bundle", content)
    async with cluster.operator() as operator:
        spec = classifier_spec("configmap://bundle", sha256(content), urls(tritons))
        await cluster.apply(spec)
        first = (await operator.promoted())["status"]["stableRevision"]
        loads = operator.metric("pointsman_operator_triton_loads_total", outcome="ok")
        await cluster.change(
            strategy={"classifier": {"thresholds": [{"tier": "tier-0", "minScorePermille": 700}]}}
        )
        second = (await operator.promoted())["status"]["stableRevision"]
        assert second != first
        await cluster.change(**spec)
        assert (await operator.promoted())["status"]["stableRevision"] == first
        assert len(await cluster.revisions()) == 2
        assert operator.metric("pointsman_operator_triton_loads_total", outcome="ok") == loads


async def test_the_old_revision_serves_until_the_new_one_is_ready(
    cluster: Cluster, tritons: list[Triton]
) -> None:
    """A new bundle that cannot be had leaves the traffic; the old model stays warm for keepWarm."""
    old, new = bundle(mark="old"), bundle(mark="new")
    await cluster.config_map("old", old)
    async with cluster.operator() as operator:
        await cluster.apply(classifier_spec("configmap://old", sha256(old), urls(tritons)))
        before = (await operator.promoted())["status"]
        await cluster.change(
            strategy={"classifier": {"artifact": {"uri": "configmap://new", "sha256": sha256(new)}}},
            rollout={"mode": "Direct", "keepWarm": "1s"},
        )
        await operator.condition("ClassifierReady", "BundleNotFound")
        status = (await cluster.policy())["status"]
        assert status["traffic"] == before["traffic"]
        assert status["candidateRevision"] != status["stableRevision"] == before["stableRevision"]
        assert condition({"status": status}, "Progressing")["reason"] == "WaitingForClassifier"
        assert sha256(old) in loaded(tritons[0])
        await cluster.config_map("new", new)
        await operator.promoted()

        async def swept() -> bool | None:
            return sha256(old) not in loaded(tritons[0]) | loaded(tritons[1]) or None

        await eventually(swept, "the old model is swept")
        assert sha256(new) in loaded(tritons[0])


@pytest.mark.parametrize(
    ("wrong", "reason", "words"),
    [
        ("digest", "DigestMismatch", "artifact.sha256"),
        ("tiers", "BundleMismatch", "spec.tiers: the policy has 2 tiers, the bundle"),
        ("intent", "BundleMismatch", "spec.strategy.classifier.perIntent: the bundle knows no 'poetry'"),
        ("file", "BundleRejected", "is no bundle"),
        ("allowed", "FileArtifactsNotAllowed", "--allow-file-artifacts"),
        ("key", "BundleNotFound", "has no binaryData key 'other'"),
    ],
)
async def test_a_bundle_that_does_not_fit_is_named(
    cluster: Cluster, tritons: list[Triton], wrong: str, reason: str, words: str
) -> None:
    """The condition names the field and the remedy, nothing is loaded, the policy stays accepted."""
    content = {"tiers": bundle(3), "file": b"PK nothing"}.get(wrong, bundle(mark=wrong))
    digest = sha256(b"another") if wrong == "digest" else sha256(content)
    uri = {"allowed": "file:///etc/hostname", "key": "configmap://bundle/other"}.get(
        wrong, "configmap://bundle"
    )
    await cluster.config_map("bundle", content)
    spec = classifier_spec(uri, digest, urls(tritons))
    if wrong == "intent":
        spec["strategy"]["classifier"]["perIntent"] = [{"intent": "poetry", "tier": "last"}]
    async with cluster.operator() as operator:
        await cluster.apply(spec)
        told = await operator.condition("ClassifierReady", reason)
        assert words in told["message"]
        policy = await cluster.policy()
        assert "traffic" not in policy["status"]
        assert condition(policy, "Accepted")["status"] == "True"
        assert condition(policy, "Ready")["reason"] == reason
        assert sha256(content) not in loaded(tritons[0])


async def test_a_lost_model_comes_back(cluster: Cluster, tritons: list[Triton]) -> None:
    """The condition says so, the traffic stays, and the model is loaded again."""
    content = bundle(mark="lost")
    await cluster.config_map("bundle", content)
    async with cluster.operator() as operator:
        await cluster.apply(classifier_spec("configmap://bundle", sha256(content), urls(tritons)))
        before = await operator.promoted()
        unload(tritons[1], sha256(content))

        async def back() -> bool | None:
            return sha256(content) in loaded(tritons[1]) or None

        await eventually(back, "the model is back")
        await operator.condition("ClassifierReady", "Loaded")
        after = await cluster.policy()
        assert after["status"]["traffic"] == before["status"]["traffic"]
        assert operator.metric("pointsman_operator_triton_losses_total") == 1
        await eventually(lambda: cluster.events("Reloading"), "the loss was told")


async def test_a_triton_that_restarts_empty_is_filled_again(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Away: TritonUnreachable, traffic stays. Back and empty: loaded again, within ten seconds."""
    content = bundle(mark="restart")
    await cluster.config_map("bundle", content)
    with Triton(tmp_path_factory.mktemp("triton")) as triton:
        async with cluster.operator(triton=TritonSettings(poll_s=2.0)) as operator:
            await cluster.apply(classifier_spec("configmap://bundle", sha256(content), [triton.http_url]))
            await operator.promoted()
            assert triton.child is not None
            triton.child.kill()
            await operator.condition("ClassifierReady", "TritonUnreachable")
            assert is_promoted(await cluster.policy())
            triton.start().wait_ready()
            await operator.condition("ClassifierReady", "Loaded", deadline_s=10)
            assert sha256(content) in loaded(triton)


async def test_a_model_whose_process_died_is_loaded_anew(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Triton lists it as ready for ever and answers nothing, nor would it reload: it is unloaded first."""
    content = bundle(mark="stub")
    await cluster.config_map("bundle", content)
    settings = TritonSettings(poll_s=0.2, check_s=0.5)
    with Triton(tmp_path_factory.mktemp("triton")) as triton:
        async with cluster.operator(triton=settings) as operator:
            await cluster.apply(classifier_spec("configmap://bundle", sha256(content), [triton.http_url]))
            await operator.promoted()
            assert triton.child is not None
            for pid in stubs(triton.child.pid):
                os.kill(pid, signal.SIGKILL)
            await operator.condition("ClassifierReady", "Reloading")
            assert is_promoted(await cluster.policy())
            await operator.condition("ClassifierReady", "Loaded", deadline_s=10)
            assert answers(triton, sha256(content))


def answers(triton: Triton, digest: str) -> bool:
    """Ask a model as Envoy does."""
    url = f"{triton.http_url}/v2/models/pm-{digest}/infer"
    answer = httpx.post(url, headers={"Inference-Header-Content-Length": "0"}, content=PROBE_BODY)
    return answer.status_code == 200


def stubs(pid: int) -> list[int]:
    """Return the processes of a Triton's models."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == pid and name.startswith("triton_python"):
                found.append(int(path.parent.name))
    return found


async def test_models_of_others_are_never_touched(cluster: Cluster, tritons: list[Triton]) -> None:
    """What nobody wants is swept after the grace time if it is ours, and after deletion of the policy."""
    content = bundle(mark="swept")
    await cluster.config_map("bundle", content)
    async with cluster.operator() as operator:
        await cluster.apply(classifier_spec("configmap://bundle", sha256(content), urls(tritons)))
        await cluster.apply(pinned_spec(model="other"), "other")
        await operator.promoted()
        await cluster.delete()

        async def gone() -> bool | None:
            held = loaded(tritons[0]) | loaded(tritons[1])
            return (sha256(content) not in held and not await cluster.revisions()) or None

        await eventually(gone, "model and revisions are collected")
        assert is_promoted(await cluster.policy("other"))


async def test_suspend_holds_the_promotion_and_nothing_else(cluster: Cluster, tritons: list[Triton]) -> None:
    """The candidate is loaded and waits; a lost model still heals; then it is promoted."""
    old, new = bundle(mark="suspend-old"), bundle(mark="suspend-new")
    await cluster.config_map("old", old)
    await cluster.config_map("new", new)
    async with cluster.operator() as operator:
        await cluster.apply(classifier_spec("configmap://old", sha256(old), urls(tritons)))
        before = (await operator.promoted())["status"]["traffic"]
        artifact = {"uri": "configmap://new", "sha256": sha256(new)}
        await cluster.change(suspend=True, strategy={"classifier": {"artifact": artifact}})
        await operator.condition("Progressing", "Suspended")
        status = (await cluster.policy())["status"]
        assert status["traffic"] == before
        assert status["candidateRevision"] not in {None, status["stableRevision"]}
        unload(tritons[0], sha256(old))

        async def back() -> bool | None:
            return sha256(old) in loaded(tritons[0]) or None

        await eventually(back, "the model in force is back")
        await cluster.change(suspend=False)
        await operator.promoted()


async def test_a_lost_status_is_always_strong_and_heals(cluster: Cluster, tritons: list[Triton]) -> None:
    """A policy deleted and created again reuses neither status nor revision, and gets to the same end."""
    content = bundle(mark="lost-status")
    await cluster.config_map("bundle", content)
    spec = classifier_spec("configmap://bundle", sha256(content), urls(tritons))
    async with cluster.operator() as operator:
        await cluster.apply(spec)
        before = await operator.promoted()
        (old,) = await cluster.revisions()
    await cluster.delete()
    created = await cluster.apply(spec)
    assert created["status"] == {"observedGeneration": UNSEEN}
    async with cluster.operator() as operator:
        after = await operator.promoted()
        (new,) = await cluster.revisions()
        assert new["metadata"]["name"] == old["metadata"]["name"]
        assert new["metadata"]["uid"] != old["metadata"]["uid"]
        assert new["metadata"]["ownerReferences"][0]["uid"] == after["metadata"]["uid"]
        assert shown(after) == shown(before)
