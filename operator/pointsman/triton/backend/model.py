"""Triton's entry to the classifier (Python backend): raw OpenAI body in, `score` [T] and `intent` [1] out.

A body that cannot be classified is an error of that request alone: Envoy then serves it from the strong tier.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import triton_python_backend_utils as pb_utils

from . import bundle_reader, linear, request

if TYPE_CHECKING:
    from collections.abc import Iterable


class TritonPythonModel:
    """One loaded bundle."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the bundle beside this file and score once; what this raises is the load's error."""
        bundle = bundle_reader.read(Path(__file__).with_name("bundle.zip").read_bytes())
        self._classifier = linear.LinearClassifier(bundle)
        # Strings become a tensor slowly, an eighth of a request's CPU; a tensor may be sent many times.
        self._intents = {intent: _strings([intent]) for intent in bundle.intents}
        outputs = {output["name"]: output for output in json.loads(args["model_config"])["output"]}
        if outputs["score"]["dims"] != [len(bundle.tiers)]:
            raise bundle_reader.BundleError(
                f"the model's config promises other than {len(bundle.tiers)} scores"
            )
        self._classifier.score("The first call is the slow one: it is made before the model is ready.")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request, whatever becomes of the others."""
        answers = []
        for one in requests:
            try:
                answers.append(self._answer(one))
            except Exception as error:  # noqa: BLE001 - raising here would fail every request of the batch
                answers.append(_refuse(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL))
        return answers

    def _answer(self, one: Any) -> Any:
        bodies = pb_utils.get_input_tensor_by_name(one, "request").as_numpy()
        scores: list[list[float]] = []
        intents: list[str] = []
        for body in bodies.reshape(-1):
            parsed = request.parse(body)
            if isinstance(parsed, request.Unreadable):
                return _refuse(f"{parsed.reason}: {parsed.message}", pb_utils.TritonError.INVALID_ARG)
            scored = self._classifier.score(parsed.text)
            scores.append(scored.scores)
            intents.append(scored.intent)
        score = pb_utils.Tensor("score", np.array(scores, dtype=np.float32))
        intent = self._intents[intents[0]] if len(intents) == 1 else _strings(intents)
        return pb_utils.InferenceResponse(output_tensors=[score, intent])


def _strings(values: Iterable[str]) -> Any:
    return pb_utils.Tensor("intent", np.array([[value.encode()] for value in values], dtype=np.object_))


def _refuse(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
