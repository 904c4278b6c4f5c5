"""Each case is loaded by the real Envoy, over ADS, one after the other in one process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from pointsman.lab.pki import Authority
from pointsman.lab.process import free_port
from pointsman.xds.compile import Compiler
from pointsman.xds.hub import Hub
from pointsman.xds.metrics import XdsMetrics
from pointsman.xds.server import server
from pointsman.xds.translate import Options
from pointsman.xds.types import CLUSTER, LISTENER, ROUTE, SECRET
from wait import until
from xds_kit import TIMING, Xds, admin, envoy, stat

from .cases import CASES, built

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pointsman.lab.envoy import Envoy
    from pointsman.plan.types import PolicyPlan, SecretName

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

Loaded = set[tuple[str, str, str]]
"""(type URL, name, version)."""


def key_of(name: SecretName) -> bytes:
    """Return a key for every tier that wants one."""
    return name.resource.encode()


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running Envoy, the server that it asks, and how that server translates."""

    xds: Xds
    envoy: Envoy
    options: Options

    def wanted(self, plans: Mapping[str, PolicyPlan]) -> Loaded:
        """Return what Envoy shall have for these plans."""
        whole = Compiler(self.xds.name, self.options, key_of)(plans)
        return {
            (kind, name, resource.version)
            for kind in (CLUSTER, LISTENER, ROUTE, SECRET)
            for name, resource in whole.of(kind).items()
        }

    async def loaded(self) -> Loaded:
        """Return what Envoy says it has; resources that it refused are not among them."""
        found: Loaded = set()
        for part in json.loads(await admin(self.envoy, "/config_dump"))["configs"]:
            found |= {
                *((CLUSTER, *_named(c, "cluster")) for c in part.get("dynamic_active_clusters", ())),
                # Envoy took it and asks DNS for its endpoints
                *((CLUSTER, *_named(c, "cluster")) for c in part.get("dynamic_warming_clusters", ())),
                *((ROUTE, *_named(r, "route_config")) for r in part.get("dynamic_route_configs", ())),
                *((SECRET, s["name"], s["version_info"]) for s in part.get("dynamic_active_secrets", ())),
            }
            for listener in part.get("dynamic_listeners", ()):
                state = listener.get("active_state") or listener.get("warming_state")
                if state is not None:
                    found.add((LISTENER, listener["name"], state["version_info"]))
        return found


def _named(entry: dict[str, Any], inner: str) -> tuple[str, str]:
    return entry[inner]["name"], entry["version_info"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Run an Envoy that takes its configuration from our server."""
    home = tmp_path_factory.mktemp("golden")
    authority = Authority(home / "pki")
    entry, address = (f"127.0.0.1:{free_port()}" for _ in range(2))
    options = Options(entry_address=entry, ca_file=str(authority.pair.cert))
    registry = CollectorRegistry()
    hub = Hub(options, key_of, XdsMetrics(registry), lambda: None, TIMING)
    hub.open()
    running = server(hub, address, None)
    await running.start()
    xds = Xds(hub, address, entry, registry, {}, running)
    hub.desire(xds.name, {})
    async with envoy(xds, home) as started:
        yield Fleet(xds, started, options)
    await running.stop(0)


@pytest.mark.parametrize("case", CASES)
async def test_envoy_takes_the_case(fleet: Fleet, case: str) -> None:
    """Envoy has every resource of the case in the version that was sent, and refused none."""
    for gateway in built(case).gateways.values():
        plans = {plan.key: plan for plan in gateway.policies}
        wanted = fleet.wanted(plans)
        fleet.xds.hub.desire(fleet.xds.name, plans)

        async def has_it(wanted: Loaded = wanted) -> bool:
            return await fleet.loaded() == wanted

        await until(has_it, 20, 0.05, f"{case}: Envoy has the gateway {gateway.gateway}")
        await until(partial(fleet.xds.programmed, *plans), 10, what=f"{case}: acknowledged")
    assert fleet.xds.count("pointsman_xds_nacks_total") == 0
    assert await stat(fleet.envoy, "runtime.deprecated_feature_use") == 0
