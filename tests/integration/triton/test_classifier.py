"""The classifier inside the real Triton: the same scores, errors of one request alone, warm when ready."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

import bundles as small
from pointsman.lab.triton import Triton
from pointsman.routers.train import Trained
from pointsman.triton import bundle as bundles
from pointsman.triton import repository
from pointsman.triton.backend import request
from triton_kit import Server

pytestmark = pytest.mark.triton


def body(text: str) -> bytes:
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()


@pytest.fixture
def model(server: Server) -> str:
    """Load the small classifier for two tiers (again: Triton takes the same files as no change)."""
    return server.load(small.file())


def test_the_same_scores_as_here(server: Server, trained: Trained, prompts: tuple[str, ...]) -> None:
    """1,000 real prompts get the same scores (to 1e-5) and intents from Triton as from Python."""
    name = server.load(trained.data)
    here = [bundles.classifier(trained.bundle).score(text.strip()) for text in prompts]
    with ThreadPoolExecutor(8) as pool:
        there = list(pool.map(lambda text: server.infer(name, body(text)), prompts))
    assert {reply.status for reply in there} == {200}
    scores = np.array([reply.scores for reply in there])
    np.testing.assert_allclose(scores, [one.scores for one in here], rtol=0, atol=1e-5)
    assert [reply.intent for reply in there] == [one.intent for one in here]


def test_the_probe_passes(server: Server, model: str) -> None:
    """A loaded model answers the probe as the bundle does here."""
    probe = repository.probe(bundles.read(small.file()))
    reply = server.infer(model, probe.body)
    assert probe.differs(reply.scores.tolist(), reply.intent) is None


def test_a_score_per_tier(server: Server) -> None:
    """A bundle for three tiers gives three scores, the last of them 1."""
    reply = server.infer(server.load(small.file(3)), body("a poem"))
    assert reply.scores.shape == (3,)
    assert reply.scores[2] == 1


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"nonsense", "json: "),
        (b"", "empty: "),
        (b"\xff\xfe", "encoding: "),
        (b"[" * 100_000, "json: "),
        (b'{"messages": []}', "no_text: "),
        (b'{"model": "auto"}', "form: "),
    ],
)
def test_nonsense_is_a_client_error(server: Server, model: str, raw: bytes, reason: str) -> None:
    """A body without a prompt is refused with 400 and the reason, and the model goes on serving."""
    reply = server.infer(model, raw)
    assert reply.status == 400
    assert reply.error.startswith(reason)
    assert server.infer(model, body("a poem")).status == 200


def test_nonsense_harms_no_other_request(server: Server, model: str) -> None:
    """Nonsense among many concurrent requests, batched with them, fails alone."""
    bodies = [b"nonsense" if at % 5 == 0 else body(f"a poem {at}") for at in range(200)]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda raw: server.infer(model, raw), bodies))
    assert [reply.status for reply in replies] == [400 if at % 5 == 0 else 200 for at in range(200)]


def test_a_megabyte(server: Server, model: str) -> None:
    """A prompt of 1 MB is cut and scored as it is here."""
    text = "a poem about the total " * 45_000
    expected = bundles.classifier(small.fitted()).score(request.bound(text))
    reply = server.infer(model, body(text))
    np.testing.assert_allclose(reply.scores, expected.scores, rtol=0, atol=1e-5)


def test_a_batch_in_one_request(server: Server, model: str) -> None:
    """A client may send several bodies in one request: a row of scores for each."""
    texts = ["a poem", "divide the total by the ratio"]
    data = [body(text).decode() for text in texts]
    inputs = [{"name": "request", "shape": [2, 1], "datatype": "BYTES", "data": data}]
    outputs = server.http.post(f"/v2/models/{model}/infer", json={"inputs": inputs}).json()["outputs"]
    expected = [bundles.classifier(small.fitted()).score(text) for text in texts]
    assert outputs[0]["shape"] == [2, 2]
    np.testing.assert_allclose(
        np.reshape(outputs[0]["data"], (2, 2)), [one.scores for one in expected], rtol=0, atol=1e-5
    )
    assert outputs[1]["data"] == [one.intent for one in expected]


def test_a_broken_bundle_is_refused(server: Server, model: str) -> None:
    """Loading a damaged bundle fails with words that name the damage; the other models serve on."""
    damaged = small.file(3)[:-100]
    name, response = server.try_load(small.file(3), {"file:1/bundle.zip": damaged}, name="pm-damaged")
    assert response.status_code == 400
    assert "BundleError: the file is not a readable zip file" in response.json()["error"]
    assert not server.ready(name)
    assert server.infer(model, body("a poem")).status == 200


def test_a_bundle_of_another_shape_is_refused(server: Server) -> None:
    """A bundle with other tiers than the config promises is refused, not served wrongly."""
    _, response = server.try_load(small.file(2), {"file:1/bundle.zip": small.file(3)}, name="pm-shape")
    assert response.status_code == 400
    assert "promises other than 3 scores" in response.json()["error"]


SLOW = b"""
import time
from . import model_itself

class TritonPythonModel(model_itself.TritonPythonModel):
    def execute(self, requests):
        time.sleep(%s)
        return super().execute(requests)
"""


def slowed(seconds: float) -> dict[str, bytes]:
    """Return files of a model that takes its time for every batch."""
    itself = repository.load_files(small.file())["file:1/model.py"]
    return {"file:1/model.py": SLOW % str(seconds).encode(), "file:1/model_itself.py": itself}


def test_ready_means_warm(server: Server) -> None:
    """The load returns only after the warm-up has gone all the way through the model."""
    start = time.monotonic()
    name, response = server.try_load(small.file(), slowed(1.0), name="pm-slow-start")
    assert response.status_code == 200
    assert time.monotonic() - start > 3  # three probes of a second each
    assert server.ready(name)
    server.http.post(f"/v2/repository/models/{name}/unload")


async def test_overload_is_refused_at_once(process: Triton, server: Server) -> None:
    """Of more requests than the queue holds the surplus is refused, so Envoy need not wait."""
    name, response = server.try_load(small.file(), slowed(0.3), name="pm-overload")
    assert response.status_code == 200
    surplus = 60
    count = repository.MAX_QUEUE + 2 * repository.MAX_BATCH + surplus
    headers = {"Inference-Header-Content-Length": "0"}
    async with httpx.AsyncClient(
        base_url=process.http_url, timeout=30, limits=httpx.Limits(max_connections=count)
    ) as http:

        async def ask() -> int:
            reply = await http.post(f"/v2/models/{name}/infer", content=body("a poem"), headers=headers)
            return reply.status_code

        statuses = await asyncio.gather(*(ask() for _ in range(count)))
    assert set(statuses) == {200, 503}
    assert statuses.count(503) >= surplus / 2
    assert statuses.count(200) >= repository.MAX_QUEUE
    server.http.post(f"/v2/repository/models/{name}/unload")


def test_unload_leaves_the_others(server: Server, model: str) -> None:
    """An unloaded model is gone, the others serve on."""
    other = server.load(small.file(4))
    assert server.http.post(f"/v2/repository/models/{other}/unload").status_code == 200
    assert server.infer(other, body("a poem")).status in (400, 404)
    assert server.infer(model, body("a poem")).status == 200
