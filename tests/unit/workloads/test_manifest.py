"""Pieces of pods that gateways and pools share."""

from __future__ import annotations

from pointsman.api.v1alpha1.pods import PullSecret
from pointsman.workloads.manifest import pull_secrets


def test_images_are_pulled_with_the_operators_secrets_and_the_objects_own() -> None:
    """Each once, the operator's first; without any the field is not there at all."""
    own = [PullSecret(name="nvcr.io"), PullSecret(name="registry")]
    found = pull_secrets(("registry",), own)
    assert found == {"imagePullSecrets": [{"name": "registry"}, {"name": "nvcr.io"}]}
    assert pull_secrets((), []) == {}
