"""`pointsman tier`: a replay tier."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pointsman.cli.parameters import ADDRESS

_EXAMPLE = """\b
Example:
  pointsman tier --data data/mmlu-pro --model gemini-1.5-flash-002 --address 127.0.0.1:9000
  curl -X PUT localhost:9000/faults -d '{"status": 500, "share_permille": 200, "seed": 1}'
"""


@click.command(name="tier", epilog=_EXAMPLE)
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with prompts.parquet and answers_*.parquet.",
)
@click.option("--model", required=True, help="The model whose recorded answers are given.")
@click.option("--address", required=True, type=ADDRESS, help="Where to listen.")
@click.option("--seed", default=0, show_default=True, help="Seed of the synthetic latency.")
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Divides the synthetic latency; 0: answer at once.",
)
@click.option(
    "--api-key-env", metavar="NAME", help="Environment variable with the bearer token to insist on."
)
def command(
    *, data: Path, model: str, address: str, seed: int, speed: float, api_key_env: str | None
) -> None:
    """Serve a real model's recorded answers as an OpenAI-compatible API.

    The answers and their token counts are real; the latency is SYNTHETIC: about 0.2 s to the first token and
    10 ms for each one after it, ± 25 % by seed and prompt. A prompt without a record gets a marked echo.
    """
    from aiohttp import web
    from prometheus_client import CollectorRegistry

    from pointsman import logs
    from pointsman.address import split_address
    from pointsman.lab.replay import Answer, Latency
    from pointsman.lab.tier import Settings, Tier
    from pointsman.routers import dataset

    host, port = split_address(address)
    key = None
    if api_key_env is not None:
        key = os.environ.get(api_key_env)
        if not key:
            raise click.BadParameter(
                f"the environment variable {api_key_env} is empty", param_hint="--api-key-env"
            )
    logs.configure("tier")
    try:
        found = dataset.answers(data, model)
    except dataset.DatasetError as error:
        raise click.ClickException(str(error)) from None
    records = {
        prompt: Answer(answer.text, answer.prompt_tokens, answer.output_tokens, recorded=True)
        for prompt, answer in found.items()
    }
    tier = Tier(Settings(model, Latency(seed, speed), key), records, CollectorRegistry())
    web.run_app(
        tier.app(),
        host=host,
        port=port,
        print=None,
        access_log=None,
        shutdown_timeout=2,
        handler_cancellation=True,
    )
