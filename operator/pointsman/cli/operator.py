"""`pointsman operator`: reconciles policies."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import uuid
from pathlib import Path
from typing import Final, Literal

import click

from pointsman import __version__
from pointsman.cli.parameters import ADDRESS, DURATION, TLS_DIR

IMAGE: Final = f"pointsman:{__version__}"
ENVOY_IMAGE: Final = "docker.io/envoyproxy/envoy:v1.40.0"
TRITON_IMAGE: Final = f"pointsman-triton:{__version__}"


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
    "--xds-service",
    metavar="NAME",
    help="Ask every replica of this Service in --system-namespace instead, found by its EndpointSlices.",
)
@click.option(
    "--system-namespace",
    metavar="NAMESPACE",
    help="Where Pointsman is installed. Its RoutingGateways and certificates are looked after; unset: none.",
)
@click.option(
    "--certificates",
    type=click.Choice(["self", "external"]),
    default="self",
    show_default=True,
    help="Who makes the certificates of all parts: this operator, or something else (cert-manager).",
)
@click.option("--image", default=IMAGE, show_default=True, help="Of Pointsman's own parts in other pods.")
@click.option(
    "--envoy-image", default=ENVOY_IMAGE, show_default=True, help="Of RoutingGateways without one; has bash."
)
@click.option(
    "--triton-image", default=TRITON_IMAGE, show_default=True, help="Of TritonPools that name none."
)
@click.option(
    "--http-address",
    type=ADDRESS,
    default="127.0.0.1:9070",
    show_default=True,
    help="/healthz, /readyz, /metrics.",
)
@click.option(
    "--bundles-address",
    type=ADDRESS,
    help="Where the agents of TritonPools get what to load, over mutual TLS; leader and standby both serve.",
)
@click.option("--tls-dir", type=TLS_DIR, help="Folder of our certificate Secret; its files may come later.")
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
    default="10s",
    show_default=True,
    help="A follower takes over this long after the leader's last sign of life; 3s at least.",
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
    xds_service: str | None,
    system_namespace: str | None,
    certificates: Literal["self", "external"],
    image: str,
    envoy_image: str,
    triton_image: str,
    http_address: str,
    bundles_address: str | None,
    tls_dir: Path | None,
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
    from pointsman.controllers.infrastructure import Settings as InfrastructureSettings
    from pointsman.controllers.operator import Settings, run
    from pointsman.kube.lease import Terms
    from pointsman.logs import configure
    from pointsman.tls_files import TLSFiles
    from pointsman.triton.endpoint import Settings as TritonSettings

    identity = lease_identity or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    if xds_service is not None and system_namespace is None:
        raise click.UsageError("--xds-service: name the namespace that it lies in, --system-namespace")
    infrastructure = None
    if system_namespace is not None:
        infrastructure = InfrastructureSettings(
            system_namespace, certificates, image, envoy_image, triton_image
        )
    if bundles_address is not None and (tls_dir is None or system_namespace is None):
        raise click.UsageError("--bundles-address: needs --tls-dir and --system-namespace")
    tls = None
    if tls_dir is not None:
        tls = TLSFiles(tls_dir / "tls.crt", tls_dir / "tls.key", tls_dir / "ca.crt")
    settings = Settings(
        lease=Terms.of(lease_namespace, lease_name, identity, lease_duration),
        kubeconfig=str(kubeconfig) if kubeconfig else None,
        xds_urls=xds_urls,
        xds_service=xds_service,
        system_namespace=system_namespace,
        infrastructure=infrastructure,
        http_address=http_address,
        bundles_address=bundles_address,
        tls=tls,
        namespaces=namespaces,
        allow_file_artifacts=allow_file_artifacts,
        triton=TritonSettings(poll_s=triton_poll, grace_s=triton_grace),
        evidence_interval_s=max(1.0, evidence_interval),
    )
    configure("operator")
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells every event
    sys.exit(asyncio.run(run(settings)))
