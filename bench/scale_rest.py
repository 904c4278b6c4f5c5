"""What our parts ask the API server while nothing changes: by the API server's own audit log."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bench.scale_fleet import Scene
from wait import NotInTimeError, until

QUIET_S: Final = 15.0
"""Without any change of a policy for so long, the fleet is at rest."""
PATIENCE_S: Final = 120.0
_READS: Final = frozenset({"get", "list", "watch"})


async def rest(scene: Scene, policies: int, seconds: float) -> dict[str, Any]:
    """Wait for quiet, then count the requests of some seconds; per policy and hour, Leases apart."""
    audit, fleet, say = scene.house.audit, scene.followed, scene.say
    with suppress(NotInTimeError):  # then the figures say what goes on
        await until(lambda: time.monotonic() - fleet.changed_at > QUIET_S, PATIENCE_S, 1.0)
    say(f"at rest: counting requests for {seconds:.0f} s")
    begin, begun = audit.stat().st_size, time.monotonic()
    await asyncio.sleep(seconds)
    lasted = time.monotonic() - begun
    found = requests(audit, begin)
    per = 3600 / lasted
    leases = {name: count * per for name, count in found.items() if " leases" in name}
    others = {name: count * per for name, count in found.items() if " leases" not in name}
    writes = sum(count for name, count in others.items() if name.split()[1] not in _READS)
    hourly = sum(others.values())
    say(
        f"an hour at rest: {hourly:.0f} requests = {hourly / policies:.3f} a policy; {writes:.0f} writes; "
        f"beside them {sum(leases.values()):.0f} of Leases"
    )
    for name, count in sorted(others.items(), key=lambda each: -each[1]):
        say(f"  {name}: {count:.0f}")
    return {
        "seconds": lasted,
        "per_hour": others,
        "per_policy_and_hour": hourly / policies,
        "writes_per_hour": writes,
        "leases_per_hour": sum(leases.values()),
    }


def requests(audit: Path, begin: int) -> Counter[str]:
    """Return how often each `part verb resource` is in the log, from this byte on."""
    found: Counter[str] = Counter()
    with audit.open("rb") as log:
        log.seek(begin)
        for line in log:
            if not line.endswith(b"\n"):
                break
            event = json.loads(line)
            target = event.get("objectRef") or {}
            resource = target.get("resource", event["requestURI"].partition("?")[0])
            if target.get("subresource"):
                resource += f"/{target['subresource']}"
            found[f"{event['user']['username'].removeprefix('pointsman:')} {event['verb']} {resource}"] += 1
    return found
