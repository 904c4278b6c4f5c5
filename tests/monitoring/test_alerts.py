"""Every alert, by Prometheus's own test: fires when it should, after its time, and is silent at rest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from monitoring_kit import CHART, RULES, alerts, promtool

POLICY: Final = {"namespace": "chat", "policy": "support"}
WHOSE: Final = 'namespace="chat",policy="support"'
ENTRY: Final = 'envoy_http_conn_manager_prefix="entry"'
FAILED_OPEN: Final = f'pointsman_guard_results_total{{{WHOSE},rubric="failOpen",outcome="fail"}}'
UNANSWERED: Final = f'pointsman_guard_results_total{{{WHOSE},rubric="answered",outcome="fail"}}'
COST: Final = f'pointsman_cost_usd_total{{{WHOSE},tier="strong"}}'
UNSCORED: Final = f'pointsman_rubric_unscored_total{{{WHOSE},rubric="correct"'
STABLE: Final = (
    f'pointsman_rollout_info{{{WHOSE},stable="support-a",candidate="",step="Stable",state="Done"}}'
)
CONTACT: Final = (
    'pointsman_kube_informer_last_contact_timestamp_seconds{namespace="pointsman-system",'
    'pod="pointsman-xds-0",resource="routingpolicies"}'
)

AT_REST: Final = {
    STABLE: "1+0x2000",
    f"pointsman_policy_ready{{{WHOSE}}}": "1+0x2000",
    f'pointsman_requests_total{{{WHOSE},tier="cheap",reason="score"}}': "0+600x2000",
    f'pointsman_guard_results_total{{{WHOSE},rubric="failOpen",outcome="pass"}}': "0+600x2000",
    f'pointsman_guard_results_total{{{WHOSE},rubric="answered",outcome="pass"}}': "0+600x2000",
    COST: "0+0.05x2000",
    f'pointsman_rubric_results_total{{{WHOSE},rubric="correct",version="a1",outcome="pass"}}': "0+60x2000",
    f'{UNSCORED},because="not_captured"}}': "0+5x2000",
    f'pointsman_shadow_requests_total{{{WHOSE},outcome="agreed"}}': "0+60x2000",
    'pointsman_xds_policies{gateway="default",pod="pointsman-xds-0"}': "3+0x2000",
    'pointsman_xds_streams{gateway="default",pod="pointsman-xds-0"}': "2+0x2000",
    'pointsman_xds_compile_seconds_count{pod="pointsman-xds-0"}': "1+1x2000",
    'pointsman_access_log_lost_total{pod="pointsman-evaluator-0"}': "0+0x2000",
    'pointsman_access_log_entries_total{pod="pointsman-evaluator-0"}': "0+600x2000",
    f"envoy_http_downstream_rq_completed{{{ENTRY}}}": "0+600x2000",
    'nv_inference_queue_duration_us{model="pm-1"}': "0+60000x2000",
    'nv_inference_request_success{model="pm-1"}': "0+600x2000",
    'pointsman_operator_leader{pod="pointsman-operator-0"}': "1+0x2000",
    'pointsman_operator_leader{pod="pointsman-operator-1"}': "0+0x2000",
    'pointsman_operator_reconciles_total{result="ok"}': "0+60x2000",
    'pointsman_operator_reconciles_total{result="conflict"}': "0+1x2000",
    'pointsman_evaluator_queue_items{pod="pointsman-evaluator-0"}': "0+0x2000",
    'pointsman_evaluator_store_up{pod="pointsman-evaluator-0"}': "1+0x2000",
    'pointsman_evaluator_store_volume_free_bytes{pod="pointsman-evaluator-0"}': "900+0x2000",
    'pointsman_evaluator_store_volume_bytes{pod="pointsman-evaluator-0"}': "1000+0x2000",
    'pointsman_gateway_ready{gateway="default"}': "1+0x2000",
    'pointsman_pool_ready{pool="default"}': "1+0x2000",
    'pointsman_certificate_expiry_timestamp_seconds{secret="pointsman-xds-tls"}': "2592000+60x2000",
    CONTACT: "0+60x2000",
}
"""A healthy installation with one policy, a sample a minute, for longer than any look."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is different from AT_REST, and who is told of. `none`: series that are not there."""

    series: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    minutes: int = 0
    """From the trouble, which begins at once, to the look; 0: `for` and 20 minutes more."""
    none: tuple[str, ...] = ()


