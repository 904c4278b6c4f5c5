"""What Triton is told to load: a model's name, config and files, and the request that proves it serves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from pointsman.triton.backend import request
from pointsman.triton.bundle import Bundle, classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL_PREFIX = "pm-"
"""Models of ours; whatever else a Triton serves is left alone."""

MAX_BATCH = 32
MAX_QUEUE = 128
"""At 0.2 ms a request a full queue is 26 ms of work: more could not be answered within the usual deadline
of 50 ms, so it is refused at once, and Envoy serves the strong tier without waiting."""
MAX_QUEUE_TIMEOUT_MS = 5_000
"""The longest deadline that a policy can have: nobody waits for a request older than this. A model is
shared by every policy with this bundle, so it cannot be one policy's own deadline."""

_SOURCES = ("__init__.py", "bundle_reader.py", "linear.py", "model.py", "request.py")

PROBE_BODY = json.dumps(
    {
        "model": "probe",
        "messages": [
            {"role": "system", "content": "Answer with one letter."},
            {
                "role": "user",
                "content": "What is the derivative of x^2 + 3x?\nA. 2x + 3\nB. x + 3\nC. 2x\nD. 3",
            },
        ],
    },
    separators=(",", ":"),
).encode()
"""A request that every loaded model must score as this very bundle does."""


@dataclass(frozen=True, slots=True)
class Instances:
    """How many processes serve each model: `count`, on the CPU or on each of the first `gpus` GPUs."""

    count: int = 1
    gpus: int = 0

    def group(self) -> dict[str, Any]:
        """Return Triton's instance group."""
        if not self.gpus:
            return {"kind": "KIND_CPU", "count": self.count}
        return {"kind": "KIND_GPU", "count": self.count, "gpus": list(range(self.gpus))}


ON_CPU = Instances()


@dataclass(frozen=True, slots=True)
class Probe:
    """A request, and what the model must answer to it."""

    body: bytes
    scores: tuple[float, ...]
    intent: str

    def differs(self, scores: Sequence[float], intent: str) -> str | None:
        """Say how an answer differs from the expected one (scores by more than 1e-5), or None."""
        if len(scores) != len(self.scores):
            return f"{len(scores)} scores instead of {len(self.scores)}"
        worst = max(abs(a - b) for a, b in zip(scores, self.scores, strict=True))
        if not worst <= 1e-5:  # noqa: PLR2004 - the promise of the contract; nan fails, too
            return f"scores {list(scores)} instead of {list(self.scores)}"
        return None if intent == self.intent else f"intent {intent!r} instead of {self.intent!r}"


def model_name(sha256: str) -> str:
    """Return the model's name on Triton: by content, so a changed bundle is another model."""
    return f"{MODEL_PREFIX}{sha256}"


def probe(bundle: Bundle) -> Probe:
    """Return the request that verifies a loaded model, with the answer that this bundle gives here."""
    parsed = request.parse(PROBE_BODY)
    if isinstance(parsed, request.Unreadable):
        raise TypeError(f"the probe is unreadable: {parsed.message}")
    scored = classifier(bundle).score(parsed.text)
    return Probe(PROBE_BODY, tuple(float(score) for score in scored.scores), scored.intent)


def load_config(bundle: Bundle, instances: Instances = ON_CPU) -> dict[str, Any]:
    """Return the model's config (config.pbtxt as JSON)."""
    return {
        "backend": "python",
        "max_batch_size": MAX_BATCH,
        "input": [{"name": "request", "data_type": "TYPE_STRING", "dims": [1]}],
        "output": [
            {"name": "score", "data_type": "TYPE_FP32", "dims": [len(bundle.tiers)]},
            {"name": "intent", "data_type": "TYPE_STRING", "dims": [1]},
        ],
        "instance_group": [instances.group()],
        "dynamic_batching": {
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": MAX_QUEUE_TIMEOUT_MS * 1000,
                "max_queue_size": MAX_QUEUE,
            }
        },
        "model_warmup": [
            {
                "name": "probe",
                "batch_size": 1,
                "count": 3,
                "inputs": {
                    "request": {"data_type": "TYPE_STRING", "dims": [1], "input_data_file": "probe"},
                },
            }
        ],
    }


def load_files(data: bytes) -> dict[str, bytes]:
    """Return the files of the model for Triton's load call, keyed `file:<path in the model's folder>`."""
    code = resources.files("pointsman.triton.backend")
    files = {f"file:1/{name}": (code / name).read_bytes() for name in _SOURCES}
    files["file:1/bundle.zip"] = data
    # Triton reads a BYTES element as its length (4 bytes, little-endian) and its bytes.
    files["file:warmup/probe"] = len(PROBE_BODY).to_bytes(4, "little") + PROBE_BODY
    return files
