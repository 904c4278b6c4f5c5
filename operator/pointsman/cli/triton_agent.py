"""`pointsman triton-agent`: keeps the Triton beside it as its pool's list says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from pointsman.cli.parameters import ADDRESS, DURATION, TLS_DIR, TLS_DIR_HELP, tls_paths


@click.command(name="triton-agent")
@click.option("--pool", required=True, help="Name of the TritonPool.")
@click.option("--triton", required=True, metavar="URL", help="The Triton beside it, http://127.0.0.1:8000.")
@click.option(
    "--models",
    required=True,
    type=click.Path(path_type=Path),
    help="The mounted list of models: what holds while no operator answers.",
)
@click.option("--operator", metavar="URL", help="The operator's bundle service. Unset: the file alone.")
@click.option("--tls-dir", type=TLS_DIR, help=TLS_DIR_HELP)
@click.option(
    "--http-address",
    type=ADDRESS,
    default="127.0.0.1:9071",
    show_default=True,
    help="/healthz, /readyz, /v1/state, /metrics.",
)
@click.option(
    "--control-key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Key of Triton's restricted API; made if it is not there.",
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/cache/pointsman"),
    show_default=True,
    help="Where bundles are kept.",
)
@click.option("--gpus", type=click.IntRange(0, 16), default=0, show_default=True, help="GPUs of this pod.")
@click.option(
    "--instances",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Instances of each model, on each GPU where there are any.",
)
@click.option(
    "--grace",
    type=DURATION,
    default="1m",
    show_default=True,
    help="How long a model that is not in the list stays loaded.",
)
@click.option(
    "--patience",
    type=DURATION,
    default="5m",
    show_default=True,
    help="How long a model in traffic that fails to load keeps the pod from being ready for the others.",
)
@click.option("--drain", type=DURATION, default="5s", show_default=True, help="Not ready before it ends.")
def command(  # noqa: PLR0917 - click passes options by name
    pool: str,
    triton: str,
    models: Path,
    operator: str | None,
    tls_dir: Path | None,
    http_address: str,
    control_key_file: Path | None,
    cache_dir: Path,
    gpus: int,
    instances: int,
    grace: float,
    patience: float,
    drain: float,
) -> None:
    """Load the models of a pool's list into the Triton beside it; say when it may be asked.

    \b
    pointsman triton-agent --pool default --triton http://127.0.0.1:8000 --models models.json
    """  # noqa: D301 - click's own sign for "do not wrap"
    from pointsman.agent.serve import Settings, run
    from pointsman.logs import configure
    from pointsman.tls_files import TLSFiles
    from pointsman.triton.endpoint import Settings as LoadSettings
    from pointsman.triton.repository import Instances

    paths = tls_paths(tls_dir) if tls_dir is not None else None
    if operator is not None and operator.startswith("https://") and paths is None:
        raise click.UsageError("--operator: https:// needs --tls-dir")
    settings = Settings(
        pool=pool,
        triton=triton,
        models=models,
        http_address=http_address,
        cache=cache_dir,
        operator=operator,
        tls=TLSFiles(paths.cert, paths.key, paths.ca) if paths is not None else None,
        control_key=control_key_file,
        load=LoadSettings(poll_s=1.0, grace_s=grace, instances=Instances(instances, gpus)),
        patience_s=patience,
        drain_s=drain,
    )
    configure("triton-agent")
    sys.exit(asyncio.run(run(settings)))
