"""The real Prometheus (2.42 or later), scraping the lab's parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pointsman.lab import binaries
from pointsman.lab.checks import http_ok
from pointsman.lab.process import LOCALHOST, Server, Spec, free_port

SCRAPE_INTERVAL_S: Final = 5
_TIMEOUT_S: Final = 4


@dataclass(frozen=True, slots=True)
class Target:
    """Where a job's metrics are."""

    address: str
    path: str = "/metrics"
    interval_s: int = SCRAPE_INTERVAL_S


class Prometheus(Server):
    """One Prometheus; `targets` by job name."""

    def __init__(
        self,
        state_dir: Path,
        targets: Mapping[str, Target],
        *,
        port: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        address = f"{LOCALHOST}:{port or free_port()}"
        self.url = f"http://{address}"
        home = state_dir.resolve() / "prometheus"
        home.mkdir(parents=True, exist_ok=True)
        config = home / "prometheus.yml"
        config.write_text(json.dumps(_config(targets), indent=1), encoding="utf-8")  # JSON is YAML
        command = [
            str(binaries.ensure("prometheus", say)),
            f"--config.file={config}",
            f"--storage.tsdb.path={home / 'data'}",
            "--storage.tsdb.retention.time=2d",
            f"--web.listen-address={address}",
            "--log.level=warn",
        ]
        log = state_dir.resolve() / "log" / "prometheus.log"
        super().__init__(Spec("prometheus", command, log, address, lambda: http_ok(address, "/-/ready")))


def _config(targets: Mapping[str, Target]) -> dict[str, Any]:
    return {
        "global": {"evaluation_interval": f"{SCRAPE_INTERVAL_S}s"},
        "scrape_configs": [
            {
                "job_name": job,
                "metrics_path": target.path,
                "scrape_interval": f"{target.interval_s}s",
                "scrape_timeout": f"{min(target.interval_s, _TIMEOUT_S)}s",
                "static_configs": [{"targets": [target.address]}],
            }
            for job, target in targets.items()
        ],
    }
