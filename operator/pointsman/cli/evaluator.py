"""`pointsman evaluator`: access logs and captures in, counts out."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pointsman.cli.parameters import ADDRESS, DURATION, TLS_DIR, TLS_DIR_HELP, tls_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.evaluator.serve import Settings
    from pointsman.evaluator.store.address import Address
    from pointsman.evaluator.tls import TLSFiles

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


_EXAMPLE = """\b
Example:
  pointsman evaluator --kubeconfig ~/.kube/config --store requests.sqlite \\
      --envoy-admin http://127.0.0.1:9901
"""


@click.group(invoke_without_command=True, epilog=_EXAMPLE)
@click.option("--kubeconfig", type=_EXISTING, help="Default: the cluster that this pod runs in.")
@click.option(
    "--access-log-address", type=ADDRESS, default="0.0.0.0:9081", show_default=True, help="gRPC, for Envoy."
)
@click.option(
    "--capture-address", type=ADDRESS, default="0.0.0.0:9082", show_default=True, help="HTTP, for Envoy."
)
@click.option(
    "--http-address",
    type=ADDRESS,
    default="0.0.0.0:9080",
    show_default=True,
    help="Health, metrics, summaries.",
)
@click.option(
    "--store",
    metavar="FILE|URL",
    help="SQLite file, made if it is not there; or postgresql://USER@HOST/DATABASE, for several evaluators.",
)
@click.option(
    "--store-password-file",
    type=_EXISTING,
    help="The database's password, read anew for each connection. Default: PGPASSWORD, PGPASSFILE.",
)
@click.option(
    "--replica",
    help="This evaluator's name among those on one database; the same after a restart. Default: the host's.",
)
@click.option(
    "--envoy-admin",
    multiple=True,
    metavar="URL",
    help="An Envoy's admin address, to count what is lost. Repeatable.",
)
@click.option("--envoy-poll", type=DURATION, default="5s", show_default=True, help="How often to ask it.")
@click.option(
    "--envoy-grace",
    type=DURATION,
    default="3s",
    show_default=True,
    help="How long an entry may be under way.",
)
@click.option(
    "--retention-requests",
    type=DURATION,
    default="720h",
    show_default=True,
    help="How long rows of requests are kept; text: as the policy says.",
)
@click.option(
    "--series-keep",
    type=DURATION,
    default="24h",
    show_default=True,
    help="How long counters of a deleted policy or revision stay.",
)
@click.option(
    "--sweep-every",
    type=DURATION,
    default="1m",
    show_default=True,
    help="How often what is over is deleted.",
)
@click.option(
    "--shadow-url",
    multiple=True,
    metavar="[GATEWAY=]URL",
    help="An Envoy's shadow listener, through which candidates are asked off the path; for https:// the "
    "--tls-* files are shown. Repeatable, one a gateway; without GATEWAY: of all others.",
)
@click.option(
    "--system-namespace",
    metavar="NAMESPACE",
    help="Where Pointsman is installed: the Envoys of its gateways are found, asked for their counts, and "
    "candidates are asked through them.",
)
@click.option(
    "--allow-file-artifacts",
    is_flag=True,
    help="Data sets may be file:///… on this machine. Leave it off where others may write policies.",
)
@click.option("--tls-cert", type=_EXISTING, help="PEM. With it, Envoy must show a client certificate.")
@click.option("--tls-key", type=_EXISTING, help="PEM.")
@click.option("--tls-client-ca", type=_EXISTING, help="PEM: who signs Envoy's client certificates.")
@click.option("--tls-dir", type=TLS_DIR, help=TLS_DIR_HELP)
@click.option(
    "--eraser",
    "erasers",
    multiple=True,
    metavar="NAME",
    help="A DNS name in the client certificate of who may delete a session's text over HTTP. Repeatable. "
    "Default: pointsman-eraser.",
)
@click.option(
    "--namespace", "namespaces", multiple=True, help="Follow only policies of it. Repeatable. Default: all."
)
@click.pass_context
def command(  # noqa: PLR0917 - click passes options by name
    ctx: click.Context,
    kubeconfig: Path | None,
    access_log_address: str,
    capture_address: str,
    http_address: str,
    store: str | None,
    store_password_file: Path | None,
    replica: str | None,
    envoy_admin: tuple[str, ...],
    envoy_poll: float,
    envoy_grace: float,
    retention_requests: float,
    series_keep: float,
    sweep_every: float,
    shadow_url: tuple[str, ...],
    system_namespace: str | None,
    allow_file_artifacts: bool,  # noqa: FBT001 - click passes options by name
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    tls_dir: Path | None,
    erasers: tuple[str, ...],
    namespaces: tuple[str, ...],
) -> None:
    """Take access logs and captured text in, give counts out."""
    if ctx.invoked_subcommand is not None:
        return
    from pointsman.evaluator.http_api import ERASER
    from pointsman.evaluator.serve import Settings as EvaluatorSettings
    from pointsman.evaluator.sweeping import Keeping

    tls = _tls_files(tls_dir, tls_cert, tls_key, tls_client_ca)
    if tls is None and system_namespace is not None:
        raise click.UsageError("--system-namespace: gateways are asked over TLS; give --tls-dir")
    settings = EvaluatorSettings(
        access_log_address=access_log_address,
        capture_address=capture_address,
        http_address=http_address,
        store=_own_place(store, store_password_file, replica),
        replica=replica or "",
        kubeconfig=str(kubeconfig) if kubeconfig else None,
        envoy_admin=envoy_admin,
        tls=tls,
        keeping=Keeping(int(retention_requests), int(series_keep), sweep_every),
        poll_s=envoy_poll,
        grace_s=envoy_grace,
        shadow_urls=_shadow_urls(shadow_url, tls),
        system_namespace=system_namespace,
        namespaces=namespaces,
        allow_files=allow_file_artifacts,
        erasers=erasers or (ERASER,),
    )
    _run(settings)


def _run(settings: Settings) -> None:
    """Run the evaluator to its end."""
    from pointsman.evaluator.serve import serve
    from pointsman.evaluator.store import StoreError
    from pointsman.logs import configure

    configure("evaluator")
    try:
        asyncio.run(serve(settings))
    except (StoreError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _shadow_urls(told: tuple[str, ...], tls: TLSFiles | None) -> dict[str, str]:
    """Return the shadow listeners' URLs by gateway. `UsageError`."""
    from pointsman.evaluator.offpath import shadow_urls

    try:
        urls = shadow_urls(told)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--shadow-url") from None
    if tls is None and any(url.startswith("https://") for url in urls.values()):
        raise click.UsageError(
            "--shadow-url: https:// needs --tls-dir, or --tls-cert, --tls-key and --tls-client-ca"
        )
    return urls


