"""Reading the models: the same checks, with the same words, as at the API server."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pointsman.api.v1alpha1.cel import seconds
from pointsman.api.v1alpha1.evaluation import Capture
from pointsman.api.v1alpha1.routing_policy import Match
from pointsman.api.v1alpha1.strategy import Artifact, Classifier
from pointsman.api.v1alpha1.tiers import TierEndpoint, TierPrice, TierTimeouts
from pointsman.api.v1alpha1.triton import TritonExternal

SHA = "0" * 64


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (TierTimeouts, {"idle": "1m30s", "total": "24h"}),
        (Capture, {"samplePermille": 0, "retention": "8760h"}),
        (Match, {"hostnames": ["*", "*.a-b.example", "localhost"], "models": ["org/router:latest"]}),
        (TritonExternal, {"urls": ["http://127.0.0.1:65535"]}),
        (Artifact, {"uri": "configmap://bundles/v1.zip", "sha256": SHA}),
        (Artifact, {"uri": "https://example.com/b.zip?x=1", "sha256": SHA}),
        (Artifact, {"uri": "file:///tmp/b.zip", "sha256": SHA}),
        (TierEndpoint, {"url": "http://10.0.0.1:8000"}),
        (TierPrice, {"inputPerMillion": "0", "outputPerMillion": "10.000000001"}),
    ],
)
def test_good_values_are_read(model: Any, value: dict[str, Any]) -> None:
    """What the API server takes is read and given back as it was."""
    assert model.model_validate(value).to_kube().items() >= value.items()


@pytest.mark.parametrize(
    ("model", "value", "words"),
    [
        (TierTimeouts, {"idle": "7d"}, "must be from 10ms to 1h"),
        (TierTimeouts, {"idle": "2h"}, "must be from 10ms to 1h"),
        (TierTimeouts, {"idle": ""}, "must be from"),
        (TierTimeouts, {"idle": "1s\n"}, "must be from"),
        (Capture, {"samplePermille": 0, "retention": "7d"}, "7 days are 168h"),
        (Match, {"hostnames": ["http://a"], "models": ["auto"]}, "must be a lower-case host name"),
        (Match, {"hostnames": ["a"], "models": ["a\x00"]}, "control character"),
        (TritonExternal, {"urls": ["http://triton:0"]}, "must be http://HOST:PORT"),
        (Artifact, {"uri": "oci://a/b", "sha256": SHA}, "must be configmap://NAME"),
        (Artifact, {"uri": "https://a b", "sha256": SHA}, "must be configmap://NAME"),
        (Artifact, {"uri": "https://a", "sha256": SHA.replace("0", "A")}, "64 lower-case hex digits"),
        (TierPrice, {"inputPerMillion": "1e3", "outputPerMillion": "1"}, "decimal string"),
    ],
)
def test_bad_values_are_refused_in_the_same_words(model: Any, value: dict[str, Any], words: str) -> None:
    """Reading a manifest without an API server names the same remedy as the API server would."""
    with pytest.raises(ValidationError, match=words):
        model.model_validate(value)


def test_unknown_fields_are_ignored_on_read() -> None:
    """An object written by a newer version can be read: only the API server refuses what it does not know."""
    artifact = {"uri": "https://a", "sha256": SHA}
    assert Classifier.model_validate({"artifact": artifact, "later": 1}).to_kube()["artifact"] == artifact


@pytest.mark.parametrize(
    ("text", "length"),
    [("50ms", 0.05), ("15m", 900.0), ("168h", 604800.0), ("1h30m", 5400.0), ("1m30s500ms", 90.5)],
)
def test_seconds(text: str, length: float) -> None:
    """Durations add up over their units; ms is not m."""
    assert seconds(text) == pytest.approx(length)
