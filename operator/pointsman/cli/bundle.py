"""`pointsman bundle`: look into a bundle, score requests with it, verify it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pointsman.triton.bundle import Bundle, LinearClassifier

_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_EXAMPLE = """\b
Example:
  echo '{"messages": [{"role": "user", "content": "What is 2 + 2?"}]}' |
    pointsman bundle score bundle.zip
"""


@click.group(name="bundle", epilog=_EXAMPLE)
def command() -> None:
    """Look into a classifier bundle, score requests with it, or verify it."""


@command.command()
@_FILE
@_JSON
def inspect(*, file: Path, as_json: bool) -> None:
    """Show what a bundle is: tiers, intents, weights, figures, digest, size."""
    from pointsman.triton import bundle as bundles

    data, bundle = _load(file)
    digest, manifest = bundles.sha256(data), bundle.manifest
    weights = {name: f"{value.dtype} {list(value.shape)}" for name, value in sorted(bundle.arrays.items())}
    if as_json:
        found = {"file": str(file), "sha256": digest, "bytes": len(data)}
        click.echo(json.dumps({**found, "manifest": manifest, "weights": weights}, indent=2))
        return
    click.echo(f"{file}: {bundle.kind} bundle, {len(data):,} bytes, sha256 {digest}")
    click.echo(f"tiers:    {', '.join(bundle.tiers)}")
    click.echo(f"intents:  {', '.join(bundle.intents)}")
    click.echo(f"weights:  {', '.join(f'{name} {shape}' for name, shape in weights.items())}")
    click.echo(f"trained:  on {manifest.get('dataset')}, by {manifest.get('createdBy')}")
    figures = manifest.get("metrics")
    if figures:
        value, low, high = (100 * figures["edge"][name] for name in ("value", "low", "high"))
        click.echo(f"edge:     {value:+.2f} points [{low:+.2f}, {high:+.2f}] over a random split")
        click.echo(f"          at minScorePermille {figures['threshold_permille']}")


@command.command()
@_FILE
@click.option("--text", is_flag=True, help="Standard input is one prompt, not one request body per line.")
@_JSON
def score(*, file: Path, text: bool, as_json: bool) -> None:
    """Score OpenAI-compatible request bodies from standard input, one JSON object a line.

    The scores are those that Triton gives: per tier, the probability that its answer is no worse than the
    last tier's. Exit code 1: a line could not be classified.
    """
    from pointsman.triton import bundle as bundles

    _, bundle = _load(file)
    classifier = bundles.classifier(bundle)
    raw = sys.stdin.buffer.read()
    bodies = [_body(raw)] if text else [line for line in raw.split(b"\n") if line.strip()]
    if not bodies:
        raise click.UsageError("nothing on standard input: one request body a line, or --text with a prompt")
    results = [_scored(classifier, body) for body in bodies]
    for result in results:
        click.echo(json.dumps(result) if as_json else _line(result))
    sys.exit(1 if any("error" in result for result in results) else 0)


@command.command()
@_FILE
@click.option("--sha256", "digest", metavar="HEX", help="The digest that the file must have.")
@click.option("--tiers", type=click.IntRange(2, 8), help="How many tiers the policy has.")
def verify(*, file: Path, digest: str | None, tiers: int | None) -> None:
    """Make sure that a bundle can serve: readable, complete, of the right digest and number of tiers."""
    from pointsman.triton import bundle as bundles
    from pointsman.triton import repository

    data = file.read_bytes()
    try:
        bundle = bundles.check(data, digest=digest, tiers=tiers)
        scores = repository.probe(bundle).scores
    except bundles.BundleError as error:
        raise click.ClickException(f"{file}: {error}") from None
    click.echo(f"{file}: ok; {repository.model_name(bundles.sha256(data))} scores the probe {list(scores)}")
    if len(data) > bundles.MAX_CONFIGMAP_BYTES:
        limit = f"{bundles.MAX_CONFIGMAP_BYTES:,}"
        click.echo(f"note: {len(data):,} bytes; a ConfigMap holds {limit}: serve it by https", err=True)


def _load(file: Path) -> tuple[bytes, Bundle]:
    """Read a bundle that can serve, or end with code 2."""
    from pointsman.triton import bundle as bundles

    data = file.read_bytes()
    try:
        return data, bundles.check(data)
    except bundles.BundleError as error:
        raise click.UsageError(f"{file}: {error}") from None


def _body(raw: bytes) -> bytes:
    """Wrap a prompt as a request body."""
    prompt = raw.decode("utf-8", "replace")
    return json.dumps({"messages": [{"role": "user", "content": prompt}]}).encode()


def _scored(classifier: LinearClassifier, body: bytes) -> dict[str, Any]:
    from pointsman.triton.backend import request

    parsed = request.parse(body)
    if isinstance(parsed, request.Unreadable):
        return {"error": f"{parsed.reason}: {parsed.message}"}
    scored = classifier.score(parsed.text)
    scores = dict(zip(classifier.tiers, (float(value) for value in scored.scores), strict=True))
    return {"scores": scores, "intent": scored.intent}


def _line(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"error: {result['error']}"
    scores = "  ".join(f"{tier} {value:.3f}" for tier, value in result["scores"].items())
    return f"{scores}  intent {result['intent']}"
