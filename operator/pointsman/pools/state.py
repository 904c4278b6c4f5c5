"""What an agent says of its Triton (/v1/state): written by agents, read by the operator. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.rollout.observation import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class HeldModel:
    """One model of the list, on one Triton."""

    sha256: str
    phase: Phase
    message: str = ""
    cause: ClassifierReadyReason | None = None


@dataclass(frozen=True, slots=True)
class AgentState:
    """One Triton as its agent sees it."""

    version: str
    """Of the list that it works on; "": none was read yet."""
    ready: bool
    why: str
    """What it waits for, or that it is ready."""
    models: tuple[HeldModel, ...] = ()

    def model(self, sha256: str) -> HeldModel | None:
        """Return what is known of a bundle."""
        return next((model for model in self.models if model.sha256 == sha256), None)

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it travels."""
        models = [
            {"sha256": one.sha256, "phase": one.phase, "message": one.message, "cause": one.cause}
            for one in self.models
        ]
        return {"version": self.version, "ready": self.ready, "why": self.why, "models": models}


def parse(plain: Any) -> AgentState:
    """Read an agent's answer; ValueError if it is none."""
    try:
        models = tuple(_model(one) for one in plain["models"])
        return AgentState(str(plain["version"]), bool(plain["ready"]), str(plain["why"]), models)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no state of an agent: {error!r}") from error


def _model(plain: Mapping[str, Any]) -> HeldModel:
    cause = plain.get("cause")
    return HeldModel(
        sha256=str(plain["sha256"]),
        phase=Phase(plain["phase"]),
        message=str(plain.get("message") or ""),
        cause=next((reason for reason in ClassifierReadyReason if reason == cause), None),
    )
