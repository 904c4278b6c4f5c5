"""Status writes: the difference between two statuses as one merge patch. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def status_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch (RFC 7386) that makes `old` into `new`; empty if they are equal.

    Both as the API holds them. Fields that are no more become null, within objects too (a merge patch merges
    them); lists are replaced whole.
    """
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            within = status_patch(before, value)
            if within:
                patch[key] = within
        elif key not in old or before != value:
            patch[key] = value
    return patch
