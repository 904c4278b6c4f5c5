"""Each case is loaded by the real Envoy, over ADS, one after the other in one process."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pointsman.lab.pki import Authority
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.xds.bootstrap import ShadowListener
from pointsman.xds.compile import Compiler
from pointsman.xds.front import Front, pair
from pointsman.xds.translate import Options, secret_names
from pointsman.xds.types import CLUSTER, LISTENER, ROUTE, SECRET
from wait import until
from xds_kit import Address, Xds, admin, envoy, stat, xds_server

from .cases import CASES, built

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pointsman.lab.envoy import Envoy
    from pointsman.plan.types import FrontPlan, PolicyPlan, SecretName
    from pointsman.xds.front import Pair

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

Loaded = set[tuple[str, str, str]]
"""(type URL, name, version)."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running Envoy, the server that it asks, how that server translates, and a listener's certificate."""

    xds: Xds
    envoy: Envoy
    options: Options
    pair: Pair

    def key_of(self, name: SecretName) -> bytes:
        """Return a tier's key."""
        return self.xds.keys.get(name.resource, b"")

    def show(self, front: FrontPlan | None) -> None:
        """Have Envoy bind what a RoutingGateway says, at ports that are free."""
        self.xds.fronts.clear()
        if front is not None:
            listeners = [replace(each, port=free_port()) for each in front.listeners]
            pairs = {name: self.pair for each in listeners for name in each.certificates}
            self.xds.fronts[self.xds.name] = Front(replace(front, listeners=tuple(listeners)), pairs)
        self.xds.hub.refresh()

    def wanted(self, plans: Mapping[str, PolicyPlan]) -> Loaded:
        """Return what Envoy shall have for these plans."""
        whole = Compiler(self.xds.name, self.options, self.key_of, self.xds.fronts.get)(plans)
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
    files = authority.leaf("front", "front", hosts=["llm.example.com"])
    shown = pair({"tls.crt": files.cert.read_bytes(), "tls.key": files.key.read_bytes()})
    options = Options(ca_file=str(authority.pair.cert))
    async with xds_server(Address(), options=options) as xds:
        xds.desire()
        shadow = ShadowListener(f"{LOCALHOST}:{free_port()}")
        async with envoy(xds, home, shadow=shadow) as started:
            yield Fleet(xds, started, replace(options, entry_address=xds.entry), shown)


@pytest.mark.parametrize("case", CASES)
async def test_envoy_takes_the_case(fleet: Fleet, case: str) -> None:
    """Envoy has every resource of the case in the version that was sent, and refused none."""
    for gateway in built(case).gateways.values():
        plans = {plan.key: plan for plan in gateway.policies}
        fleet.xds.keys |= {name.resource: b"sk-test" for p in plans.values() for name in secret_names(p)}
        fleet.show(gateway.front)
        wanted = fleet.wanted(plans)
        fleet.xds.desire(*plans.values())

        async def has_it(wanted: Loaded = wanted) -> bool:
            return await fleet.loaded() == wanted

        await until(has_it, 20, 0.05, f"{case}: Envoy has the gateway {gateway.gateway}")
        await until(partial(fleet.xds.programmed, *plans), 10, what=f"{case}: acknowledged")
    assert fleet.xds.count("pointsman_xds_nacks_total") == 0
    assert await stat(fleet.envoy, "runtime.deprecated_feature_use") == 0
