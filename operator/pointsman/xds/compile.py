"""A gateway's plans, the tiers' keys and the listeners' certificates → a snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pointsman.plan.types import GatewayPlan
from pointsman.xds.marks import marked
from pointsman.xds.snapshot import Snapshot, Versioner, snapshot
from pointsman.xds.translate import certificate, names, parts, secret, secret_names, translate
from pointsman.xds.types import CLUSTER, LISTENER, ROUTE, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pointsman.plan.types import PolicyPlan, SecretName
    from pointsman.xds.front import Front
    from pointsman.xds.translate import Options


class Compiler:
    """Makes one gateway's snapshots; what did not change since the last one is not made again."""

    def __init__(
        self,
        gateway: str,
        options: Options,
        key_of: Callable[[SecretName], bytes],
        front_of: Callable[[str], Front | None] = lambda _: None,
    ) -> None:
        """`key_of` returns a tier's key; empty where there is none: then that tier alone answers 401.

        `front_of` returns what a RoutingGateway says; None: the one listener of `options`.
        """
        self._front_of = front_of
        self._gateway = gateway
        self._options = options
        self._key_of = key_of
        self._versioner = Versioner()

    def __call__(self, plans: Mapping[str, PolicyPlan]) -> Snapshot:
        """Return the snapshot of these policies; raises whatever a plan raises that cannot be translated."""
        policies = tuple(plans[key] for key in sorted(plans))
        front = self._front_of(self._gateway)
        shown = front.usable() if front is not None else None
        messages, routings = parts(GatewayPlan(self._gateway, policies, shown), self._options)
        keys = {name for policy in policies for name in secret_names(policy)}
        messages[SECRET] = {name.resource: secret(name, self._key_of(name)) for name in keys}
        if front is not None and shown is not None:
            for name in {name for listener in shown.listeners for name in listener.certificates}:
                pair = front.pairs[name]
                messages[SECRET][name.resource] = certificate(name, pair.chain, pair.key)
        whole = self._versioner.pack(messages, routings)
        routes = {
            # Marks change with every plan: only what changes with it anyway bears them.
            name: replace(route, version=marked(route.version, policies)) if name == names.ENTRY else route
            for name, route in whole.of(ROUTE).items()
        }
        return snapshot({**whole.resources, ROUTE: routes})

    def names(self, plan: PolicyPlan) -> frozenset[str]:
        """Return names of clusters, listeners and secrets that are there because of a policy."""
        messages = translate(GatewayPlan(self._gateway, (plan,)), self._options)
        found = {name for type_url in (CLUSTER, LISTENER) for name in messages[type_url]}
        return frozenset(found - {names.ENTRY} | {name.resource for name in secret_names(plan)})
