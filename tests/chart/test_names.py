"""Chart and parts agree: names, ports, files and flags are those of `pointsman.install`."""

from __future__ import annotations

import importlib
import tomllib
from typing import Any

import click
import pytest
import yaml

from chart_kit import CHART, CRDS_CHART, ROOT, SYSTEM, Helm, Object, one, pods
from pointsman import install

from .cases import CASES

PARTS = {
    install.OPERATOR: {"http": install.OPERATOR_HTTP, "bundles": install.OPERATOR_BUNDLES},
    install.XDS: {"grpc": install.XDS_GRPC, "http": install.XDS_HTTP},
    install.EVALUATOR: {
        "http": install.EVALUATOR_HTTP,
        "access-log": install.EVALUATOR_ACCESS_LOG,
        "capture": install.EVALUATOR_CAPTURE,
    },
}


@pytest.fixture
def objects(helm: Helm) -> list[Object]:
    """Return the objects of the default values."""
    return helm.render({})


@pytest.mark.parametrize("part", PARTS)
def test_a_part_listens_where_the_others_look_for_it(objects: list[Object], part: str) -> None:
    """Ports of Service and container are the constants; the Service finds the part's pods."""
    service = one(objects, "Service", part)["spec"]
    assert {port["name"]: port["port"] for port in service["ports"]} == PARTS[part]
    template = dict(pods(objects))[part]
    (container,) = template["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == PARTS[part]
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    for port in PARTS[part].values():
        assert any(argument.endswith(f"=0.0.0.0:{port}") for argument in container["args"])


@pytest.mark.parametrize("part", PARTS)
def test_a_part_finds_its_certificate(objects: list[Object], part: str) -> None:
    """The Secret is the one that is made for it, mounted where it looks; the operator starts without."""
    spec = dict(pods(objects))[part]["spec"]
    (volume,) = (each["secret"] for each in spec["volumes"] if "secret" in each)
    assert volume["secretName"] == install.certificate_secret(part)
    assert volume.get("optional", False) is (part == install.OPERATOR)
    (container,) = spec["containers"]
    assert any(mount["mountPath"] == install.CERTIFICATES for mount in container["volumeMounts"])
    assert f"--tls-dir={install.CERTIFICATES}" in container["args"]
    assert spec["serviceAccountName"] == part


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("part", [*PARTS, "pointsman-selftest"])
def test_a_part_knows_every_flag_that_it_is_given(helm: Helm, part: str, case: str) -> None:
    """Each `--flag` of a container is an option of that verb."""
    template = dict(pods(helm.render(CASES[case]))).get(part)
    if template is None:
        return
    (container,) = template["spec"]["containers"]
    verb, *arguments = container["args"]
    assert verb == part.removeprefix("pointsman-")
    command = importlib.import_module(f"pointsman.cli.{verb}").command
    assert isinstance(command, click.Command)
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {argument.partition("=")[0] for argument in arguments} <= known


def test_certificates_of_cert_manager_are_those_that_the_operator_would_make(helm: Helm) -> None:
    """Secret names and DNS names; the gateway's are those of its internal Service."""
    objects = helm.render(CASES["cert-manager"])
    services = {
        install.certificate_secret(part): part for part in (install.OPERATOR, install.XDS, install.EVALUATOR)
    }
    for gateway in ("default", "edge"):
        secret = install.certificate_secret(install.gateway_name(gateway))
        services[secret] = install.gateway_internal(gateway)
    pool = install.pool_name("default")
    services[install.certificate_secret(pool)] = pool
    found = {
        each["spec"]["secretName"]: each["spec"]
        for each in objects
        if each["kind"] == "Certificate" and not each["spec"].get("isCA")
    }
    assert found.keys() == services.keys()
    for secret, service in services.items():
        host = install.service_host(service, SYSTEM)
        assert found[secret]["dnsNames"] == [service, host, f"{host}.cluster.local"]
    assert one(objects, "Certificate", install.CA_SECRET)["spec"]["secretName"] == install.CA_SECRET


def test_the_bundled_prometheus_scrapes_every_part(helm: Helm) -> None:
    """At the ports of the constants, the evaluator at the evidence interval, labels of ours untouched."""
    config = one(helm.render(CASES["bundled-prometheus"]), "ConfigMap", "pointsman-prometheus")["data"]
    jobs: dict[str, Any] = {
        job["job_name"]: job for job in yaml.safe_load(config["prometheus.yml"])["scrape_configs"]
    }
    ports = {
        "operator": install.OPERATOR_HTTP,
        "xds": install.XDS_HTTP,
        "evaluator": install.EVALUATOR_HTTP,
        "envoy": install.ENVOY_STATS,
        "triton": install.TRITON_METRICS,
        "triton-agent": install.AGENT_HTTP,
    }
    assert jobs.keys() == ports.keys()
    for name, port in ports.items():
        targets = [rule["replacement"] for rule in jobs[name]["relabel_configs"] if "replacement" in rule]
        assert targets == [f"$1:{port}", f"[$1]:{port}"]
        assert jobs[name]["honor_labels"] is True
        labels = {rule.get("target_label") for rule in jobs[name]["relabel_configs"]}
        assert not labels & {"namespace", "policy"}
    assert jobs["evaluator"]["scrape_interval"] == "5s"
    assert jobs["envoy"]["metrics_path"] == "/stats/prometheus"
    assert {"alerts.yaml", "recording.yaml"} <= config.keys()


def test_versions_are_one() -> None:
    """Both charts and the package are released together."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    for chart in (CHART, CRDS_CHART):
        about = yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))
        assert (about["version"], about["appVersion"]) == (package, package)
