"""Status patches."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pointsman.kube.status import status_patch

KEYS = st.sampled_from(["a", "b", "c"])
FLAT = st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2))
VALUES = st.recursive(FLAT, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=6)
STATUS = st.dictionaries(KEYS, VALUES)


def merge(target: Any, patch: Any) -> Any:
    """Merge as the API server does: the function of RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


@given(STATUS, STATUS)
def test_the_patch_makes_the_old_status_the_new_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Merged as the API server does, at any depth; and empty exactly if nothing changed."""
    patch = status_patch(old, new)
    assert merge(old, patch) == new
    assert (patch == {}) == (old == new)
