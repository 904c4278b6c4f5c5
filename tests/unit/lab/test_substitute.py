"""Manifests with ${NAME}."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
import yaml

from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.lab.demo.stage import QUICKSTART
from pointsman.lab.process import LabError
from pointsman.lab.substitute import bundle_values, file_values, lab_values, substitute

STATUS = {
    "parts": {
        name: {"address": f"127.0.0.1:{port}"}
        for name, port in [
            ("tier-cheap", 1),
            ("tier-strong", 2),
            ("triton", 3),
            ("tier-small", 6),
            ("tier-spare", 7),
        ]
    },
    "entry": "http://127.0.0.1:4",
    "prometheus": "http://127.0.0.1:5",
    "kubeconfig": "/k",
}


def _bundle(metrics: dict[str, object] | None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("bundle.json", json.dumps({"metrics": metrics}))
    return file.getvalue()


def test_every_name_is_replaced() -> None:
    """Names may come twice, and beside other text."""
    assert substitute("a ${X}-${Y} ${X} $Z", {"X": "1", "Y": "2"}) == "a 1-2 1 $Z"


def test_missing_names_are_all_named() -> None:
    """The error lists what has no value, and what has."""
    with pytest.raises(LabError, match=r"no value for A, B; .*known: X"):
        substitute("${B} ${A} ${X}", {"X": "1"})


def test_the_quickstart_is_a_policy_once_filled_in() -> None:
    """The example's names are the ones that the lab knows, and the result is a valid policy."""
    values = lab_values(STATUS) | bundle_values(_bundle({"threshold_permille": 849}))
    text = substitute((QUICKSTART / "policy.yaml").read_text("utf-8"), values)
    policy = RoutingPolicy.model_validate(yaml.safe_load(text))
    assert policy.spec.tiers[0].endpoints[0].url == "http://127.0.0.1:1/v1"
    assert policy.spec.strategy.classifier is not None
    assert policy.spec.strategy.classifier.thresholds[0].min_score_permille == 849


def test_a_bundle_without_a_measured_threshold_leaves_it_to_the_user() -> None:
    """Then `--set THRESHOLD_PERMILLE=…` must say it."""
    assert "THRESHOLD_PERMILLE" not in bundle_values(_bundle(None))


def test_a_file_that_is_no_bundle_is_named() -> None:
    """The error says how to make one."""
    with pytest.raises(LabError, match="pointsman train"):
        bundle_values(b"not a zip")


def test_a_file_gives_its_digest_and_its_bytes() -> None:
    """What a ConfigMap and a reference to it need."""
    values = file_values("GATE", b"x")
    assert values["GATE_BASE64"] == "eA=="
    assert values["GATE_SHA256"].startswith("2d711642")
