"""`pointsman lab`: the whole stack as local processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from pointsman.cli import lab_cluster
from pointsman.cli.parameters import ADDRESS
from pointsman.cli.telling import fail, parts_table, timed

_STATE = click.option(
    "--state",
    default=Path(".lab"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The lab's folder: logs, certificates, data.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
_EXAMPLE = """\b
Example:
  pointsman lab up -d
  pointsman lab apply -f examples/01-quickstart --bundle bundle.zip
  pointsman lab down
"""


@click.group(name="lab", epilog=_EXAMPLE)
def command() -> None:
    """Run the whole stack as local processes.

    Every server is real: etcd, kube-apiserver, Prometheus, Triton, Envoy, and our own. `lab
    cluster` is a real Kubernetes with pods.
    """


command.add_command(lab_cluster.command)


@command.command(epilog="\b\nExample:\n  pointsman lab up --detach --state /tmp/lab")
@_STATE
@click.option("-d", "--detach", is_flag=True, help="Return when everything is up, and leave it running.")
@click.option("--timeout", default=180.0, show_default=True, help="Seconds until everything must be up.")
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="What the replay tiers answer from."
)
@click.option(
    "--tier-speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Divides the replay tiers' synthetic latency; 0: none.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the synthetic latency.")
def up(*, state: Path, detach: bool, timeout: float, data: Path | None, tier_speed: float, seed: int) -> None:
    """Start a lab with nothing in it. In the foreground it runs until Ctrl-C, which ends all its parts.

    What an earlier lab left in the folder is removed first. Binaries that are missing are built, once.
    """
    from pointsman.lab import running
    from pointsman.lab.process import LabError

    say = timed()
    try:
        running.check_host()
        if detach:
            arguments = ["--state", str(state), "--timeout", str(timeout), "--tier-speed", str(tier_speed)]
            arguments += ["--seed", str(seed)] + ([] if data is None else ["--data", str(data)])
            running.detach(arguments, state, click.echo)
            return
        from pointsman.lab.parts import Options

        options = Options(state, tier_speed=tier_speed, seed=seed, **({} if data is None else {"data": data}))
        running.run(options, say, timeout)
    except LabError as error:
        fail(error)


@command.command(epilog="\b\nExample:\n  pointsman lab status --json | jq -r .entry")
@_STATE
@_JSON
def status(*, state: Path, as_json: bool) -> None:
    """Show the parts of the lab that runs in the folder."""
    found = _ask(state, {"do": "status"})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from rich.console import Console

    console = Console()
    console.print(parts_table(found["parts"]))
    console.print(f"\nentry       {found['entry']}\nprometheus  {found['prometheus']}")
    console.print(f"export KUBECONFIG={found['kubeconfig']}", soft_wrap=True)


@command.command(epilog="\b\nExample:\n  pointsman lab logs operator -f")
@_STATE
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
def logs(*, state: Path, name: str, follow: bool) -> None:
    """Print the log of a part, or of the lab itself (`lab`). Also after its end."""
    from pointsman.lab.running import OWN_LOG, log_path

    path = log_path(state, name)
    if not path.is_file():
        names = sorted(found.stem for found in (state / "log").glob("*.log"))
        raise click.ClickException(f"no log of {name} in {state}; there are {', '.join([OWN_LOG, *names])}")
    with path.open(encoding="utf-8", errors="replace") as stream:
        click.echo(stream.read(), nl=False)
        while follow:
            text = stream.read()
            if text:
                click.echo(text, nl=False)
            else:
                time.sleep(0.2)


@command.command(epilog="\b\nExample:\n  pointsman lab restart triton")
@_STATE
@click.argument("name")
def restart(*, state: Path, name: str) -> None:
    """End a part and start it again, at the same address; return when it is healthy."""
    before = _ask(state, {"do": "status"})["parts"].get(name, {}).get("restarts", 0)
    _ask(state, {"do": "restart", "name": name})
    end = time.monotonic() + 60
    while time.monotonic() < end:
        part = _ask(state, {"do": "status"})["parts"][name]
        if part["restarts"] > before and part["healthy"]:
            return
        time.sleep(0.1)
    raise click.ClickException(f"{name} is not healthy again after 60 s; see `pointsman lab logs {name}`")


@command.command(epilog="\b\nExample:\n  pointsman lab down")
@_STATE
def down(*, state: Path) -> None:
    """End the lab of the folder with all its parts. Its logs stay until the next `up`."""
    from pointsman.lab import control
    from pointsman.lab.process import LabError

    try:
        ended = control.end(state)
    except LabError as error:
        fail(error)
    click.echo("the lab is down" if ended else f"no lab runs in {state}")


@command.command(
    epilog="\b\nExample:\n  pointsman lab binaries --json\n  pointsman lab binaries --for cluster"
)
@_JSON
@click.option(
    "--for",
    "whom",
    type=click.Choice(["tests", "cluster", "bench", "all"]),
    default="tests",
    show_default=True,
    help="tests: no real node. cluster: a real node, too. bench: Flagger and Argo Rollouts beside us. "
    "all: the cluster's, metrics-server and argocd.",
)
def binaries(*, as_json: bool, whom: str) -> None:
    """Show the binaries that lab and tests need and no wheel brings; get those that are missing."""
    from pointsman.lab import binaries as found
    from pointsman.lab.process import LabError

    say = timed(err=as_json)
    wanted = {
        "tests": (*found.TESTS, found.BROWSER, found.POSTGRES),
        "cluster": (*found.TESTS, *found.NODE),
        "bench": (*found.TESTS, *found.PEERS),
        "all": (*found.TESTS, *found.NODE, *found.EXTRA, found.BROWSER, found.POSTGRES),
    }[whom]
    try:
        for name in wanted:
            found.ensure(name, say)
    except LabError as error:
        fail(error)
    known = [binary for binary in map(found.find, wanted) if binary is not None]
    if as_json:
        shown = {b.name: {"path": str(b.path), "source": b.source} for b in known}
        click.echo(json.dumps(shown, indent=2))
        return
    for binary in known:
        click.echo(f"{binary.name:24}{binary.source:20}{binary.path}")


@command.command(name="apply", epilog=_EXAMPLE)
@_STATE
@click.option(
    "-f", "--file", required=True, type=click.Path(exists=True, path_type=Path), help="File or folder."
)
@click.option(
    "--bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A trained bundle."
)
@click.option("--content", "contents", multiple=True, metavar="NAME=PATH", help="A file for a ConfigMap.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A value for ${NAME}.")
@click.option("--print", "only_print", is_flag=True, help="Print the result; apply nothing.")
def apply_(
    *,
    state: Path,
    file: Path,
    bundle: Path | None,
    contents: Iterable[str],
    settings: Iterable[str],
    only_print: bool,
) -> None:
    """Apply manifests to the lab's API server, with its addresses in place of ${…}.

    Known: SMALL_URL, CHEAP_URL, SPARE_URL, STRONG_URL, TRITON_URL, PROMETHEUS_URL, ENTRY_URL; with --bundle
    BUNDLE_SHA256, BUNDLE_BASE64 and THRESHOLD_PERMILLE (what its training suggests); with --content NAME=PATH
    NAME_SHA256 and NAME_BASE64; and what --set gives.
    """
    import yaml

    from pointsman.lab.kubectl import Kubectl
    from pointsman.lab.process import LabError
    from pointsman.lab.substitute import bundle_values, file_values, lab_values, substitute

    found = _ask(state, {"do": "status"})
    values = lab_values(found)
    if bundle is not None:
        values |= bundle_values(bundle.read_bytes())
    for content in contents:
        name, _, path = content.partition("=")
        if not Path(path).is_file():
            raise click.BadParameter(f"{content}: must be NAME=PATH of a file", param_hint="--content")
        values |= file_values(name, Path(path).read_bytes())
    values |= dict(setting.split("=", 1) for setting in settings if "=" in setting)
    files = sorted(file.glob("*.yaml")) if file.is_dir() else [file]
    try:
        texts = [substitute(path.read_text("utf-8"), values) for path in files]
        if only_print:
            click.echo("---\n".join(texts), nl=False)
            return
        with Kubectl(Path(found["kubeconfig"])) as kubectl:
            for manifest in (each for text in texts for each in yaml.safe_load_all(text) if each):
                kubectl.apply([manifest])
                click.echo(f"{manifest['kind']} {manifest['metadata']['name']} applied")
    except LabError as error:
        fail(error)


@command.command(hidden=True)
@click.option("--kubeconfig", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--address", required=True, type=ADDRESS, help="Where to serve /metrics.")
def states(*, kubeconfig: Path, address: str) -> None:
    """Serve the policies' status as metrics; a part of the lab."""
    import threading

    from prometheus_client import CollectorRegistry, start_http_server

    from pointsman.address import split_address
    from pointsman.lab.kubectl import Kubectl
    from pointsman.lab.states import States

    host, port = split_address(address)
    registry = CollectorRegistry()
    with Kubectl(kubeconfig) as kubectl:
        registry.register(States(kubectl))
        start_http_server(port, host, registry)
        threading.Event().wait()


