"""Writes the Grafana dashboards beside it, fleet.json and policy.json; `--check` compares.

    python charts/pointsman/dashboards/build.py [--check]

Data source, namespace and policy are variables.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from grafana import (
    WIDTH,
    Panel,
    dashboard,
    labelled,
    lines,
    over,
    quantiles,
    query_variable,
    rates,
    row,
    stat,
    states,
    table,
)

HERE: Final = Path(__file__).parent

ENTRY: Final = 'envoy_http_conn_manager_prefix="entry"'
WHOSE: Final = labelled("namespace") + "/" + labelled("policy")
REQUESTS: Final = "namespace_policy:pointsman_requests:rate5m"
UNANSWERED: Final = "namespace_policy:pointsman_unanswered:ratio_rate5m"
FAILED_OPEN: Final = "namespace_policy:pointsman_fail_open:ratio_rate5m"
COST: Final = "namespace_policy:pointsman_cost_usd:increase1h"
BASELINE: Final = "namespace_policy:pointsman_baseline_cost_usd:increase1h"
ALL_STRONG: Final = "all to the last tier (estimate)"
SAVED: Final = "Against the last tier for all, in the last hour: an estimate from the same tokens."


def fleet() -> dict[str, Any]:
    """All policies, and the parts that serve them."""
    panels = [*_now(), *_rollouts(), *_traffic(), *_costs(), *_envoy(), *_triton(), *_parts()]
    return dashboard("fleet", "Fleet", [], panels)


def _now() -> list[Panel]:
    ready = "max by (namespace, policy) (pointsman_policy_ready)"
    firing = 'count(ALERTS{alertname=~"Pointsman.*",alertstate="firing"})'
    return row(
        "Now",
        stat("Policies", f"count({ready}) or vector(0)"),
        stat("Not ready", f"count({ready} == 0) or vector(0)", bad=1),
        stat("In canary", 'count(pointsman_rollout_info{step="Canary"}) or vector(0)'),
        stat("Waiting for a person", "sum(pointsman_rollout_held) or vector(0)", bad=1),
        stat("Requests", f"sum({REQUESTS})", "reqps"),
        stat("Saved", f"1 - sum({COST}) / sum({BASELINE})", "percentunit", says=SAVED),
        stat("Cost of the last hour", f"sum({COST})", "currencyUSD"),
        stat("Alerts", f"{firing} or vector(0)", bad=1),
    )


def _rollouts() -> list[Panel]:
    where = "namespace, policy, step, state, candidate, outcome"
    ended = "sum by (outcome) (increase(pointsman_rollout_ended_total[1h]))"
    unready = "max by (namespace, policy, condition, status, reason) (pointsman_policy_unready)"
    return row(
        "Rollouts",
        lines("Policies by step", {"{{step}}": "count by (step) (pointsman_rollout_info)"}, stack=True),
        lines(
            "Ended, in the hour before",
            {"{{outcome}}": ended},
            says="The first end of its kind after an operator's start does not show here.",
        ),
        lines("Weight of candidates, permille", {WHOSE: "pointsman_rollout_weight_permille > 0"}),
        table(
            "On their way, or refused", {"": f'max by ({where}) (pointsman_rollout_info{{step!="Stable"}})'}
        ),
        table("Conditions that are not True", {"": unready}),
    )


def _traffic() -> list[Panel]:
    ttft = "le:pointsman_time_to_first_token_seconds_bucket:rate5m"
    decision = "le:pointsman_decision_seconds_bucket:rate5m"
    return row(
        "Traffic",
        lines("Requests", {WHOSE: f"topk(10, {REQUESTS})"}, "reqps"),
        lines("Not answered by the chosen tier", {WHOSE: f"topk(10, {UNANSWERED})"}, "percentunit"),
        lines("Failed open", {WHOSE: f"topk(10, {FAILED_OPEN})"}, "percentunit"),
        lines("Time to the first token", _recorded(ttft), "s"),
        lines("Time to a decision", _recorded(decision), "s"),
        lines("Why", rates("reason", "pointsman_requests_total"), "reqps", stack=True),
    )


def _recorded(buckets: str) -> dict[str, str]:
    return {f"p{q}": f"histogram_quantile(0.{q}, {buckets})" for q in (50, 95, 99)}


def _costs() -> list[Panel]:
    return row(
        "Cost",
        lines("An hour's cost", {"paid": f"sum({COST})", ALL_STRONG: f"sum({BASELINE})"}, "currencyUSD"),
        lines("The dearest policies", {WHOSE: f"topk(10, {COST})"}, "currencyUSD"),
        lines("Saved, by policy", {WHOSE: f"topk(10, 1 - {COST} / {BASELINE})"}, "percentunit"),
    )


def _envoy() -> list[Panel]:
    return row(
        "Gateways and pools",
        lines(
            "Ready",
            {
                "gateway {{gateway}}": "max by (gateway) (pointsman_gateway_ready)",
                "pool {{pool}}": "max by (pool) (pointsman_pool_ready)",
                "Tritons of {{pool}}": "max by (pool) (pointsman_pool_ready_replicas)",
            },
            says="1 where the RoutingGateway or TritonPool is ready; Tritons that requests reach.",
        ),
        lines(
            "Answers by class",
            rates("envoy_response_code_class", "envoy_http_downstream_rq_xx", ENTRY),
            "reqps",
            stack=True,
        ),
        lines(
            "Under way",
            {
                "requests": f"sum(envoy_http_downstream_rq_active{{{ENTRY}}})",
                "connections": f"sum(envoy_http_downstream_cx_active{{{ENTRY}}})",
            },
        ),
        lines("Envoys connected to xds", {"{{gateway}}": "sum by (gateway) (pointsman_xds_streams)"}),
        lines("From a change to its acknowledgement", quantiles("pointsman_xds_change_ack_seconds"), "s"),
        lines(
            "Refused",
            {
                "NACKs {{gateway}}": "sum by (gateway) (increase(pointsman_xds_nacks_total[1h]))",
                "in quarantine {{gateway}}": "max by (gateway) (pointsman_xds_quarantined_policies)",
            },
        ),
        lines(
            "Served and not counted",
            {"requests an hour": "sum(increase(pointsman_access_log_lost_total[1h]))"},
            says="Their access log entry never reached the evaluator's store.",
        ),
    )


def _triton() -> list[Panel]:
    done, waited = "nv_inference_request_success", "nv_inference_queue_duration_us"
    ((legend, answered),) = rates("model", done).items()
    ((_, queued),) = rates("model", waited).items()
    return row(
        "Triton",
        lines("Classifications", rates("model", done), "reqps"),
        lines("Wait in the queue", {legend: over(queued, answered)}, "µs"),
        lines("Failures", rates("model, reason", "nv_inference_request_failure"), "reqps"),
    )


def _parts() -> list[Panel]:
    silent = "max(time() - pointsman_kube_informer_last_contact_timestamp_seconds)"
    ends = "pointsman_certificate_expiry_timestamp_seconds"
    return row(
        "Operator, xds, evaluator",
        stat("Leaders", "sum(pointsman_operator_leader) or vector(0)"),
        stat("xds servers", "count(pointsman_xds_compile_seconds_count) or vector(0)"),
        stat("Access log streams", "sum(pointsman_evaluator_access_log_streams) or vector(0)"),
        stat("Waiting for the store", "sum(pointsman_evaluator_queue_items) or vector(0)", bad=10000),
        stat("Waiting to be scored", "sum(pointsman_evaluator_pending_requests) or vector(0)", bad=10000),
        stat("Policies due", "sum(pointsman_operator_queue_depth) or vector(0)", bad=100),
        stat("API server silent for", silent, "s", bad=600),
        stat("Next certificate's end in", f"min({ends} - time())", "s", bad_below=5 * 86400),
        lines("Reconciles", rates("result", "pointsman_operator_reconciles_total"), "ops"),
        lines("Age of evidence when it decided", quantiles("pointsman_operator_evidence_age_seconds"), "s"),
        lines("Writes of the operator", rates("resource", "pointsman_operator_writes_total"), "ops"),
        lines("Store transactions", rates("outcome", "pointsman_evaluator_store_writes_total"), "ops"),
        lines("Dropped by the evaluator", rates("what, because", "pointsman_evaluator_dropped_total"), "ops"),
        lines("API requests", rates("verb, code", "pointsman_kube_requests_total"), "reqps"),
    )


OF: Final = 'namespace="$namespace",policy="$policy"'
BOUNDS: Final = {
    "drop": "drop",
    "at least": "low",
    "at most": "high",
    "fails beyond": "fail_beyond",
    "passes within": "pass_within",
}
"""How the bounds of a verdict are called, and the label `bound` of each."""


def policy() -> dict[str, Any]:
    """One policy: its rollout, its evidence, its traffic and its cost."""
    verdict = f"pointsman_verdict_permille{{{OF}}}"
    variables = [
        query_variable("namespace", "label_values(pointsman_policy_ready, namespace)"),
        query_variable("policy", 'label_values(pointsman_policy_ready{namespace="$namespace"}, policy)'),
        query_variable("rubric", f"label_values({verdict}, rubric)", every=True),
        query_variable("intent", f"label_values({verdict}, intent)", every=True),
    ]
    panels = [*_where(), *_verdicts(), *_tiers(), *_cost(), *_evidence()]
    return dashboard("policy", "Policy", variables, panels)


def _where() -> list[Panel]:
    weight = f"max(pointsman_rollout_weight_permille{{{OF}}}) / 10"
    paid = f"sum(increase(pointsman_cost_usd_total{{{OF}}}[1h]))"
    strong = f"sum(increase(pointsman_baseline_cost_usd_total{{{OF}}}[1h]))"
    return row(
        "Where it is",
        stat("Candidate's weight", weight, "percent"),
        stat("Scored answers of it", f"max(pointsman_rollout_samples{{{OF}}})"),
        stat("Worst drop, points", f"max(pointsman_rollout_worst_drop_permille{{{OF}}}) / 10", "percent"),
        stat("To promotion", f"max(pointsman_rollout_expected_hours{{{OF}}} >= 0)", "h"),
        stat("Requests", f"sum(rate(pointsman_requests_total{{{OF}}}[5m]))", "reqps"),
        stat("Saved", f"1 - {over(paid, strong)}", "percentunit", says=SAVED),
        stat("Failed open", f"max({FAILED_OPEN}{{{OF}}})", "percentunit", bad=0.05),
        stat("Not answered", f"max({UNANSWERED}{{{OF}}})", "percentunit", bad=0.05),
        states(
            "Steps",
            f"max by (step, state, candidate) (pointsman_rollout_info{{{OF}}})",
            labelled("step", "state", "candidate"),
        ),
        states(
            "Conditions that are not True",
            f"max by (condition, reason) (pointsman_policy_unready{{{OF}}})",
            labelled("condition", "reason"),
        ),
        lines("Candidate's weight", {"weight": weight}, "percent", w=12),
        lines(
            "Requests by revision, as served",
            rates("revision", "pointsman_requests_total", OF),
            "reqps",
            w=12,
            stack=True,
        ),
    )


def _verdicts() -> list[Panel]:
    chosen = f'{OF},rubric=~"$rubric",intent=~"$intent"'
    columns = {
        name: f'max by (stage, rubric, intent) (pointsman_verdict_permille{{{OF},bound="{bound}"}}) / 10'
        for name, bound in BOUNDS.items()
    }
    answers = {
        arm: f'max by (stage, rubric, intent) (pointsman_verdict_samples{{{OF},arm="{arm}"}})'
        for arm in ("incumbent", "candidate")
    }
    whose = labelled("stage", "intent")
    over_time = {
        f"{whose} {name}": f'pointsman_verdict_permille{{{chosen},bound="{bound}"}} / 10'
        for name, bound in BOUNDS.items()
    }
    scored = "sum by (rubric, arm) (rate(pointsman_rubric_results_total"
    passes = over(f'{scored}{{{OF},outcome="pass"}}[15m]))', f"{scored}{{{OF}}}[15m]))")
    drop = lines(
        "$rubric: drop in points",
        over_time,
        w=WIDTH,
        says="Fails when `at least` is above `fails beyond`; passes when `at most` is below `passes within`. "
        "Without an intent: all traffic.",
    )
    return row(
        "Verdicts: interval against margins, in points of the pass rate",
        table("The worst, now", columns | answers, w=WIDTH),
        drop | {"repeat": "rubric", "repeatDirection": "v"},
        lines(
            "Scored answers",
            {labelled("stage", "rubric", "intent", "arm"): f"pointsman_verdict_samples{{{chosen}}}"},
            w=12,
        ),
        lines("Pass rate by arm", {labelled("rubric", "arm"): passes}, "percentunit", w=12),
    )


def _tiers() -> list[Panel]:
    guards = "pointsman_guard_results_total"
    ((legend, failed),) = rates("tier, rubric", guards, f'{OF},outcome="fail"').items()
    ((_, looked_at),) = rates("tier, rubric", guards, OF).items()
    ttft, whole = "pointsman_time_to_first_token_seconds", "pointsman_request_duration_seconds"
    return row(
        "Tiers",
        lines("Who answered", rates("tier", "pointsman_requests_total", OF), "reqps", stack=True),
        lines("Why", rates("reason", "pointsman_requests_total", OF), "reqps", stack=True),
        lines("Failures", {legend: over(failed, looked_at)}, "percentunit"),
        lines("Time to the first token", quantiles(ttft, f"{{{OF}}}", "tier"), "s"),
        lines("Whole answer", quantiles(whole, f"{{{OF}}}", "tier"), "s"),
        lines("Decision", quantiles("pointsman_decision_seconds", f"{{{OF}}}"), "s"),
    )


def _cost() -> list[Panel]:
    paid = {
        "{{tier}}": f"sum by (tier) (increase(pointsman_cost_usd_total{{{OF}}}[1h]))",
        ALL_STRONG: f"sum(increase(pointsman_baseline_cost_usd_total{{{OF}}}[1h]))",
    }
    return row(
        "Cost",
        lines("An hour's cost", paid, "currencyUSD", w=6),
        lines(
            "Cost of a request",
            quantiles("pointsman_request_cost_usd", f"{{{OF}}}", "tier"),
            "currencyUSD",
            w=6,
        ),
        lines("Tokens a second", rates("tier, direction", "pointsman_tokens_total", OF), w=6),
        lines(
            "Tokens of an answer",
            quantiles("pointsman_answer_output_tokens", f"{{{OF}}}", "tier"),
            w=6,
        ),
    )


def _evidence() -> list[Panel]:
    spent = {"cost": f"sum(increase(pointsman_shadow_cost_usd_total{{{OF}}}[1h]))"}
    until = f"max(pointsman_rollout_scored_until_timestamp_seconds{{{OF}}})"
    return row(
        "Evidence",
        lines("Text", rates("half, outcome", "pointsman_captures_total", OF), "reqps"),
        lines(
            "Not scored, because", rates("rubric, because", "pointsman_rubric_unscored_total", OF), "reqps"
        ),
        lines("Shadow", rates("outcome", "pointsman_shadow_requests_total", OF), "reqps"),
        lines("An hour's cost of the shadow", spent, "currencyUSD"),
        lines("Cases of the gate", {"{{state}}": f"max by (state) (pointsman_gate_cases{{{OF}}})"}),
        lines("Behind with scoring", {"seconds": f"time() - {until}"}, "s"),
    )


def documents() -> dict[str, str]:
    """Return the files' names and contents."""
    made = {"fleet.json": fleet(), "policy.json": policy()}
    return {name: json.dumps(one, indent=1, ensure_ascii=False) + "\n" for name, one in made.items()}


def main() -> int:
    """Write or check; 1 if something is not fresh."""
    found = documents()
    if "--check" not in sys.argv[1:]:
        for name, text in found.items():
            (HERE / name).write_text(text, encoding="utf-8")
        return 0
    stale = [name for name, text in found.items() if not _is(HERE / name, text)]
    print(f"not fresh: {', '.join(stale)}; run {Path(__file__).name}" if stale else "fresh")
    return 1 if stale else 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    raise SystemExit(main())