def info(step: str, state: str = "Running", outcome: str = "") -> dict[str, str]:
    """Return the series of a rollout of support-b."""
    labels = (
        f'{WHOSE},stable="support-a",candidate="support-b",step="{step}",state="{state}",outcome="{outcome}"'
    )
    return {f"pointsman_rollout_info{{{labels}}}": "1+0x2000"}


def unready(condition: str, reason: str, status: str = "False") -> dict[str, str]:
    """Return the series of a condition that is not True."""
    labels = f'{WHOSE},condition="{condition}",reason="{reason}",status="{status}"'
    return {f"pointsman_policy_unready{{{labels}}}": "1+0x2000"}


CANDIDATE: Final = {**POLICY, "candidate": "support-b"}
CASES: Final = {
    "PointsmanRolledBack": Case(
        info("RolledBack", "Done", "RolledBack"), {**CANDIDATE, "outcome": "RolledBack"}, none=(STABLE,)
    ),
    "PointsmanForcedStrong": Case(info("RolledBack", "Done", "ForcedStrong"), POLICY, none=(STABLE,)),
    "PointsmanRolloutInconclusive": Case(info("Canary", "Inconclusive"), {**CANDIDATE, "step": "Canary"}),
    "PointsmanApprovalNeeded": Case(info("Canary", "AwaitingApproval"), {**CANDIDATE, "step": "Canary"}),
    "PointsmanEvidenceMissing": Case(unready("Progressing", "EvidenceMissing"), POLICY),
    "PointsmanShadowBudgetSpent": Case(
        {f'pointsman_shadow_requests_total{{{WHOSE},outcome="over_budget"}}': "0+100x2000"}, POLICY
    ),
    "PointsmanPolicyNotAccepted": Case(
        unready("Accepted", "HostConflict"), {**POLICY, "reason": "HostConflict"}
    ),
    "PointsmanClassifierNotReady": Case(unready("ClassifierReady", "BundleNotFound"), POLICY),
    "PointsmanPolicyQuarantined": Case(unready("Programmed", "Quarantined"), POLICY),
    "PointsmanFailOpenHigh": Case({FAILED_OPEN: "0+60x2000"}, POLICY),
    "PointsmanRequestsUnanswered": Case({UNANSWERED: "0+60x2000"}, POLICY),
    # five cents a minute for a day, then ten
    "PointsmanCostSpike": Case({COST: "0+0.05x1560 78.1+0.1x300"}, POLICY, minutes=1650),
    "PointsmanCaptureCoverageLow": Case({f'{UNSCORED},because="dropped"}}': "0+6x2000"}, POLICY),
    "PointsmanNoEnvoy": Case(
        {'pointsman_xds_streams{gateway="default",pod="pointsman-xds-0"}': "0+0x2000"}, {"gateway": "default"}
    ),
    "PointsmanGatewayNotReady": Case(
        {'pointsman_gateway_ready{gateway="default"}': "0+0x2000"}, {"gateway": "default"}
    ),
    "PointsmanPoolNotReady": Case({'pointsman_pool_ready{pool="default"}': "0+0x2000"}, {"pool": "default"}),
    "PointsmanEnvoyRefuses": Case(
        {'pointsman_xds_nacks_total{gateway="default",type="routes"}': "1+1x2000"}, {"gateway": "default"}
    ),
    "PointsmanAccessLogLosses": Case(
        {'pointsman_access_log_lost_total{pod="pointsman-evaluator-0"}': "0+2x2000"}
    ),
    "PointsmanTritonQueueing": Case(
        {'nv_inference_queue_duration_us{model="pm-1"}': "0+9000000x2000"}, {"model": "pm-1"}
    ),
    "PointsmanOperatorWithoutLeader": Case(
        {'pointsman_operator_leader{pod="pointsman-operator-0"}': "0+0x2000"}
    ),
    "PointsmanOperatorFailing": Case({'pointsman_operator_reconciles_total{result="error"}': "0+20x2000"}),
    "PointsmanXdsDown": Case({}, none=('pointsman_xds_compile_seconds_count{pod="pointsman-xds-0"}',)),
    "PointsmanEvaluatorDown": Case(
        {}, none=('pointsman_evaluator_queue_items{pod="pointsman-evaluator-0"}',)
    ),
    "PointsmanEvaluatorBlind": Case(
        {'pointsman_access_log_entries_total{pod="pointsman-evaluator-0"}': "600+0x2000"}
    ),
    "PointsmanEvaluatorDropping": Case(
        {'pointsman_evaluator_dropped_total{what="capture",because="queue_full"}': "1+60x2000"},
        {"what": "capture", "because": "queue_full"},
    ),
    "PointsmanStoreWritesFail": Case(
        {'pointsman_evaluator_store_up{pod="pointsman-evaluator-0"}': "0+0x2000"}
    ),
    "PointsmanStoreFilling": Case(
        {'pointsman_evaluator_store_volume_free_bytes{pod="pointsman-evaluator-0"}': "90+0x2000"}
    ),
    "PointsmanCertificateExpiring": Case(
        {'pointsman_certificate_expiry_timestamp_seconds{secret="pointsman-xds-tls"}': "400000+0x2000"},
        {"secret": "pointsman-xds-tls"},
    ),
    "PointsmanApiServerSilent": Case(
        {CONTACT: "0+0x2000"},
        {"namespace": "pointsman-system", "pod": "pointsman-xds-0", "resource": "routingpolicies"},
    ),
}