def _tls_files(folder: Path | None, cert: Path | None, key: Path | None, ca: Path | None) -> TLSFiles | None:
    """Return the certificate files, however they were named; None: there are none. `UsageError`."""
    from pointsman.evaluator.tls import TLSFiles

    if folder is not None:
        if cert or key or ca:
            raise click.UsageError("--tls-dir: give it, or the three --tls-* files, not both")
        found = tls_paths(folder)
        return TLSFiles(found.cert, found.key, found.ca)
    if cert and key and ca:
        return TLSFiles(cert, key, ca)
    if cert or key or ca:
        raise click.UsageError("--tls-cert, --tls-key and --tls-client-ca belong together: give all three")
    return None


def _own_place(store: str | None, password_file: Path | None, replica: str | None) -> Address:
    """Return where this evaluator's store is. `UsageError`."""
    if store is None:
        raise click.UsageError("--store: name the SQLite file to write to, or a PostgreSQL database")
    place = _place(store, password_file)
    if replica and isinstance(place, Path):
        raise click.UsageError("--replica is for a --store postgresql://…; a file has one evaluator")
    if replica and "/" in replica:
        raise click.UsageError("--replica: must have no /; give the pod's or the host's name")
    return place


def _place(store: str, password_file: Path | None) -> Address:
    """Return where a store is."""
    from pointsman.evaluator.store.address import address

    try:
        return address(store, password_file)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _existing(store: str, password_file: Path | None) -> Address:
    """Return where a store is; a file must be there."""
    place = _place(store, password_file)
    if isinstance(place, Path) and not place.is_file():
        raise click.BadParameter(f"File '{store}' does not exist.", param_hint="--store")
    return place


_STORE = click.option(
    "--store",
    required=True,
    metavar="FILE|URL",
    help="The evaluator's SQLite file or PostgreSQL database; it may be running.",
)
_PASSWORD = click.option("--store-password-file", type=_EXISTING, help="The database's password.")


@contextmanager
def _told() -> Iterator[None]:
    """Say what is wrong with the store, without a traceback."""
    from pointsman.evaluator.store import StoreError

    try:
        yield
    except StoreError as error:
        raise click.ClickException(str(error)) from error


@command.command(epilog="Example: pointsman evaluator forget --store requests.sqlite --session 6f1c")
@_STORE
@_PASSWORD
@click.option("--session", required=True, help="The x-session-id that the client sent.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def forget(store: str, store_password_file: Path | None, session: str, *, as_json: bool) -> None:
    """Delete a session's text, and unlink its requests from it."""
    from pointsman.clock import system_clock
    from pointsman.evaluator.record import session_digest
    from pointsman.evaluator.store import Store
    from pointsman.evaluator.writer import micros

    with _told(), Store(_existing(store, store_password_file), shared=True) as opened:
        done = opened.forget(session_digest(session), micros(system_clock))
    if as_json:
        click.echo(json.dumps({"requests": done.requests, "texts": done.texts}))
    else:
        click.echo(f"{done.texts} texts deleted, {done.requests} requests unlinked")


@command.command(epilog="Example: pointsman evaluator check --store requests.sqlite")
@_STORE
@_PASSWORD
def check(store: str, store_password_file: Path | None) -> None:
    """Read the whole store and say what is wrong with it; exit code 1 if anything is."""
    from pointsman.evaluator.store import Store

    with _told(), Store(_existing(store, store_password_file), shared=True) as opened:
        damage = opened.damage()
    click.echo("\n".join(damage) or "ok")
    raise SystemExit(1 if damage else 0)


@command.command(
    epilog="Example: pointsman evaluator summary --store requests.sqlite --policy default/support"
)
@_STORE
@_PASSWORD
@click.option("--policy", required=True, metavar="NAMESPACE/NAME")
def summary(store: str, store_password_file: Path | None, policy: str) -> None:
    """Print what the store says about a policy, as JSON."""
    from pointsman.evaluator.summary import Window, summarize

    with _told():
        found = summarize(_existing(store, store_password_file), Window(policy))
    click.echo(json.dumps(found, indent=2))
