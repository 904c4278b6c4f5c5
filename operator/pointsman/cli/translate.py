"""`pointsman translate`: what policies become, by the xds server's own functions, without a cluster."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from pointsman.api.manifests import Manifests
    from pointsman.plan.build import BuildResult

_EXAMPLE = """\b
Examples:
  pointsman translate -f policy.yaml --ready -o plan
  kubectl get rp,rprev -A -o yaml | pointsman translate -f - -o xds --gateway default
"""


@click.command(epilog=_EXAMPLE)
@click.option(
    "-f",
    "--file",
    "files",
    type=click.File(encoding="utf-8"),
    multiple=True,
    required=True,
    help="Manifests of RoutingPolicies, their revisions, and RoutingGateways if they shall count; YAML or "
    "JSON; - is standard input. Repeatable.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["plan", "xds"]),
    default="plan",
    show_default=True,
    help="plan: what shall be served. xds: Envoy's listeners, clusters and routes for it.",
)
@click.option("--gateway", help="Only this gateway.")
@click.option(
    "--ready",
    is_flag=True,
    help="Show each policy as if the revision that its spec asks for had all traffic.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    *, files: tuple[TextIO, ...], output: str, gateway: str | None, ready: bool, as_json: bool
) -> None:
    """Show what policies become: the plan of each gateway, or the Envoy configuration that it is served as.

    The status in the files counts: a policy without one is always-strong, all traffic to its last tier. What
    is wrong with a policy goes to standard error, and the exit code is 1; it is 2 if a file cannot be read.
    Secrets are shown by name, scripts by file name and digest.
    """
    from pointsman.api import manifests
    from pointsman.plan.build import BuildResult, build
    from pointsman.plan.fleet import fleet_of

    try:
        found = manifests.read(_texts(files))
        policies = _in_force(found) if ready else found
    except manifests.ManifestError as error:
        raise click.UsageError(str(error)) from None
    for other in found.others:
        click.echo(f"note: {other}", err=True)
    if not found.policies:
        raise click.UsageError("no RoutingPolicy in these files; name one with -f")
    fleet = fleet_of(found.gateways.values())
    result = build(list(policies.policies.values()), policies.revisions, {}, fleet)
    if gateway is not None:
        result = BuildResult(_only(result, gateway), result.findings)
    _print(_plan(result) if output == "plan" else _xds(result), as_json=as_json)
    for finding in result.findings:
        click.echo(f"{finding.policy}: {finding.reason}: {finding.message}", err=True)
    sys.exit(1 if result.findings else 0)


def _texts(files: tuple[TextIO, ...]) -> dict[str, str]:
    try:
        return {file.name: file.read() for file in files}
    except UnicodeDecodeError as error:
        raise click.UsageError(f"a file is no UTF-8 text: {error}") from None


def _in_force(found: Manifests) -> Manifests:
    """Return the manifests as they will be when every policy's spec has come into force."""
    from pointsman.api.manifests import Manifests
    from pointsman.api.v1alpha1 import RoutingPolicyRevision
    from pointsman.api.v1alpha1.status import RoutingPolicyStatus, TrafficShare
    from pointsman.rollout.revisions import manifest

    policies, revisions = {}, dict(found.revisions)
    for key, policy in found.policies.items():
        frozen = RoutingPolicyRevision.model_validate(manifest(policy))
        revisions[frozen.key] = frozen
        name = frozen.metadata.name
        share = TrafficShare(revision=name, weight_permille=1000)
        status = RoutingPolicyStatus(stable_revision=name, traffic=[share])
        policies[key] = policy.model_copy(update={"status": status})
    return Manifests(policies, revisions, found.gateways, found.others)


def _only(result: BuildResult, gateway: str) -> dict[str, Any]:
    if gateway not in result.gateways:
        names = ", ".join(result.gateways) or "none"
        raise click.UsageError(f"--gateway {gateway}: no policy is on it; there are: {names}")
    return {gateway: result.gateways[gateway]}


def _plan(result: BuildResult) -> dict[str, Any]:
    from pointsman.plan.view import plan_view

    return plan_view(result)["gateways"]  # type: ignore[no-any-return] # JSON


def _xds(result: BuildResult) -> dict[str, Any]:
    from pointsman.xds.translate import Options, named_secrets, translate
    from pointsman.xds.translate.view import script_digests, xds_view

    shown: dict[str, Any] = {}
    for name, plan in result.gateways.items():
        resources = translate(plan, Options())
        shown[name] = xds_view(resources, named_secrets(plan)) | {"scripts": script_digests()}
    return shown


def _print(value: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
            return True

    click.echo(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110), nl=False)
