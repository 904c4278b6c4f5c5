"""RoutingGateways as the API server has them, with their certificates: what each gateway's Envoys show."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pointsman.api.v1alpha1.routing_gateway import RoutingGateway
from pointsman.kube.informer import Change, Informer
from pointsman.kube.resources import GATEWAYS, NAMESPACES
from pointsman.plan.fleet import Fleet, front
from pointsman.plan.types import CertificateName, FrontPlan, ListenerPlan
from pointsman.xds.front import BadCertificateError, Front, Pair, pair
from pointsman.xds.secrets import FORBIDDEN, allowing

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.kube.client import KubeClient, Object
    from pointsman.xds.secrets import SecretCache

log = logging.getLogger(__name__)


class Gateways:
    """Keeps what RoutingGateways of the system namespace say; `touched` is called when it may be new."""

    def __init__(
        self,
        client: KubeClient,
        group: asyncio.TaskGroup,
        namespace: str,
        secrets: SecretCache,
        touched: Callable[[], None],
    ) -> None:
        self.namespace = namespace
        self._group = group
        self._secrets = secrets
        self._touched = touched
        self._informer = Informer(client, GATEWAYS, namespace=namespace, on_change=self._gateway)
        self._namespaces = Informer(
            client,
            NAMESPACES,
            on_change=lambda _: touched(),
            on_error=self._namespaces_failed,
            reduce=_labels_only,
        )
        self._refused = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._parsed: dict[str, RoutingGateway] = {}
        self._leaving: dict[str, RoutingGateway] = {}
        self._fronts: dict[str, FrontPlan] = {}
        self._pairs: dict[CertificateName, Pair] = {}
        self._problems: dict[CertificateName, str] = {}

    # -- the caches' news ------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Return when all gateways are known and, if one needs them, the labels of all namespaces."""
        self._group.create_task(self._informer.run(), name="gateways")
        await self._informer.synced.wait()
        if self._watching is not None:
            waits = [asyncio.create_task(e.wait()) for e in (self._namespaces.synced, self._refused)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    def _namespaces_failed(self) -> None:
        """Take a right that is missing for an answer: no namespace is let in by its labels."""
        error = self._namespaces.error
        if error is not None and error.status == FORBIDDEN:
            self._refused.set()
        self._touched()

    def _gateway(self, change: Change) -> None:
        name = change.key.rpartition("/")[2]
        if change.new is None:
            gone = self._parsed.pop(name, None)
            if gone is not None:
                self._leaving[name] = gone
        else:
            try:
                self._parsed[name] = RoutingGateway.model_validate(change.new)
                self._leaving.pop(name, None)
            except ValidationError:
                # What was read last stays. The CRD lets this through only after an upgrade.
                log.exception("RoutingGateway %s cannot be read; apply it again", change.key)
        if self._watching is None and Fleet(self.namespace, self._parsed).needs_labels:
            self._watching = self._group.create_task(self._namespaces.run(), name="namespaces")
        self._touched()

    def fleet(self, connected: Callable[[str], bool]) -> Fleet:
        """Return what there is; a deleted gateway leaves when its last Envoy has."""
        for name in [name for name in self._leaving if not connected(name)]:
            del self._leaving[name]
        fleet = Fleet(self.namespace, dict(self._parsed), dict(self._leaving), self._labels())
        self._fronts = fleet.fronts()
        return fleet

    @property
    def leaving(self) -> bool:
        """Tell whether the Envoys of a deleted gateway are waited for."""
        return bool(self._leaving)

    def _labels(self) -> dict[str, dict[str, str]] | None:
        if self._watching is None or not (self._namespaces.synced.is_set() or self._refused.is_set()):
            return None
        found = self._namespaces.store.values()
        return {obj["metadata"]["name"]: obj["metadata"].get("labels") or {} for obj in found}

    # -- certificates ----------------------------------------------------------------------------------------

    def certificates(self) -> set[CertificateName]:
        """Return the Secrets that listeners name."""
        plans = [front(each) for each in (*self._parsed.values(), *self._leaving.values())]
        return {name for plan in plans for each in plan.listeners for name in each.certificates}

    def read_certificates(self) -> None:
        """Take in what the Secrets hold now; one that is gone or garbled leaves the last good one in use."""
        wanted = self.certificates()
        self._pairs = {name: pair for name, pair in self._pairs.items() if name in wanted}
        before, self._problems = self._problems, {}
        for name in sorted(wanted, key=lambda n: n.resource):
            data = self._secrets.data(name)
            if self._secrets.forbidden(name):
                command = allowing(name.namespace, [name.name], self.namespace)
                self._problems[name] = f"Secret {name.name} may not be read; {command}"
            elif data is None:
                self._problems[name] = f"Secret {name.name} is not there; create it"
            else:
                try:
                    self._pairs[name] = pair(data)
                except BadCertificateError as error:
                    self._problems[name] = f"Secret {name.name} {error}"
        for name, problem in self._problems.items():
            if before.get(name) != problem:
                log.warning("a listener's certificate: %s", problem)

    def shown(self) -> dict[str, Front]:
        """Return what every gateway's Envoys show now, by gateway."""
        return {name: Front(plan, dict(self._pairs)) for name, plan in self._fronts.items()}

    # -- what is so ------------------------------------------------------------------------------------------

    @property
    def troubled(self) -> int:
        """Number of certificates that are missing, forbidden or garbled."""
        return len(self._problems)

    def state(self) -> dict[str, dict[str, Any]]:
        """Return `listeners` of `/v1/state`, by gateway and listener: is it served, and what is wrong."""
        return {
            gateway: {each.name: self._listener(each) for each in plan.listeners}
            for gateway, plan in self._fronts.items()
        }

    def _listener(self, listener: ListenerPlan) -> dict[str, Any]:
        problems = [self._problems[name] for name in listener.certificates if name in self._problems]
        there = any(name in self._pairs for name in listener.certificates)
        return {
            "port": listener.port,
            "served": there or not listener.certificates,
            "message": "; ".join(problems),
        }


def _labels_only(obj: Object) -> Object:
    kept = ("name", "labels", "resourceVersion")
    return {"metadata": {key: obj["metadata"][key] for key in kept if key in obj["metadata"]}}
