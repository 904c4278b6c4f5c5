"""The agent beside a real Triton: loads, heals, gates readiness, does without the operator."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import sys
from pathlib import Path

import httpx
import pytest

from agent_kit import POOL, agent, leaf, model, operator, write
from operator_kit import bundle
from pointsman import install
from pointsman.agent.serve import control_key
from pointsman.lab.pki import Authority
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.triton import Triton
from pointsman.pools.models import ModelList
from pointsman.triton import repository
from pointsman.triton.endpoint import Settings as LoadSettings
from triton_kit import Server
from wait import until

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_what_traffic_needs_is_loaded_before_it_is_ready(
    triton: Triton, key_file: Path, authority: Authority, tmp_path: Path
) -> None:
    """Fetched over mutual TLS, verified, loaded by the restricted API, probed; then ready, and it serves."""
    content = bundle(mark="first")
    async with operator(authority) as running:
        running.publish(content)
        tls = leaf(authority, install.pool_name(POOL))
        async with agent(
            triton.http_url, tmp_path, operator=running.url, tls=tls, control_key=key_file
        ) as beside:
            assert not await beside.ready()
            await beside.becomes_ready()
            assert (await beside.phase(sha(content)))["phase"] == "ready"
            server = Server(triton.http_url)
            assert server.infer(repository.model_name(sha(content)), repository.PROBE_BODY).status == 200
            server.http.close()


async def test_the_control_api_is_closed_to_others(triton: Triton) -> None:
    """Who lacks the pod's key can neither load nor unload nor list, and can classify."""
    async with httpx.AsyncClient(base_url=triton.http_url) as stranger:
        assert (await stranger.post("/v2/repository/models/pm-x/unload")).status_code == 403
        assert (await stranger.post("/v2/repository/models/pm-x/load")).status_code == 403
        assert (await stranger.get("/v2/models/stats")).status_code == 403
        assert (await stranger.get("/v2/health/live")).status_code == 200


async def test_a_restarted_triton_is_healed_from_the_cache(
    triton: Triton, key_file: Path, authority: Authority, tmp_path: Path
) -> None:
    """Killed, it comes back empty: not ready until the model is there again, and nobody is asked for it."""
    content = bundle(mark="healed")
    async with operator(authority) as running:
        running.publish(content)
        tls = leaf(authority, install.pool_name(POOL))
        async with agent(
            triton.http_url, tmp_path, operator=running.url, tls=tls, control_key=key_file
        ) as beside:
            await beside.becomes_ready()
            fetches = running.fetches
            assert triton.child is not None
            triton.child.kill()
            await until(lambda: _not(beside.ready()), 10, what="not ready")
            triton.start()
            await beside.becomes_ready()
            assert running.fetches == fetches


async def test_without_an_operator_the_mounted_list_and_the_cache_do(
    triton: Triton, key_file: Path, authority: Authority, tmp_path: Path
) -> None:
    """An agent that starts while no operator answers loads what the file says from what it had."""
    content = bundle(mark="alone")
    tls = leaf(authority, install.pool_name(POOL))
    async with operator(authority) as running:
        wanted = running.publish(content)
        async with agent(
            triton.http_url, tmp_path, operator=running.url, tls=tls, control_key=key_file
        ) as beside:
            await beside.becomes_ready()
        nowhere = running.url
    write(tmp_path, wanted)
    async with agent(triton.http_url, tmp_path, operator=nowhere, tls=tls, control_key=key_file) as beside:
        await beside.becomes_ready()
        assert (await beside.phase(sha(content)))["phase"] == "ready"


async def test_a_wrong_digest_is_refused(
    triton: Triton, key_file: Path, authority: Authority, tmp_path: Path
) -> None:
    """Bytes that are not the ones that were asked for are neither loaded nor kept, and told as the cause."""
    right, wrong = bundle(mark="right"), bundle(mark="wrong")
    async with operator(authority) as running:
        running.publish(right)
        running.bundles[sha(right)] = wrong
        tls = leaf(authority, install.pool_name(POOL))
        async with agent(
            triton.http_url, tmp_path, operator=running.url, tls=tls, control_key=key_file
        ) as beside:

            async def told() -> bool:
                return (await beside.phase(sha(right))).get("cause") == "DigestMismatch"

            await until(told, 20, what="the cause")
            assert not await beside.ready()
            assert list((tmp_path / "cache").glob("*.zip")) == []
            running.bundles[sha(right)] = right
            await beside.becomes_ready()


async def test_the_operators_reason_is_the_cause(
    triton: Triton, key_file: Path, authority: Authority, tmp_path: Path
) -> None:
    """A bundle that the operator cannot get has the operator's own reason and words here."""
    content = bundle(mark="missing")
    async with operator(authority) as running:
        running.publish(content)
        running.bundles.clear()
        tls = leaf(authority, install.pool_name(POOL))
        async with agent(
            triton.http_url, tmp_path, operator=running.url, tls=tls, control_key=key_file
        ) as beside:

            async def told() -> bool:
                return (await beside.phase(sha(content))).get("cause") == "BundleNotFound"

            await until(told, 20, what="the cause")
            assert "nothing is at configmap://bundle" in (await beside.phase(sha(content)))["message"]


