"""Which Tritons are asked: another place in the spec takes over once it holds what traffic needs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.readiness import moves

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.triton import Triton
    from pointsman.rollout.observation import Observation


def place_in_force(o: Observation) -> Triton | None:
    """Return the place that the status shall name.

    Requests are classified there and nowhere else, so it follows the spec only once every classifier that
    is in force, or being tried, is loaded at the new place: to change the place never costs the incumbent.
    """
    wanted, present = o.policy.spec.triton, o.policy.status.triton
    if present is None or wanted is None or present == wanted:
        return wanted if present is None else present
    return wanted if _held(o) else present


def _held(o: Observation) -> bool:
    """Tell whether the place that the spec wants holds what traffic, or a rollout under way, needs."""
    status = o.policy.status
    arms = {share.revision for share in status.traffic if share.weight_permille > 0}
    if o.live is not None:
        arms |= {o.live.candidate, o.live.incumbent}
    known = {o.desired, status.stable_revision or "", ALWAYS_STRONG}
    if not arms <= known:
        return False  # one that is being replaced: its traffic moves first
    tried = o.desired in arms
    return moves(o.stable_classifier) and (not tried or moves(o.classifier))
