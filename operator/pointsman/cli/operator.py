"""`pointsman operator`: reconciles policies."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import click

from pointsman import __version__
from pointsman.cli.parameters import ADDRESS, DURATION, TLS_DIR

if TYPE_CHECKING:
    from pointsman.controllers.operator import Settings
    from pointsman.tls_files import TLSFiles

IMAGE: Final = f"pointsman:{__version__}"
ENVOY_IMAGE: Final = "docker.io/envoyproxy/envoy:v1.40.0"
TRITON_IMAGE: Final = f"pointsman-triton:{__version__}"


@click.command(
    epilog="Example: pointsman operator --kubeconfig ~/.kube/config --xds-url http://127.0.0.1:9090"
)
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
@click.option(
    "--certificate-settle",
    type=DURATION,
    default="1h",
    show_default=True,
    help="How far behind a part may be in reading its certificate's files: a new authority signs after that.",
)
@click.option("--image", default=IMAGE, show_default=True, help="Of Pointsman's own parts in other pods.")
@click.option(
    "--envoy-image", default=ENVOY_IMAGE, show_default=True, help="Of RoutingGateways without one; has bash."
)
@click.option(
    "--triton-image", default=TRITON_IMAGE, show_default=True, help="Of TritonPools that name none."
)
@click.option(
    "--image-pull-secret",
    "image_pull_secrets",
    multiple=True,
    metavar="NAME",
    help="A Secret in --system-namespace with which the pods of gateways and pools pull images. Repeatable.",
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
    certificate_settle: float,
    image: str,
    envoy_image: str,
    triton_image: str,
    image_pull_secrets: tuple[str, ...],
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
    """Freeze revisions, load classifiers, set the traffic in force; write it all to the policies' status."""
    from pointsman.certificates.rotation import Terms as CertificateTerms
    from pointsman.controllers.infrastructure import Settings as InfrastructureSettings
    from pointsman.controllers.operator import Settings as OperatorSettings
    from pointsman.kube.lease import Terms
    from pointsman.triton.endpoint import Settings as TritonSettings

    _fit_together(system_namespace, xds_service, bundles_address, tls_dir)
    infrastructure = system_namespace and InfrastructureSettings(
        namespace=system_namespace,
        certificates=certificates,
        image=image,
        envoy_image=envoy_image,
        triton_image=triton_image,
        terms=CertificateTerms(settle=timedelta(seconds=certificate_settle)),
        pull_secrets=image_pull_secrets,
    )
    _run(
        OperatorSettings(
            lease=Terms.of(lease_namespace, lease_name, lease_identity or _identity(), lease_duration),
            kubeconfig=str(kubeconfig) if kubeconfig else None,
            xds_urls=xds_urls,
            xds_service=xds_service,
            system_namespace=system_namespace,
            infrastructure=infrastructure or None,
            http_address=http_address,
            bundles_address=bundles_address,
            tls=_tls_files(tls_dir),
            namespaces=namespaces,
            allow_file_artifacts=allow_file_artifacts,
            triton=TritonSettings(poll_s=triton_poll, grace_s=triton_grace),
            evidence_interval_s=max(1.0, evidence_interval),
        )
    )


def _identity() -> str:
    """Return a name that no other process has had."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


def _fit_together(
    system_namespace: str | None, xds_service: str | None, bundles_address: str | None, tls_dir: Path | None
) -> None:
    """Raise `UsageError` for an option whose other half is missing."""
    if xds_service is not None and system_namespace is None:
        raise click.UsageError("--xds-service: name the namespace that it lies in, --system-namespace")
    if bundles_address is not None and (tls_dir is None or system_namespace is None):
        raise click.UsageError("--bundles-address: needs --tls-dir and --system-namespace")


def _tls_files(folder: Path | None) -> TLSFiles | None:
    """Return our certificate's files; they may come later."""
    from pointsman.tls_files import TLSFiles

    if folder is None:
        return None
    return TLSFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")


def _run(settings: Settings) -> NoReturn:
    """Run the operator to its end; its exit code is ours."""
    from pointsman.controllers.operator import run
    from pointsman.logs import configure

    configure("operator")
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells every event
    sys.exit(asyncio.run(run(settings)))
