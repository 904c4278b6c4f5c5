"""`pointsman xds`: the configuration server of Envoys."""

from __future__ import annotations

from pathlib import Path

import click

from pointsman.cli.parameters import ADDRESS, TLS_DIR, TLS_DIR_HELP, tls_paths

_EXAMPLE = """\b
Example:
  pointsman xds --kubeconfig ~/.kube/config --grpc-address 0.0.0.0:18000 \\
    --http-address 0.0.0.0:8081 --entry-address 0.0.0.0:8080
  curl -s localhost:8081/v1/state
In a cluster, where RoutingGateways say what Envoys bind:
  pointsman xds --system-namespace pointsman-system --tls-dir /etc/pointsman/tls \
    --grpc-address 0.0.0.0:18000 --http-address 0.0.0.0:9090
"""
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="xds", epilog=_EXAMPLE)
@click.option("--kubeconfig", type=_FILE, help="Unset: the cluster that this pod runs in.")
@click.option("--grpc-address", required=True, type=ADDRESS, help="Where Envoys connect (delta ADS).")
@click.option("--http-address", required=True, type=ADDRESS, help="/v1/state, /healthz, /readyz, /metrics.")
@click.option(
    "--entry-address",
    type=ADDRESS,
    help="What Envoys bind for clients; with --system-namespace only the host counts, by default 0.0.0.0.",
)
@click.option(
    "--system-namespace",
    metavar="NS",
    help="Take gateways from the RoutingGateways in it: listeners, certificates, and who may use them.",
)
@click.option(
    "--namespace", "namespaces", multiple=True, help="Serve only policies of it. Repeatable. Default: all."
)
@click.option("--tls-dir", type=TLS_DIR, help=TLS_DIR_HELP)
@click.option("--tls-cert", type=_FILE, help="Certificate of the gRPC server, PEM.")
@click.option("--tls-key", type=_FILE, help="Its private key, PEM.")
@click.option("--tls-client-ca", type=_FILE, help="Serve only who has a certificate of this authority, PEM.")
def command(
    *,
    kubeconfig: Path | None,
    grpc_address: str,
    http_address: str,
    entry_address: str | None,
    system_namespace: str | None,
    namespaces: tuple[str, ...],
    tls_dir: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
) -> None:
    """Serve Envoys the configuration that RoutingPolicies stand for.

    It keeps no state: kill it at any moment, run several. Envoys go on with what they have while it is away.
    What they have acknowledged is told at /v1/state?since=VERSION&wait=SECONDS.
    """
    import asyncio

    from pointsman import logs
    from pointsman.xds.serve import Settings, TlsFiles, run
    from pointsman.xds.translate import Options

    if entry_address is None:
        if system_namespace is None:
            raise click.UsageError("--entry-address is missing; without --system-namespace it is needed")
        entry_address = "0.0.0.0:0"
    tls = None
    if tls_dir is not None:
        if tls_cert or tls_key or tls_client_ca:
            raise click.UsageError("--tls-dir stands in place of --tls-cert, --tls-key and --tls-client-ca")
        found = tls_paths(tls_dir)
        tls = TlsFiles(found.cert, found.key, found.ca)
    elif tls_cert is not None and tls_key is not None:
        tls = TlsFiles(tls_cert, tls_key, tls_client_ca)
    elif tls_cert or tls_key or tls_client_ca:
        raise click.UsageError("--tls-cert and --tls-key go together, and --tls-client-ca needs both")
    logs.configure("xds")
    try:
        settings = Settings(
            kubeconfig,
            grpc_address,
            http_address,
            Options(entry_address=entry_address),
            tls,
            system_namespace=system_namespace,
            namespaces=namespaces,
        )
        asyncio.run(run(settings))
    except* OSError as group:
        reasons = group
    else:
        return
    raise click.ClickException("; ".join(str(error) for error in reasons.exceptions))
