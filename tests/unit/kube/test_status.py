"""Status patches."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pointsman.kube.status import status_patch

VALUES = st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2))
STATUS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES)


@given(STATUS, STATUS)
def test_the_patch_makes_the_old_status_the_new_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Merged as the API server does (RFC 7386), and empty exactly if nothing changed."""
    patch = status_patch(old, new)
    merged = {key: value for key, value in (old | patch).items() if value is not None}
    assert merged == new
    assert (patch == {}) == (old == new)
