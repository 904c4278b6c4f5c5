"""All gateways of a server: made when policies or an Envoy need one, dropped when neither does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pointsman.xds.compile import Compiler
from pointsman.xds.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pointsman.plan.types import PolicyPlan, SecretName
    from pointsman.xds.delta import Timing
    from pointsman.xds.front import Front
    from pointsman.xds.gateway import Envoy
    from pointsman.xds.metrics import XdsMetrics
    from pointsman.xds.translate import Options

MOST_STREAMS: Final = 1_000
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Refused(Exception):  # noqa: N818 - it is an answer
    """An Envoy is not taken in; the text says why."""


class Hub:
    """The gateways by name. Nothing is served before `open`."""

    def __init__(
        self,
        options: Options,
        key_of: Callable[[SecretName], bytes],
        metrics: XdsMetrics,
        changed: Callable[[], None],
        timing: Timing | None = None,
        *,
        front_of: Callable[[str], Front | None] = lambda _: None,
    ) -> None:
        """`front_of` returns what a RoutingGateway says; None: there are none, every name is a gateway."""
        self._front_of = front_of
        self._options = options
        self._key_of = key_of
        self._metrics = metrics
        self._changed = changed
        self._timing = timing
        self._gateways: dict[str, Gateway] = {}
        self.opened = False

    def __getitem__(self, name: str) -> Gateway:
        """Return a gateway, made if there is none yet."""
        if name not in self._gateways:
            compiler = Compiler(name, self._options, self._key_of, self._front_of)
            self._gateways[name] = Gateway(name, compiler, self._metrics, self._changed, self._timing)
            if self.opened:
                self._gateways[name].desire({})
        return self._gateways[name]

    def open(self) -> None:
        """Serve also gateways without a policy, from now on: the caches have synced."""
        self.opened = True
        for gateway in self._gateways.values():
            if not gateway.desired:
                gateway.desire({})

    def connect(self, name: str, node: str, wake: Callable[[], None]) -> tuple[Gateway, Envoy]:
        """Take in an Envoy; `Refused` if its node.cluster is no gateway's name, or if there are too many."""
        if not _NAME.fullmatch(name):
            raise Refused(f"node.cluster is {name!r}; set it to the gateway's name (a DNS label)")
        if sum(len(gateway.envoys) for gateway in self._gateways.values()) >= MOST_STREAMS:
            raise Refused(f"{MOST_STREAMS} Envoys are connected already; run more xds servers")
        gateway = self[name]
        return gateway, gateway.connect(node, wake)

    def disconnect(self, gateway: Gateway, envoy: Envoy) -> None:
        """Let an Envoy go."""
        gateway.disconnect(envoy)
        self._tidy(gateway.name)

    def desire(
        self,
        name: str,
        plans: Mapping[str, PolicyPlan],
        urgent: Iterable[str] = (),
        since: float | None = None,
    ) -> None:
        """Serve these plans on a gateway."""
        self[name].desire(plans, urgent, since)
        self._tidy(name)

    def held_until(self, name: str, now: float) -> float | None:
        """Return when a gateway may be given new plans; None: now."""
        return self._gateways[name].held_until(now) if name in self._gateways else None

    def connected(self, name: str) -> bool:
        """Tell whether an Envoy of a gateway is here."""
        return name in self._gateways and bool(self._gateways[name].envoys)

    def refresh(self) -> None:
        """Send keys, certificates and listeners that have changed."""
        for gateway in self._gateways.values():
            gateway.refresh()

    def plans(self) -> Iterator[PolicyPlan]:
        """Yield every plan that is served, or that a policy may return to."""
        for gateway in self._gateways.values():
            yield from gateway.plans()

    def _tidy(self, name: str) -> None:
        gateway = self._gateways[name]
        if not gateway.envoys and not gateway.desired:
            del self._gateways[name]
            self._metrics.forget(name)

    def state(self) -> dict[str, Any]:
        """Return `gateways` of `/v1/state`."""
        return {
            name: {
                "envoys": len(gateway.envoys),
                "policies": gateway.told(),
            }
            for name, gateway in sorted(self._gateways.items())
        }
