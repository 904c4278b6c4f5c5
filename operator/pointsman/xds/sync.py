"""From the API server's objects to the gateways' plans: caches, build, coalescing, the gate at the start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pointsman import install
from pointsman.api.conditions import AcceptedReason
from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.kube.informer import Change, informers
from pointsman.kube.resources import POLICIES, REVISIONS
from pointsman.plan.build import BuildResult, build
from pointsman.plan.memory import Memory
from pointsman.plan.types import Finding, FrontPlan
from pointsman.xds.coalesce import MOST_S, QUIET_S, Coalescer
from pointsman.xds.front import Front
from pointsman.xds.gateways import Gateways
from pointsman.xds.secrets import SecretCache, allowing
from pointsman.xds.translate import secret_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pointsman.kube.client import KubeClient
    from pointsman.plan.types import GatewayPlan, PolicyPlan, SecretName
    from pointsman.xds.hub import Hub

log = logging.getLogger(__name__)

_LEAVING_S = 1.0
"""How often it is looked whether the Envoys of a deleted gateway have gone."""
_SHOWN = 3
"""Most Secrets that a message has commands for."""
_NOTHING = Front(FrontPlan((), 2**24), {})
"""What the Envoys of a gateway that nobody knows show: no listener."""


class Sync:
    """Keeps the hub's gateways at what the API server says; `changed` is told when the state may be new."""

    def __init__(
        self,
        client: KubeClient,
        group: asyncio.TaskGroup,
        changed: Callable[[], None],
        *,
        quiet_s: float = QUIET_S,
        most_s: float = MOST_S,
        system_namespace: str | None = None,
        namespaces: Sequence[str] = (),
    ) -> None:
        """With `system_namespace`, gateways are the RoutingGateways in it, and no others.

        `namespaces`: whose policies are served; empty: of all.
        """
        self._group = group
        self._changed = changed
        self._coalescing = quiet_s, most_s
        self._policies = informers(client, POLICIES, namespaces, self._policy)
        self._revisions = informers(client, REVISIONS, namespaces, self._revision)
        self._secrets = SecretCache(client, group, self._secret)
        self._gateways: Gateways | None = None
        if system_namespace is not None:
            self._gateways = Gateways(client, group, system_namespace, self._secrets, self._touch)
        self._fronts: dict[str, Front] = {}
        self._wake = asyncio.Event()
        self._stale = self._new_keys = False
        self._touched_at: float | None = None
        self._parsed: dict[str, RoutingPolicy] = {}
        self._frozen: dict[str, RoutingPolicyRevision] = {}
        self._broken: dict[str, Finding] = {}
        self._built = BuildResult({}, ())
        self._memory = Memory()
        self._last: dict[str, PolicyPlan] = {}
        self._coalescers: dict[str, Coalescer] = {}
        self._since: dict[str, float] = {}
        self._held: dict[str, float] = {}
        """Gateways that wait for their Envoys, and until when at most."""
        self.synced = False

    def key(self, name: SecretName) -> bytes:
        """Return a tier's key; empty if there is none."""
        return self._secrets.value(name) or b""

    def front(self, gateway: str) -> Front | None:
        """Return what a gateway's Envoys show; None where there are no RoutingGateways."""
        return None if self._gateways is None else self._fronts.get(gateway, _NOTHING)

    @property
    def unusable_certificates(self) -> int:
        """Number of certificates of listeners that are missing, forbidden or garbled."""
        return self._gateways.troubled if self._gateways is not None else 0

    # -- the caches' news ------------------------------------------------------------------------------------

    def _policy(self, change: Change) -> None:
        self._broken.pop(change.key, None)
        if change.new is None:
            self._parsed.pop(change.key, None)
        else:
            try:
                self._parsed[change.key] = RoutingPolicy.model_validate(change.new)
            except ValidationError as error:
                # What was read last stays in force. The CRD lets this through only after an upgrade.
                words = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
                self._broken[change.key] = Finding(change.key, AcceptedReason.INVALID_SPEC, words)
        self._touch()

    def _revision(self, change: Change) -> None:
        self._frozen.pop(change.key, None)
        if change.new is not None:
            try:
                self._frozen[change.key] = RoutingPolicyRevision.model_validate(change.new)
            except ValidationError:
                log.exception("revision %s cannot be read", change.key)
        self._touch()

    def _touch(self) -> None:
        self._stale = True
        self._touched_at = self._touched_at or time.monotonic()
        self._wake.set()

    def moved(self) -> None:
        """Be told that a gateway's Envoys have answered: what waited for it may go."""
        if self._held:
            self._wake.set()

    def _secret(self) -> None:
        self._new_keys = True
        self._wake.set()

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self, hub: Hub) -> None:
        """Serve nothing before everything is known; from then on follow every change."""
        for informer in (*self._policies, *self._revisions):
            self._group.create_task(informer.run())
        for informer in (*self._policies, *self._revisions):
            await informer.synced.wait()
        if self._gateways is not None:
            await self._gateways.sync()
        self._rebuild(hub)
        while not self._all_known():
            self._wake.clear()
            await self._wake.wait()
        self._show(hub)
        self._publish(hub, time.monotonic())
        hub.open()
        self.synced = True
        log.info("synced: %d policies on %d gateways", len(self._parsed), len(self._built.gateways))
        while True:
            self._changed()
            due = self._due()
            with contextlib.suppress(TimeoutError):
                pause = None if due is None else max(0.0, due - time.monotonic())
                await asyncio.wait_for(self._wake.wait(), pause)
            self._wake.clear()
            if self._stale or (self._gateways is not None and self._gateways.leaving):
                self._rebuild(hub)
            shown = self._show(hub)
            if self._new_keys and not shown:
                hub.refresh()
            self._new_keys = False
            self._publish(hub, time.monotonic())

    def _all_known(self) -> bool:
        keys = [name for plan in self._last.values() for name in secret_names(plan)]
        certificates = self._gateways.certificates() if self._gateways is not None else ()
        return all(self._secrets.known(name) for name in (*keys, *certificates))

    def _show(self, hub: Hub) -> bool:
        """Have Envoys show what RoutingGateways and certificates say now; tell whether that is new."""
        if self._gateways is None:
            return False
        self._gateways.read_certificates()
        before, self._fronts = self._fronts, self._gateways.shown()
        if before == self._fronts:
            return False
        hub.refresh()
        return True

    def _rebuild(self, hub: Hub) -> None:
        """Plan what has changed anew, and who is served where."""
        self._stale = False
        before = self._built.gateways
        fleet = self._gateways.fleet(hub.connected) if self._gateways is not None else None
        self._built = build(list(self._parsed.values()), self._frozen, self._last, fleet, self._memory)
        gateways = self._built.gateways
        self._last = {plan.key: plan for gateway in gateways.values() for plan in gateway.policies}
        # What is served now may be an older plan with a key of its own.
        plans = (*self._last.values(), *hub.plans())
        keys = [name for plan in plans for name in secret_names(plan)]
        self._secrets.need([*keys, *(self._gateways.certificates() if self._gateways is not None else ())])
        since, self._touched_at = self._touched_at, None
        for name in gateways.keys() | before.keys():
            if since is not None and gateways.get(name) != before.get(name):
                self._since.setdefault(name, since)

    def _publish(self, hub: Hub, now: float) -> None:
        """Hand every gateway what is due to be published, unless its Envoys are behind."""
        self._held.clear()
        for name in self._built.gateways.keys() | self._coalescers.keys():
            coalescer = self._coalescers.setdefault(name, Coalescer(*self._coalescing))
            coalescer.offer(self._ready_plans(self._built.gateways.get(name), coalescer.published), now)
            held = hub.held_until(name, now)
            if held is not None and coalescer.due is not None:
                self._held[name] = held
                continue
            taken = coalescer.take(now)
            if taken is not None:
                plans, urgent = taken
                hub.desire(name, plans, urgent, self._since.pop(name, None))
            if name not in self._built.gateways and coalescer.due is None:
                del self._coalescers[name]

    def _ready_plans(
        self, gateway: GatewayPlan | None, published: Mapping[str, PolicyPlan]
    ) -> dict[str, PolicyPlan]:
        """Return plans whose keys have been read; the others stay as they are published."""
        ready: dict[str, PolicyPlan] = {}
        for plan in gateway.policies if gateway else ():
            if all(self._secrets.known(name) for name in secret_names(plan)):
                ready[plan.key] = plan
            elif plan.key in published:
                ready[plan.key] = published[plan.key]
        return ready

    def _due(self) -> float | None:
        due = [
            max(coalescer.due, self._held.get(name, 0.0))
            for name, coalescer in self._coalescers.items()
            if coalescer.due is not None
        ]
        if self._gateways is not None and self._gateways.leaving:
            due.append(time.monotonic() + _LEAVING_S)
        return min(due, default=None)

    # -- what is so ------------------------------------------------------------------------------------------

    def state(self, hub: Hub) -> dict[str, Any]:
        """Return `/v1/state` without its version."""
        if not self.synced:
            return {"synced": False, "gateways": {}}
        gateways = hub.state()
        for plan in self._last.values():
            wanting = self._wanting(plan)
            if wanting is not None:
                self._note(gateways, wanting)
        for name, listeners in (self._gateways.state() if self._gateways is not None else {}).items():
            gateways.setdefault(name, {"envoys": 0, "policies": {}})["listeners"] = listeners
        for finding in (*self._built.findings, *self._broken.values()):
            self._note(gateways, finding)
        return {"synced": True, "gateways": gateways}

    def _wanting(self, plan: PolicyPlan) -> Finding | None:
        """Return what a policy's tiers lack of keys: a right to read them, or the keys."""
        names = sorted(secret_names(plan), key=lambda n: n.resource)
        forbidden = [name for name in names if self._secrets.forbidden(name)]
        if forbidden:
            secrets = list(dict.fromkeys(name.name for name in forbidden))
            system = self._gateways.namespace if self._gateways is not None else install.SYSTEM_NAMESPACE
            command = allowing(plan.namespace, secrets[:_SHOWN], system)
            which = f"Secret {', '.join(secrets)} of namespace {plan.namespace}"
            words = f"tiers: {which} may not be read; until it may, the tier answers 401. Allow it: {command}"
            return Finding(plan.key, AcceptedReason.SECRET_FORBIDDEN, words)
        missing = [n for n in names if self._secrets.known(n) and self._secrets.value(n) is None]
        if not missing:
            return None
        first = missing[0]
        words = (
            f"tiers: Secret {first.namespace}/{first.name} has no key {first.key}, or is not there; "
            "create it, until then the tier answers 401"
        )
        return Finding(plan.key, AcceptedReason.SECRET_NOT_FOUND, words)

    def _note(self, gateways: dict[str, Any], finding: Finding) -> None:
        """Put a finding on its policy's entry, made if nothing of it is served."""
        found = (informer.store.get(finding.policy) for informer in self._policies)
        raw = next((policy for policy in found if policy is not None), None)
        if raw is None:
            return
        name = str(raw.get("spec", {}).get("gatewayRef", {}).get("name", ""))
        gateway = gateways.setdefault(name, {"envoys": 0, "policies": {}})
        entry = gateway["policies"].get(finding.policy, {"plan": None, "traffic": []})
        gateway["policies"][finding.policy] = entry | {
            "generation": int(raw["metadata"].get("generation", 0)),
            "programmed": False,
            "reason": str(finding.reason),
            "message": finding.message,
        }
