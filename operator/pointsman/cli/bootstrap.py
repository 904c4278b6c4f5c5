"""`pointsman bootstrap`: writes what an Envoy of a gateway starts with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pointsman.address import is_ip, split_address
from pointsman.cli.parameters import ADDRESS

if TYPE_CHECKING:
    from pointsman.xds.bootstrap import Tls

_EXAMPLE = """\b
Example, as the init container of an Envoy's pod:
  pointsman bootstrap --gateway default --node-id "$POD_NAME" --admin-address 127.0.0.1:9901 \\
    --stats-address 0.0.0.0:9902 --shadow-address 0.0.0.0:9903 \\
    --xds pointsman-xds.pointsman-system.svc:18000 --xds-name pointsman-xds.pointsman-system.svc \\
    --access-log pointsman-evaluator.pointsman-system.svc:9081 \\
    --capture pointsman-evaluator.pointsman-system.svc:9082 \\
    --evaluator-name pointsman-evaluator.pointsman-system.svc \\
    --tls-dir /etc/pointsman/tls --out /etc/envoy/bootstrap.json
"""


@click.command(name="bootstrap", epilog=_EXAMPLE)
@click.option("--gateway", required=True, help="Name of the RoutingGateway: Envoy's node.cluster.")
@click.option(
    "--node-id",
    required=True,
    help="Must be new at each start; where this file outlives one, start envoy with --service-node too.",
)
@click.option(
    "--admin-address", type=ADDRESS, default="127.0.0.1:9901", show_default=True, help="On the loopback."
)
@click.option("--stats-address", type=ADDRESS, help="GET /ready, /stats, /stats/prometheus, /server_info.")
@click.option("--shadow-address", type=ADDRESS, help="Where the evaluator alone replays requests.")
@click.option("--xds", "xds_addresses", type=ADDRESS, multiple=True, required=True, help="Repeatable.")
@click.option("--access-log", type=ADDRESS, required=True, help="The evaluator, gRPC.")
@click.option("--capture", type=ADDRESS, required=True, help="The evaluator, HTTP.")
@click.option(
    "--tls-dir",
    type=click.Path(path_type=Path),
    help="Where Envoy finds tls.crt, tls.key and ca.crt; it watches the folder and takes renewed files in.",
)
@click.option("--xds-name", help="DNS name in the xds servers' certificate.")
@click.option("--evaluator-name", help="DNS name in the evaluator's certificate.")
@click.option("--max-connections", type=click.IntRange(min=1), default=50_000, show_default=True)
@click.option("--heap-bytes", type=click.IntRange(min=1), help="Beyond 98 % of it new requests are refused.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="JSON file.")
def command(  # noqa: PLR0917 - click passes options by name
    gateway: str,
    node_id: str,
    admin_address: str,
    stats_address: str | None,
    shadow_address: str | None,
    xds_addresses: tuple[str, ...],
    access_log: str,
    capture: str,
    tls_dir: Path | None,
    xds_name: str | None,
    evaluator_name: str | None,
    max_connections: int,
    heap_bytes: int | None,
    out: Path,
) -> None:
    """Write what an Envoy of a gateway starts with; the rest it asks the xds server for.

    With --tls-dir two files sds-*.json lie beside --out: Envoy must find them under the same path.
    """
    from pointsman.xds.bootstrap import ShadowListener, bootstrap, sds_files

    host, _ = split_address(admin_address)
    if host != "localhost" and not (is_ip(host) and (host.startswith("127.") or host == "::1")):
        raise click.UsageError(
            f"--admin-address {admin_address}: whoever reaches it commands this Envoy; use 127.0.0.1"
        )
    folder = out.resolve().parent
    xds_tls, evaluator_tls = _tls(tls_dir, folder, xds_name), _tls(tls_dir, folder, evaluator_name)
    if tls_dir is not None and (xds_tls is None or evaluator_tls is None):
        raise click.UsageError("--tls-dir needs --xds-name and --evaluator-name: whom Envoy shall trust")
    if tls_dir is None and (xds_name or evaluator_name):
        raise click.UsageError("--xds-name and --evaluator-name need --tls-dir")
    made = bootstrap(
        gateway=gateway,
        node_id=node_id,
        admin_address=admin_address,
        xds_addresses=xds_addresses,
        access_log_address=access_log,
        capture_address=capture,
        xds_tls=xds_tls,
        evaluator_tls=evaluator_tls,
        shadow=ShadowListener(shadow_address, evaluator_tls) if shadow_address else None,
        stats_address=stats_address,
        max_connections=max_connections,
        heap_bytes=heap_bytes,
    )
    files = sds_files(evaluator_tls) if evaluator_tls is not None else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            _write(folder / name, content)
        _write(out, made)
    except OSError as error:
        raise click.ClickException(f"--out {out}: {error}") from error


def _tls(directory: Path | None, folder: Path, name: str | None) -> Tls | None:
    from pointsman.xds.bootstrap import Renewal, Tls

    if directory is None or not name:
        return None
    return Tls(
        str(directory / "ca.crt"),
        str(directory / "tls.crt"),
        str(directory / "tls.key"),
        name,
        Renewal(str(directory), str(folder)),
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file as a whole. JSON, not YAML: that turns a node id `n` into false."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(content, indent=1), encoding="utf-8")
    draft.replace(path)