def minutes_of(duration: str) -> int:
    """Return a rule's `for` in minutes."""
    return int(duration[:-1]) * {"m": 1, "h": 60}[duration[-1]]


def expected(labels: Mapping[str, str]) -> str:
    """Return a series in Prometheus's notation."""
    inner = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"ALERTS{{{inner}}}"


def run(series: Mapping[str, str], looks: list[dict[str, Any]], folder: Path) -> None:
    """Have promtool evaluate the rules on these series, and compare what it finds."""
    last = max(int(str(one["eval_time"]).removesuffix("m")) for one in looks)
    test = {
        "rule_files": [str(CHART / "rules" / name) for name in RULES],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values.replace("x2000", f"x{last}")}
                    for name, values in series.items()
                ],
                "promql_expr_test": looks,
            }
        ],
    }
    path = folder / "test.yaml"
    path.write_text(json.dumps(test), encoding="utf-8")  # JSON is YAML
    done = subprocess.run(
        [promtool(), "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def look(alert: str, minute: int, *labels: Mapping[str, str]) -> dict[str, Any]:
    """Return what promtool shall find of an alert that fires."""
    return {
        "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": expected(one), "value": 1} for one in labels],
    }


def test_every_alert_has_its_case() -> None:
    """None goes untried."""
    assert CASES.keys() == alerts().keys()


def test_all_is_silent_at_rest(tmp_path: Path) -> None:
    """A healthy installation makes no alert, not even a pending one, for a day and more."""
    at_rest = [{"expr": "ALERTS", "eval_time": f"{m}m", "exp_samples": []} for m in (20, 120, 1500, 1900)]
    run(AT_REST, at_rest, tmp_path)


@pytest.mark.parametrize("alert", CASES)
def test_it_fires_and_names_whom_it_is_about(alert: str, tmp_path: Path) -> None:
    """After its time, and not at once; its labels are all that the description speaks of."""
    case, rule = CASES[alert], alerts()[alert]
    series = {name: values for name, values in AT_REST.items() if name not in case.none} | dict(case.series)
    minute = case.minutes or minutes_of(rule["for"]) + 20
    fired = {
        "alertname": alert,
        "alertstate": "firing",
        "severity": rule["labels"]["severity"],
        **case.labels,
    }
    run(series, [look(alert, 0), look(alert, minute, fired)], tmp_path)
    described = rule["annotations"]["description"]
    assert {name for name in fired if f"{{{{ $labels.{name} }}}}" in described} >= case.labels.keys() - {
        "outcome"
    }
    for name in POLICY.keys() & case.labels.keys():
        assert f"{{{{ $labels.{name} }}}}" in described
