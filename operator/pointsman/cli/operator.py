"""`pointsman operator`: reconciles policies."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import uuid
from pathlib import Path

import click

from pointsman.cli.parameters import ADDRESS, DURATION


@click.command()
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Default: the cluster that this pod runs in.",
)
@click.option(
    "--xds-url",
    "xds_urls",
    multiple=True,
    metavar="URL",
    help="HTTP address of an xds server, for what Envoys acknowledged. Repeatable: each replica's own.",
)
@click.option(
    "--http-address",
    type=ADDRESS,
    default="127.0.0.1:9070",
    show_default=True,
    help="/healthz, /readyz, /metrics.",
)
@click.option(
    "--namespace", "namespaces", multiple=True, help="Serve only this one. Repeatable. Default: all."
)
@click.option(
    "--allow-file-artifacts",
    is_flag=True,
    help="Accept file:// bundles: who may write a policy can then name any file that this process can read.",
)
@click.option("--lease-namespace", default="default", show_default=True, help="Where the Lease lies.")
@click.option("--lease-name", default="pointsman-operator", show_default=True)
@click.option(
    "--lease-duration",
    type=DURATION,
    default="15s",
    show_default=True,
    help="A follower takes over this long after the leader's last sign of life.",
)
@click.option(
    "--lease-identity",
    default=None,
    help="Default: host name and a random part. A fixed one lets a restart lead at once: "
    "only where no two processes can have it at the same time.",
)
@click.option(
    "--triton-poll",
    type=DURATION,
    default="2s",
    show_default=True,
    help="How often each Triton is asked for its models.",
)
@click.option(
    "--triton-grace",
    type=DURATION,
    default="1m",
    show_default=True,
    help="How long a model (pm-…) that no policy wants stays loaded. A Triton belongs to one operator.",
)
@click.option(
    "--evidence-interval",
    type=DURATION,
    default="5s",
    show_default=True,
    help="How often Prometheus is asked while a rollout is under way; 1s at least.",
)
def command(  # noqa: PLR0917 - click passes options by name
    kubeconfig: Path | None,
    xds_urls: tuple[str, ...],
    http_address: str,
    namespaces: tuple[str, ...],
    allow_file_artifacts: bool,  # noqa: FBT001 - click passes flags so
    lease_namespace: str,
    lease_name: str,
    lease_duration: float,
    lease_identity: str | None,
    triton_poll: float,
    triton_grace: float,
    evidence_interval: float,
) -> None:
    """Freeze revisions, load classifiers, set the traffic in force; write it all to the policies' status.

    \b
    pointsman operator --kubeconfig ~/.kube/config --xds-url http://127.0.0.1:9090
    """  # noqa: D301 - click's own sign for "do not wrap"
    from pointsman.controllers.operator import Settings, run
    from pointsman.controllers.triton_endpoint import Settings as TritonSettings
    from pointsman.kube.lease import Terms
    from pointsman.logs import configure

    identity = lease_identity or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    duration = max(3, round(lease_duration))
    terms = Terms(
        lease_namespace,
        lease_name,
        identity,
        duration_s=duration,
        renew_s=duration * 2 / 3,
        retry_s=max(1.0, duration / 7.5),
    )
    settings = Settings(
        lease=terms,
        kubeconfig=str(kubeconfig) if kubeconfig else None,
        xds_urls=xds_urls,
        http_address=http_address,
        namespaces=namespaces,
        allow_file_artifacts=allow_file_artifacts,
        triton=TritonSettings(poll_s=triton_poll, grace_s=triton_grace),
        evidence_interval_s=max(1.0, evidence_interval),
    )
    configure("operator")
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells every event
    sys.exit(asyncio.run(run(settings)))
