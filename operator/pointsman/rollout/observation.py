"""What a reconcile sees of the world, as frozen values: the input of every pure function of a rollout."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pointsman.api.v1alpha1.revision import RoutingPolicyRevisionStatus
from pointsman.api.v1alpha1.settings import Settings, settings
from pointsman.rollout.evidence import Evidence, Trouble

if TYPE_CHECKING:
    from pointsman.api.conditions import AcceptedReason, ClassifierReadyReason, ProgrammedReason
    from pointsman.api.v1alpha1.revision import RoutingPolicyRevisionSpec
    from pointsman.api.v1alpha1.rollout_action import RolloutActionSpec
    from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
    from pointsman.api.v1alpha1.status import FailedRevision, RolloutStatus, RoutingPolicyStatus


@dataclass(frozen=True, slots=True)
class Source:
    """Where a bundle lies and what it must be: `uri` as in the API, `namespace` for ConfigMaps."""

    namespace: str
    uri: str
    sha256: str

    @property
    def public_uri(self) -> str:
        """The URI as it may be shown."""
        return public_uri(self.uri)


def public_uri(uri: str) -> str:
    """Return a URI without what may be secret in it: user, password, query (a signed URL's)."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle says of itself."""

    tiers: tuple[str, ...]
    """Names of the tiers that it scores, cheap to strong: position i scores `spec.tiers[i]`."""
    intents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is known of a source. `bundle` is set once it was fetched and its digest was right."""

    bundle: Bundle | None = None
    failure: tuple[ClassifierReadyReason, str] | None = None
    """Why the last attempt failed; stays while the next one is under way: the status does not flicker."""
    retry_after_s: float | None = None


class Phase(StrEnum):
    """A model on one Triton server."""

    UNKNOWN = "unknown"
    """The server was not asked yet."""
    UNREACHABLE = "unreachable"
    ABSENT = "absent"
    """Not loaded, or being loaded."""
    LOST = "lost"
    """It was ready and is gone: the server was restarted, or somebody unloaded it."""
    FAILED = "failed"
    """The server refused it, or its answer to the probe was wrong; tried again."""
    READY = "ready"
    """Loaded and probed."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A model on one Triton server, or on a TritonPool as a whole."""

    url: str
    """Its place: `http://HOST:PORT`, or `pool://NAME`."""
    phase: Phase
    message: str = ""
    reason: ClassifierReadyReason | None = None
    """What is known of the cause, where the phase alone does not say it."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """What is known of the classifier that a revision needs."""

    source: Source
    artifact: Artifact
    replicas: tuple[Replica, ...]
    """At the place that the spec wants."""
    elsewhere: tuple[Replica, ...] = ()
    """At the place that is asked until that one is ready, where it is another one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A revision that exists and is this policy's."""

    name: str
    uid: str
    created: str
    spec: RoutingPolicyRevisionSpec
    resource_version: str = ""
    status: RoutingPolicyRevisionStatus = field(default_factory=RoutingPolicyRevisionStatus)
    """Its record of attempts."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A revision that names this policy but belongs to an earlier one of the same name."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class SeenAction:
    """A RolloutAction that names the policy."""

    uid: str
    name: str
    created: str
    """metadata.creationTimestamp (RFC 3339, whole seconds)."""
    spec: RolloutActionSpec
    settled: bool = False
    """Its own status already says what became of it."""


@dataclass(frozen=True, slots=True)
class Programmed:
    """What the xds servers say of the policy."""

    reason: ProgrammedReason
    message: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a policy cannot be served as it is: another one holds its hosts, or a Secret is missing."""

    reason: AcceptedReason
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One policy and all that its next step depends on."""

    policy: RoutingPolicy
    desired: str
    """Name of the revision that the spec asks for."""
    kept: tuple[Kept, ...]
    """This policy's revisions, oldest first."""
    strays: tuple[Stray, ...]
    classifier: Classifier | None
    """The desired revision's; None: it needs none."""
    stable_classifier: Classifier | None
    """The stable revision's, where it is another one than the desired."""
    programmed: Programmed
    refusal: Refusal | None = None
    """Why the policy is not accepted, if it is not."""
    warm_classifiers: tuple[Classifier, ...] = ()
    """Of the revisions in status.warm."""
    evidence: Evidence = field(default_factory=lambda: Evidence(at_s=0.0, trouble=Trouble.NOT_YET))
    """The answer to `question(policy)`."""
    actions: tuple[SeenAction, ...] = ()
    """RolloutActions of this policy."""

    @property
    def status(self) -> RoutingPolicyStatus:
        """The policy's status."""
        return self.policy.status

    @property
    def settings(self) -> Settings:
        """The rollout's settings, defaults resolved."""
        return settings(self.policy.spec)

    @property
    def live(self) -> RolloutStatus | None:
        """The rollout that is under way."""
        rollout = self.policy.status.rollout
        return rollout if rollout is not None and rollout.ended_at is None else None

    @property
    def barred(self) -> FailedRevision | None:
        """Why the desired revision is not tried: it failed, and nobody has moved on since."""
        step = self.policy.status.step
        if self.live is not None or step is None or step.name != "RolledBack":
            return None
        latest = self.policy.status.failed_revisions[:1]
        return next((failed for failed in latest if failed.revision == self.desired), None)

    def find(self, name: str | None) -> Kept | None:
        """Return this policy's revision of a name."""
        return next((kept for kept in self.kept if kept.name == name), None)

    @property
    def promoted(self) -> bool:
        """Tell whether the desired revision has all of the traffic."""
        status = self.policy.status
        shares = [(share.revision, share.weight_permille) for share in status.traffic]
        return status.stable_revision == self.desired and shares == [(self.desired, 1000)]

    @property
    def in_force(self) -> frozenset[str]:
        """Names of the revisions that must stay: what traffic, rollout, stable, warm and spec name."""
        status = self.policy.status
        names = {share.revision for share in status.traffic} | {warm.revision for warm in status.warm}
        names |= {status.stable_revision or "", status.candidate_revision or "", self.desired}
        if self.live is not None:
            names |= {self.live.candidate, self.live.incumbent}
        return frozenset(names - {""})
