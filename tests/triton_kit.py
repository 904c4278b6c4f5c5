"""A small client of Triton for tests: plain HTTP, as Envoy's script speaks it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from pointsman.triton import bundle as bundles
from pointsman.triton import repository


@dataclass(frozen=True)
class Reply:
    """What Triton answered to one request."""

    status: int
    scores: np.ndarray[Any, np.dtype[np.float32]]
    intent: str
    error: str


class Server:
    """A running Triton."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60, headers={"accept-encoding": "identity"})

    def load(self, data: bytes, files: Mapping[str, bytes] | None = None) -> str:
        """Load a bundle as the operator does, some files changed; return the model's name."""
        name, response = self.try_load(data, files)
        assert response.status_code == 200, response.text
        return name

    def try_load(
        self, data: bytes, files: Mapping[str, bytes] | None = None, name: str = ""
    ) -> tuple[str, httpx.Response]:
        """Like `load`, under a name of one's own if wanted; return Triton's response, whatever it is."""
        bundle = bundles.check(data)
        name = name or repository.model_name(bundles.sha256(data))
        parameters = {"config": json.dumps(repository.load_config(bundle))}
        for path, content in {**repository.load_files(data), **(files or {})}.items():
            parameters[path] = base64.b64encode(content).decode()
        return name, self.http.post(f"/v2/repository/models/{name}/load", json={"parameters": parameters})

    def infer(self, model: str, body: bytes) -> Reply:
        """Send the raw body, as Envoy's script does."""
        headers = {"Inference-Header-Content-Length": "0"}
        response = self.http.post(f"/v2/models/{model}/infer", content=body, headers=headers)
        if response.status_code != 200:
            return Reply(response.status_code, np.empty(0, np.float32), "", response.json()["error"])
        end = int(response.headers["inference-header-content-length"])
        outputs = json.loads(response.content[:end])["outputs"]
        assert [output["name"] for output in outputs] == ["score", "intent"]
        sizes = [output["parameters"]["binary_data_size"] for output in outputs]
        raw = response.content[end:]
        assert len(raw) == sum(sizes)
        scores = np.frombuffer(raw[: sizes[0]], dtype="<f4")
        return Reply(200, scores, raw[sizes[0] + 4 :].decode(), "")

    def ready(self, model: str) -> bool:
        """Tell whether Triton calls the model ready."""
        return self.http.get(f"/v2/models/{model}/ready").status_code == 200
