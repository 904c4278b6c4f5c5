"""The evaluator as a process of its own, with policies from a file instead of an API server.

Run: `python evaluator_process.py SETTINGS.json`, keys as in `Settings`; `policies` and `revisions` are lists
of objects.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from pointsman.evaluator.member import Terms
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.serve import Settings, serve
from pointsman.evaluator.store.address import address
from pointsman.evaluator.tls import TLSFiles
from pointsman.logs import configure


def main() -> None:
    """Serve until told to stop."""
    wanted: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    objects, revisions = wanted.pop("policies"), wanted.pop("revisions", [])
    tls = wanted.pop("tls", None)
    terms = wanted.pop("terms", None)

    async def follow(policies: Policies, _registry: CollectorRegistry) -> None:
        for obj in revisions:
            policies.put_revision(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}", obj)
        for obj in objects:
            policies.put_policy(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}", obj)
        policies.synced.set()
        await asyncio.Event().wait()

    settings = Settings(
        **wanted | {"store": address(wanted["store"]), "envoy_admin": tuple(wanted["envoy_admin"])},
        terms=Terms(*terms) if terms else None,
        tls=TLSFiles(*map(Path, tls)) if tls else None,
    )
    configure("evaluator")
    asyncio.run(serve(settings, follow_policies=follow))


if __name__ == "__main__":
    main()
