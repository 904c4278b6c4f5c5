"""What the operator has seen of policies, revisions and actions: the newest version of each, parsed.

Fed by events, and by whole lists that also say what is gone. It decides nothing: a write that rests on an old
version is refused by the API server (409), and the object is then read anew.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pointsman.api.v1alpha1.revision import RoutingPolicyRevision
from pointsman.api.v1alpha1.rollout_action import RolloutAction
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.status import RoutingPolicyStatus
from pointsman.rollout.observation import SeenAction
from pointsman.rollout.revisions import owner_uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Raw = Mapping[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredRevision:
    """A revision and who controls it."""

    name: str
    uid: str
    created: str
    owner_uid: str
    version: int
    revision: RoutingPolicyRevision | None
    """None: it does not parse."""


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy; `policy` is None if it does not parse, `problem` then says why."""

    namespace: str
    name: str
    uid: str
    version: int
    resource_version: str
    generation: int
    policy: RoutingPolicy | None
    status: RoutingPolicyStatus
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StoredAction:
    """A RolloutAction that parses."""

    seen: SeenAction
    version: int


class Store:
    """Policies by `namespace/name`, revisions and actions by the `namespace/name` of the policy they name."""

    def __init__(self) -> None:
        self._policies: dict[str, StoredPolicy] = {}
        self._revisions: dict[str, dict[str, StoredRevision]] = defaultdict(dict)
        self._named: dict[tuple[str, str], str] = {}
        """(namespace, name) of each revision: the key under which it is."""
        self._actions: dict[str, dict[str, StoredAction]] = defaultdict(dict)
        """By policy, then by the action's own name."""
        self.synced = False
        """Whether a whole list of each kind was read: before, absence means nothing."""

    def policy(self, key: str) -> StoredPolicy | None:
        """Return a policy."""
        return self._policies.get(key)

    def revisions(self, key: str) -> tuple[StoredRevision, ...]:
        """Return the revisions that name a policy, whoever owns them, oldest first."""
        found = self._revisions.get(key, {}).values()
        return tuple(sorted(found, key=lambda r: (r.created, r.version, r.name)))

    def revision_named(self, namespace: str, name: str) -> StoredRevision | None:
        """Return a revision by its own name, whichever policy it names."""
        key = self._named.get((namespace, name))
        return self._revisions.get(key, {}).get(name) if key is not None else None

    def actions(self, key: str) -> tuple[SeenAction, ...]:
        """Return the RolloutActions that name a policy, oldest first."""
        found = (stored.seen for stored in self._actions.get(key, {}).values())
        return tuple(sorted(found, key=lambda seen: (seen.created, seen.uid)))

    def all_keys(self) -> frozenset[str]:
        """Return the keys of all policies, and of those that only revisions still name."""
        return frozenset(self._policies) | frozenset(key for key, held in self._revisions.items() if held)

    def policy_keys(self) -> frozenset[str]:
        """Return the keys of all policies."""
        return frozenset(self._policies)

    # -- events ----------------------------------------------------------------------------------------------

    def put_policy(self, raw: Raw) -> str:
        """Take a version of a policy, unless a newer one is here; return its key."""
        stored = _stored_policy(raw)
        key = f"{stored.namespace}/{stored.name}"
        known = self._policies.get(key)
        if known is None or stored.version >= known.version:
            self._policies[key] = stored
        return key

    def drop_policy(self, raw: Raw) -> str:
        """Take note that a policy is gone, unless one with another uid took its name; return its key."""
        metadata = raw["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        known = self._policies.get(key)
        if known is not None and known.uid == metadata.get("uid"):
            del self._policies[key]
        return key

    def forget_policy(self, key: str) -> None:
        """Take note that nothing of this name is there now (a named read said 404)."""
        self._policies.pop(key, None)

    def put_revision(self, raw: Raw) -> str:
        """Take a version of a revision; return the key of the policy that it names."""
        key, stored = _stored_revision(raw)
        namespace = raw["metadata"]["namespace"]
        known = self.revision_named(namespace, stored.name)
        if known is None or stored.version >= known.version:
            if known is not None:
                self.forget_revision(namespace, stored.name, known.uid)
            self._revisions[key][stored.name] = stored
            self._named[namespace, stored.name] = key
        return key

    def drop_revision(self, raw: Raw) -> str:
        """Take note that a revision is gone; return the key of the policy that it named."""
        key, stored = _stored_revision(raw)
        self.forget_revision(raw["metadata"]["namespace"], stored.name, stored.uid)
        return key

    def forget_revision(self, namespace: str, name: str, uid: str) -> None:
        """Take note that the revision of this uid is gone."""
        known = self.revision_named(namespace, name)
        if known is None or known.uid != uid:
            return
        key = self._named.pop((namespace, name))
        del self._revisions[key][name]
        if not self._revisions[key]:
            del self._revisions[key]

    def put_action(self, raw: Raw) -> str:
        """Take a version of a RolloutAction; return the key of the policy that it names."""
        key, stored = _stored_action(raw)
        name = raw["metadata"]["name"]
        known = self._actions[key].get(name)
        if stored is not None and (known is None or stored.version >= known.version):
            self._actions[key][name] = stored
        return key

    def drop_action(self, raw: Raw) -> str:
        """Take note that a RolloutAction is gone; return the key of the policy that it named."""
        key, _ = _stored_action(raw)
        self.forget_action(key, raw["metadata"]["name"], str(raw["metadata"].get("uid", "")))
        return key

    def forget_action(self, key: str, name: str, uid: str) -> None:
        """Take note that the RolloutAction of this uid is gone."""
        known = self._actions.get(key, {}).get(name)
        if known is not None and known.seen.uid == uid:
            del self._actions[key][name]
        if not self._actions.get(key):
            self._actions.pop(key, None)

    # -- whole lists -----------------------------------------------------------------------------------------

    def replace(
        self,
        policies: Iterable[Raw],
        revisions: Iterable[Raw],
        actions: Iterable[Raw] = (),
        *,
        listed_at: int,
    ) -> None:
        """Take whole lists read at resourceVersion `listed_at`: what they lack is gone, unless newer."""
        seen = {self.put_policy(raw) for raw in policies}
        for key, known in list(self._policies.items()):
            if key not in seen and known.version <= listed_at:
                del self._policies[key]
        present: set[tuple[str, str]] = set()
        for raw in revisions:
            present.add((self.put_revision(raw), raw["metadata"]["name"]))
        for key, held in list(self._revisions.items()):
            for name, stored in list(held.items()):
                if (key, name) not in present and stored.version <= listed_at:
                    self.forget_revision(key.partition("/")[0], name, stored.uid)
        named = {(self.put_action(raw), raw["metadata"]["name"]) for raw in actions}
        for key, held_actions in list(self._actions.items()):
            for name, stored_action in list(held_actions.items()):
                if (key, name) not in named and stored_action.version <= listed_at:
                    self.forget_action(key, name, stored_action.seen.uid)
        self.synced = True


def _version(metadata: Mapping[str, Any]) -> int:
    """Return the resourceVersion as a number: within a kind a greater one is newer (promised since 1.35)."""
    text = str(metadata.get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0


def _stored_policy(raw: Raw) -> StoredPolicy:
    metadata = raw["metadata"]
    policy: RoutingPolicy | None = None
    problem = ""
    try:
        policy = RoutingPolicy.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        problem = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return StoredPolicy(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=_version(metadata),
        resource_version=str(metadata.get("resourceVersion", "")),
        generation=int(metadata.get("generation", 0)),
        policy=policy,
        status=policy.status if policy else _status(raw),
        problem=problem,
    )


def _status(raw: Raw) -> RoutingPolicyStatus:
    try:
        return RoutingPolicyStatus.model_validate(raw.get("status") or {})
    except ValidationError:
        return RoutingPolicyStatus()


def _stored_revision(raw: Raw) -> tuple[str, StoredRevision]:
    metadata = raw["metadata"]
    revision: RoutingPolicyRevision | None = None
    try:
        revision = RoutingPolicyRevision.model_validate(raw)
    except ValidationError as error:
        words = f"revision {metadata['namespace']}/{metadata['name']} is unreadable: {error}"
        log.error(words)  # noqa: TRY400 - the words say it; a traceback adds nothing
    stored = StoredRevision(
        name=metadata["name"],
        uid=metadata["uid"],
        created=str(metadata.get("creationTimestamp", "")),
        owner_uid=owner_uid(metadata),
        version=_version(metadata),
        revision=revision,
    )
    return f"{metadata['namespace']}/{raw.get('spec', {}).get('policyRef', {}).get('name', '')}", stored


def _stored_action(raw: Raw) -> tuple[str, StoredAction | None]:
    metadata = raw["metadata"]
    key = f"{metadata['namespace']}/{raw.get('spec', {}).get('policyRef', {}).get('name', '')}"
    try:
        action = RolloutAction.model_validate(raw)
    except ValidationError as error:
        words = f"RolloutAction {metadata['namespace']}/{metadata['name']} is unreadable: {error}"
        log.error(words)  # noqa: TRY400 - the words say it; a traceback adds nothing
        return key, None
    seen = SeenAction(
        uid=str(metadata["uid"]),
        name=metadata["name"],
        created=str(metadata.get("creationTimestamp", "")),
        spec=action.spec,
        settled=action.status.effect is not None,
    )
    return key, StoredAction(seen, _version(metadata))