async def test_out_of_memory_is_told_from_tritons_words(
    triton: Triton, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that the GPU has no room for fails with that cause; the ready one beside it goes on serving."""
    good, big = bundle(mark="good"), bundle(mark="big")
    files = repository.load_files

    def failing(data: bytes) -> dict[str, bytes]:
        found = files(data)
        if data == big:
            found["file:1/model.py"] = _NO_ROOM
        return found

    monkeypatch.setattr(repository, "load_files", failing)
    hold(tmp_path, good)
    wanted = ModelList((model(good, traffic=True),), 1)
    async with agent(triton.http_url, tmp_path, models=wanted, control_key=key_file) as beside:
        await beside.becomes_ready()
        hold(tmp_path, big)
        write(tmp_path, ModelList((model(good, traffic=True), model(big)), 2))
        failed = await beside.becomes(sha(big), "failed")
        assert failed["cause"] == "OutOfMemory"
        assert "CUDA out of memory" in failed["message"]
        assert await beside.ready()
        assert (await beside.phase(sha(good)))["phase"] == "ready"


_NO_ROOM = b"""
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.78 GiB total capacity)")
"""


async def test_an_empty_list_is_ready_and_no_list_is_not(
    triton: Triton, key_file: Path, tmp_path: Path
) -> None:
    """Nothing to load is a state like any other; not to know what to load is none to take requests in."""
    async with agent(triton.http_url, tmp_path, control_key=key_file) as beside:
        assert "has not read yet" in (await beside.state())["why"]
        assert not await beside.ready()
        write(tmp_path, ModelList((), 1))
        await beside.becomes_ready()


async def test_what_nobody_wants_is_swept_after_a_grace(
    triton: Triton, key_file: Path, tmp_path: Path
) -> None:
    """A model that left the list is unloaded, and its bundle leaves the disk."""
    content = bundle(mark="swept")
    hold(tmp_path, content)
    wanted = ModelList((model(content, traffic=True),), 1)
    async with agent(triton.http_url, tmp_path, models=wanted, control_key=key_file) as beside:
        await beside.becomes_ready()
        write(tmp_path, ModelList((), 2))
        name = repository.model_name(sha(content))

        async def gone() -> bool:
            async with httpx.AsyncClient(base_url=triton.http_url) as http:
                return (await http.get(f"/v2/models/{name}/ready")).status_code != 200

        await until(gone, 20, what="the model is gone")
        assert list((tmp_path / "cache").glob("*.zip")) == []
        assert await beside.ready()


async def test_told_to_end_it_is_not_ready_first(triton: Triton, key_file: Path, tmp_path: Path) -> None:
    """Requests go elsewhere before it ends; it ends by itself, with success."""
    models = ModelList((), 1)
    async with agent(triton.http_url, tmp_path, models=models, control_key=key_file, drain_s=2.0) as beside:
        await beside.becomes_ready()
        beside.stop.set()
        await until(lambda: _not(beside.ready()), 1.5, what="not ready")
        assert not beside.task.done()
        assert await asyncio.wait_for(beside.task, 10) == 0


async def test_an_older_file_never_overrules_the_operator(
    triton: Triton, key_file: Path, authority: Authority, tmp_path: Path
) -> None:
    """The kubelet renews the file late: what the long poll brought stays, be it older by a restore."""
    content = bundle(mark="order")
    async with operator(authority) as running:
        running.publish(content, revision=7)
        write(tmp_path, ModelList((), 9))  # from before the restore
        tls = leaf(authority, install.pool_name(POOL))
        async with agent(
            triton.http_url,
            tmp_path,
            operator=running.url,
            tls=tls,
            control_key=key_file,
            load=LoadSettings(poll_s=0.2, grace_s=60),
        ) as beside:
            await beside.becomes(sha(content), "ready")
            write(tmp_path, ModelList((), 6))
            newer = running.publish(content, revision=8)

            async def there() -> bool:
                return bool((await beside.state())["version"] == newer.version)

            await until(there, 10, what="the newer list")


async def test_the_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    """A restarted agent uses the key that Triton was started with; the file is nobody else's to read."""
    path = tmp_path / "control.key"
    first = control_key(path)
    assert control_key(path) == first
    assert len(first) == 64
    assert path.stat().st_mode & 0o007 == 0


async def test_the_command_ends_with_success_when_told(
    triton: Triton, key_file: Path, tmp_path: Path
) -> None:
    """`pointsman triton-agent` as the pod runs it: ready, then SIGTERM, then exit code 0."""
    write(tmp_path, ModelList((), 1))
    address = f"{LOCALHOST}:{free_port()}"
    command = [
        *(str(Path(sys.executable).with_name("pointsman")), "triton-agent", "--pool", POOL),
        *("--triton", triton.http_url, "--models", str(tmp_path / "models.json"), "--drain", "500ms"),
        *("--http-address", address, "--control-key-file", str(key_file)),
        *("--cache-dir", str(tmp_path / "cache")),
    ]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}") as http:

            async def ready() -> bool:
                try:
                    return (await http.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, 30, what="ready")
            assert "pointsman_agent_ready 1.0" in (await http.get("/metrics")).text
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def hold(folder: Path, content: bytes) -> None:
    """Put a bundle into the agent's cache."""
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    (cache / f"{sha(content)}.zip").write_bytes(content)


async def _not(value: object) -> bool:
    return not await value  # type: ignore[misc]
