"""The command line. Each verb is a file of its own, imported only when it runs: --help stays fast."""

from __future__ import annotations

import importlib
from typing import Final

import click

from pointsman import __version__

VERBS: Final = {
    "lab": ("pointsman.cli.lab", "Run the whole stack as local processes, every server real."),
    "demo": ("pointsman.cli.demo", "Route recorded real traffic through the lab and print what it saved."),
    "operator": ("pointsman.cli.operator", "Reconcile policies: freeze, load classifiers, set traffic."),
    "xds": ("pointsman.cli.xds", "Serve Envoys their configuration (delta ADS)."),
    "evaluator": ("pointsman.cli.evaluator", "Take access logs and captures in, give counts out."),
    "bootstrap": ("pointsman.cli.bootstrap", "Write what an Envoy of a gateway starts with."),
    "triton-agent": ("pointsman.cli.triton_agent", "Keep the Triton beside it as its pool wants it."),
    "tier": ("pointsman.cli.tier", "Serve recorded answers of a real model, OpenAI-compatible."),
    "crd": ("pointsman.cli.crd", "Write the CustomResourceDefinitions."),
    "train": ("pointsman.cli.train", "Train a classifier and pack it as a bundle."),
    "bundle": ("pointsman.cli.bundle", "Look into a bundle, or score text with it."),
    "gate": ("pointsman.cli.gate", "Hold a candidate against the incumbent on recorded answers."),
    "selftest": ("pointsman.cli.selftest", "Ask through a gateway whether an installation serves."),
    "translate": ("pointsman.cli.translate", "Show the Envoy configuration that policies become."),
}
"""Verb: (module with a click command named `command`, what it does)."""


class _LazyGroup(click.Group):
    """A group that imports a verb's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{VERBS[cmd_name][0]}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(verb, summary) for verb, (_, summary) in VERBS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={
        "auto_envvar_prefix": "POINTSMAN",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
    },
)
@click.version_option(__version__, prog_name="pointsman")
def main() -> None:
    """Pointsman sends each LLM request to the cheapest model that answers it well enough.

    Start with the whole thing on your machine, no cluster needed:

        pointsman demo

    Every option can be set by an environment variable: POINTSMAN_<VERB>_<OPTION>.
    """