@command.command(
    epilog="\b\nExample:\n  pointsman lab dataset --data data/mmlu-pro --kind references --out r.jsonl.gz\n"
    "  pointsman lab dataset --data data/mmlu-pro --kind gate --without engineering --out gate.jsonl.gz"
)
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with prompts.parquet and outcomes.parquet.",
)
@click.option(
    "--kind",
    required=True,
    type=click.Choice(["references", "gate"]),
    help="references: right answers of the test split, by hash. gate: cases of the calibration split.",
)
@click.option("--cases", default=500, show_default=True, type=click.IntRange(1), help="Of a gate.")
@click.option("--without", multiple=True, metavar="INTENT", help="Leave an intent out of a gate. Repeatable.")
@click.option("--seed", default=0, show_default=True, help="Which cases are drawn.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def dataset(*, data: Path, kind: str, cases: int, without: tuple[str, ...], seed: int, out: Path) -> None:
    """Write a data set that a policy can refer to, from recorded prompts: gzipped JSON lines."""
    import hashlib

    from pointsman.lab.demo.datasets import gate, references
    from pointsman.lab.models import MODELS
    from pointsman.routers import dataset as datasets

    try:
        _, calibration, test = datasets.load(data, MODELS).split()
    except datasets.DatasetError as error:
        raise click.UsageError(str(error)) from None
    unknown = sorted(set(without) - set(calibration.intents))
    if unknown:
        raise click.BadParameter(f"no case is of {', '.join(unknown)}", param_hint="--without")
    content = (
        references(test)
        if kind == "references"
        else gate(calibration, cases=cases, seed=seed, without=without)
    )
    out.write_bytes(content)
    click.echo(f"{out}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


@command.command(epilog="\b\nExample:\n  pointsman lab report --policy default/exam --out report.html")
@_STATE
@click.option("--policy", metavar="NAMESPACE/NAME", help="Default: the only policy there is.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def report(*, state: Path, policy: str | None, out: Path) -> None:
    """Write one self-contained page on a policy's rollouts: weights, evidence, cost, latency, events.

    It fetches nothing and runs no script: it can be mailed, archived, opened anywhere.
    """
    from pointsman.clock import system_clock
    from pointsman.lab.kubectl import Kubectl
    from pointsman.lab.process import LabError
    from pointsman.lab.report.gather import gather, only_policy
    from pointsman.lab.report.page import page

    found = _ask(state, {"do": "status"})
    try:
        with Kubectl(Path(found["kubeconfig"])) as kubectl:
            whose = policy or only_policy(kubectl)
            told = gather(kubectl, found["prometheus"], whose, system_clock)
    except LabError as error:
        fail(error)
    content = page(told)
    out.write_text(content, "utf-8")
    click.echo(f"{out}: {len(content) / 1000:.0f} kB, {len(told.rollouts)} rollouts of {told.policy}")


def _ask(state: Path, message: dict[str, Any]) -> dict[str, Any]:
    from pointsman.lab import control
    from pointsman.lab.process import LabError

    try:
        return control.ask(state, message)
    except LabError as error:
        fail(error)
