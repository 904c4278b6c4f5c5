"""What a leader runs in the system namespace: certificates, gateways, pools. One cache, one queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pointsman.certificates.rotation import Terms
from pointsman.certificates.x509s import new_key
from pointsman.controllers.certificates import Certificates
from pointsman.controllers.gateways import Gateways
from pointsman.controllers.objects import Objects
from pointsman.controllers.pools import Pools
from pointsman.controllers.queue import WorkQueue
from pointsman.controllers.reconciler import tell_failure
from pointsman.gateways.installation import Installation
from pointsman.kube.errors import Conflict, NotFound
from pointsman.pools.pod_template import Images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry

    from pointsman.clock import Clock
    from pointsman.controllers.store import Store
    from pointsman.controllers.tritons import Tritons
    from pointsman.kube.client import KubeClient
    from pointsman.kube.events import Recorder
    from pointsman.kube.informer import Change
    from pointsman.kube.resources import Resource

_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the installation lies, and what it is made of."""

    namespace: str
    certificates: Literal["self", "external"] = "self"
    """Who makes the parts' certificates: we, or somebody else (cert-manager)."""
    image: str = ""
    """Of our own parts."""
    envoy_image: str = ""
    triton_image: str = ""
    terms: Terms = field(default_factory=Terms)
    keys: Callable[[], Any] = new_key
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets in the namespace with which the images are pulled."""


class Controller(Protocol):
    """Reconciles objects of one kind; queue keys are `<kind>:<name>`."""

    kind: str

    def first(self) -> Iterable[str]:
        """Return the names to look at even if nothing ever changes."""

    def concerned(self, resource: Resource, change: Change) -> Iterable[str]:
        """Return the names that a change is about; called in the loop's thread, must not block."""

    async def reconcile(self, name: str) -> float | None:
        """Make one object right; return the seconds until the next look, None: on a change. May raise."""


class Infrastructure:
    """Runs the controllers until cancelled; one that fails for an object holds no other up."""

    def __init__(
        self,
        client: KubeClient,
        settings: Settings,
        *,
        recorder: Recorder,
        registry: CollectorRegistry,
        clock: Clock,
        store: Store,
        tritons: Tritons,
        complete: Callable[[], bool],
    ) -> None:
        """`complete`: whether every policy has said which models it wants on `tritons`."""
        self.queue = WorkQueue(workers=_WORKERS, on_error=tell_failure)
        self.objects = Objects(client, settings.namespace, self._changed)
        self._store = store
        secrets = settings.pull_secrets
        where = Installation(settings.namespace, settings.image, settings.envoy_image, secrets)
        controllers: list[Controller] = [
            Certificates(
                client,
                self.objects,
                registry,
                clock,
                made_by_us=settings.certificates == "self",
                terms=settings.terms,
                keys=settings.keys,
            ),
            Gateways(
                client,
                self.objects,
                where,
                recorder=recorder,
                registry=registry,
                clock=clock,
                policies=self._policies_of_gateway,
            ),
            Pools(
                client,
                self.objects,
                Images(settings.image, settings.triton_image, secrets),
                tritons,
                complete=complete,
                recorder=recorder,
                registry=registry,
                clock=clock,
            ),
        ]
        tritons.look = lambda pool: self.queue.add(f"{Pools.kind}:{pool}")
        self.controllers = {controller.kind: controller for controller in controllers}
        self.ready = asyncio.Event()
        """Set once everything was read."""

    async def run(self) -> None:
        """Read everything, then reconcile for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.objects.run(), name="objects")
            await self.objects.synced()
            self.ready.set()
            for controller in self.controllers.values():
                for name in controller.first():
                    self.queue.add(f"{controller.kind}:{name}")
            group.create_task(self.queue.run(self._reconcile), name="queue")

    async def _reconcile(self, key: str) -> float | None:
        kind, _, name = key.partition(":")
        try:
            return await self.controllers[kind].reconcile(name)
        except (Conflict, NotFound):
            # what we knew is old; the watch is about to tell
            return 0.1

    def _changed(self, resource: Resource, change: Change) -> None:
        for controller in self.controllers.values():
            for name in controller.concerned(resource, change):
                self.queue.add(f"{controller.kind}:{name}")

    def _policies_of_gateway(self, gateway: str) -> int:
        """Return how many policies name a gateway."""
        stored = (self._store.policy(key) for key in self._store.policy_keys())
        names = Counter(s.policy.spec.gateway_ref.name for s in stored if s is not None and s.policy)
        return names[gateway]
