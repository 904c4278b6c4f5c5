"""`pointsman lab cluster`: a real Kubernetes of one node on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pointsman.cli.telling import fail, parts_table, timed

_STATE = click.option(
    "--state",
    default=Path(".lab/cluster"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The cluster's folder: logs, certificates, volumes.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
_LOAD_S = 600.0
_EXAMPLE = """\b
Example:
  sudo -E pointsman lab cluster up -d
  export KUBECONFIG=$PWD/.lab/cluster/admin.kubeconfig
  helm install pointsman charts/pointsman --set image.repository=registry.local/pointsman,image.tag=dev
  sudo -E pointsman lab cluster down
"""


@click.group(name="cluster", epilog=_EXAMPLE)
def command() -> None:
    """Run a real one-node Kubernetes: pods in containers, Services, DNS, volumes. Linux, root.

    API server, controllers, kubelet and kube-proxy are built once from pinned Go modules (`lab binaries --for
    cluster`); containerd and runc are the system's packages. Images are made here (`lab cluster images`), and
    nothing asks a registry. What it changes on the machine (a bridge, cgroups, nftables) goes with `down`.
    """


@command.command(
    epilog="\b\nExample:\n  sudo -E pointsman lab cluster up --detach --image ours --metrics-server"
)
@_STATE
@click.option("-d", "--detach", is_flag=True, help="Return when everything is up, and leave it running.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds until everything must be up.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME",
    default=("ours",),
    show_default=True,
    help="Make this image and load it: a name, `ours`, `all` or `none`. Repeatable.",
)
@click.option(
    "--gpus",
    default=8,
    show_default=True,
    type=click.IntRange(0),
    help="nvidia.com/gpu of the node, in name.",
)
@click.option("--metrics-server", "metrics", is_flag=True, help="For `kubectl top` and HPAs.")
def up(
    *, state: Path, detach: bool, timeout: float, images: tuple[str, ...], gpus: int, metrics: bool
) -> None:
    """Start a cluster with nothing of ours in it. In the foreground it runs until Ctrl-C, which clears it.

    One cluster a machine. Packages and binaries that are missing are installed and built, once.
    """
    from pointsman.lab import running as lab
    from pointsman.lab.cluster import machine, running
    from pointsman.lab.process import LabError

    say = timed()
    try:
        chosen = running.known(name for name in images if name != "none")
        if detach:
            machine.prepare(say)
            arguments = ["--state", str(state), "--timeout", str(timeout), "--gpus", str(gpus)]
            arguments += [f"--image={name}" for name in chosen or ("none",)]
            arguments += ["--metrics-server"] if metrics else []
            lab.detach(arguments, state, click.echo, ("lab", "cluster", "up"))
            return
        running.run(running.Options(state, chosen, gpus, metrics), say, timeout)
    except LabError as error:
        fail(error)


@command.command(epilog="\b\nExample:\n  pointsman lab cluster status --json | jq -r .kubeconfig")
@_STATE
@_JSON
def status(*, state: Path, as_json: bool) -> None:
    """Show the servers of the cluster that runs in the folder, and the images on its node."""
    found = _ask(state, {"do": "status"})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from rich.console import Console

    console = Console()
    console.print(parts_table(found["parts"]))
    console.print("\nimages\n  " + "\n  ".join(found["images"]))
    console.print(f"export KUBECONFIG={found['kubeconfig']}", soft_wrap=True)


@command.command(epilog="\b\nExample:\n  sudo -E pointsman lab cluster down")
@_STATE
def down(*, state: Path) -> None:
    """End the cluster of the folder: its pods, mounts, network and cgroups. Its logs stay.

    Also clears what a cluster left that was killed.
    """
    from pointsman.lab.cluster import machine, running
    from pointsman.lab.process import LabError

    try:
        problem = machine.problem()
        if problem is not None:
            raise LabError(problem)  # noqa: TRY301 - one place says all errors
        was_there = running.down(state)
    except LabError as error:
        fail(error)
    click.echo("the cluster is down" if was_there else f"no cluster runs in {state}")


@command.command(
    epilog="\b\nExample:\n  pointsman lab cluster images pointsman --out dist/images\n"
    "  sudo -E pointsman lab cluster images pointsman --load"
)
@_STATE
@click.argument("names", nargs=-1)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Also write each as an archive here."
)
@click.option("--load", is_flag=True, help="Also load them into the cluster that runs.")
@_JSON
def images(*, state: Path, names: tuple[str, ...], out: Path | None, load: bool, as_json: bool) -> None:
    """Make container images without a container daemon; show their names, sizes and digests.

    NAMES: of images, `ours` (the default) or `all`. The archives are OCI layouts that `docker load`, `podman
    load`, `kind load image-archive` and `ctr images import` take. Unchanged images come from the cache.
    """
    from pointsman.lab.cluster import running
    from pointsman.lab.images.catalog import Workshop
    from pointsman.lab.images.oci import write_archive
    from pointsman.lab.process import LabError

    say = timed(err=as_json)
    try:
        chosen = running.known(names or ("ours",))
        workshop = Workshop(say)
        made = workshop.images(chosen)
        for image in made if out is not None else ():
            path = (out or Path()) / f"{image.name.rpartition('/')[2]}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                write_archive([image], workshop.store.path, stream)
            say(f"{path}: {path.stat().st_size / 1e6:.0f} MB")
        if load:
            running.ask(state, {"do": "load", "images": list(chosen)}, _LOAD_S)
            say(f"loaded into the cluster of {state}")
    except LabError as error:
        fail(error)
    if as_json:
        shown = {
            image.name: {"names": image.names, "digest": image.digest, "size": image.size} for image in made
        }
        click.echo(json.dumps(shown, indent=2))
        return
    for image in made:
        click.echo(f"{image.names[0]:40}{image.size / 1e6:6.0f} MB  {image.digest}")


def _ask(state: Path, message: dict[str, Any]) -> dict[str, Any]:
    from pointsman.lab.cluster import running
    from pointsman.lab.process import LabError

    try:
        return running.ask(state, message)
    except LabError as error:
        fail(error)
