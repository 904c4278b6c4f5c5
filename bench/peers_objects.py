"""What users of Flagger, Argo Rollouts and Pointsman would write: one object each for the same wish."""

from __future__ import annotations

from typing import Any

from bench.peers_tools import GATEWAY
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.rubrics import rubric_version
from pointsman.rollout.revisions import desired_name

Manifest = dict[str, Any]
RUBRIC: dict[str, Any] = {"name": "correct", "type": "Contains", "contains": {"all": ["yes"]}}
NOISE_WINDOW = "1m"
LIMIT = 0.865
"""Success rate that the peers' checks ask for: halfway between 94 and 79 %."""
_SCORED = (
    'pointsman_rubric_results_total{{namespace="{namespace}",policy="{name}",rubric="correct",'
    'arm="candidate"{more}}}[{window}]'
)


def success_rate(namespace: str, name: str, window: str) -> str:
    """Return the candidate's success rate in PromQL; 1 where nothing is served, as neither peer can wait."""
    good = _SCORED.format(namespace=namespace, name=name, window=window, more=',outcome="pass"')
    every = _SCORED.format(namespace=namespace, name=name, window=window, more="")
    return f"(sum(rate({good})) / (sum(rate({every})) > 0)) or vector(1)"


def _pod(name: str, image: str) -> Manifest:
    container = {"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}


def image(number: int) -> str:
    """Return the n-th version of a service that nobody runs."""
    return f"registry.local/x:{number}"


def deployment(name: str) -> Manifest:
    """Return what Flagger rolls out."""
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": _pod(name, image(1))}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def metric_template(prometheus: str) -> Manifest:
    """Return Flagger's query; it fills in the names and the interval."""
    query = success_rate("{{ namespace }}", "{{ name }}", "{{ interval }}")
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "MetricTemplate",
        "metadata": {"name": "correct"},
        "spec": {"provider": {"type": "prometheus", "address": prometheus}, "query": query},
    }


def canary(name: str, *, interval: str = "1m", window: str = "") -> Manifest:
    """Return a Canary whose weight grows by a point a check: it is not promoted while the bench looks.

    With a window its metric is checked over it.
    """
    metric = {
        "name": "correct",
        "templateRef": {"name": "correct"},
        "interval": window,
        "thresholdRange": {"min": LIMIT},
    }
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": name},
        "spec": {
            "provider": "gatewayapi:v1",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "progressDeadlineSeconds": 120,
            "service": {
                "port": 80,
                "targetPort": 8080,
                "hosts": [f"{name}.example.com"],
                "gatewayRefs": [{"name": GATEWAY, "namespace": "default"}],
            },
            "analysis": {
                "interval": interval,
                "threshold": 1,
                "stepWeights": list(range(10, 100)),
                "metrics": [metric] if window else [],
            },
        },
    }


def analysis_template(prometheus: str, namespace: str, window: str) -> Manifest:
    """Return Argo Rollouts' check: every second, the first failure is the last; one window of patience."""
    metric = {
        "name": "correct",
        "interval": "1s",
        "initialDelay": window,
        "failureLimit": 0,
        "successCondition": f"result[0] >= {LIMIT}",
        "provider": {
            "prometheus": {
                "address": prometheus,
                "query": success_rate(namespace, "{{args.policy}}", window),
            }
        },
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": f"correct-{window}"},
        "spec": {"args": [{"name": "policy"}], "metrics": [metric]},
    }


def around_rollout(name: str) -> list[Manifest]:
    """Return the Services and the Ingress that a Rollout with nginx weights needs."""
    services = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
        for service in (f"{name}-stable", f"{name}-canary")
    ]
    backend = {"service": {"name": f"{name}-stable", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": {"kubernetes.io/ingress.class": "nginx"}},
        "spec": {"rules": [{"host": f"{name}.example.com", "http": {"paths": paths}}]},
    }
    return [*services, ingress]


def rollout(name: str, *, window: str = "") -> Manifest:
    """Return a Rollout that stays at 10 %; with a window, analysed in the background from then on."""
    strategy: dict[str, Any] = {
        "stableService": f"{name}-stable",
        "canaryService": f"{name}-canary",
        "trafficRouting": {"nginx": {"stableIngress": name}},
        "steps": [{"setWeight": 10}, {"pause": {}}],
    }
    if window:
        strategy["analysis"] = {
            "templates": [{"templateName": f"correct-{window}"}],
            "startingStep": 1,
            "args": [{"name": "policy", "value": name}],
        }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": _pod(name, image(1)),
            "strategy": {"canary": strategy},
        },
    }


def policy(name: str, prometheus: str) -> Manifest:
    """Return a policy pinned to a tier, each change proven at 10 % for an hour, with the default verdict."""
    tiers = [
        {"name": tier, "endpoints": [{"url": "http://127.0.0.1:9/v1"}], "model": "m"}
        for tier in ("cheap", "strong")
    ]
    return {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "RoutingPolicy",
        "metadata": {"name": name},
        "spec": {
            "gatewayRef": {"name": GATEWAY},
            "match": {"hostnames": [f"{name}.example.com"], "models": ["auto"]},
            "tiers": tiers,
            "strategy": {"type": "Pinned", "pinned": {"tier": "strong"}},
            "evaluation": {
                "prometheus": {"url": prometheus},
                "capture": {"samplePermille": 1000},
                "rubrics": [RUBRIC],
            },
            "rollout": {
                "first": "Direct",
                "noise": {"window": NOISE_WINDOW, "minWindows": 8},
                "shadow": {"mode": "Off"},
                "canary": {"steps": [{"weightPermille": 100, "minDuration": "1h"}]},
            },
        },
    }


def revision(name: str, prometheus: str) -> str:
    """Return the name of a policy's first revision: it follows from what the policy says."""
    return desired_name(_read(name, prometheus))


def version_of_rubric() -> str:
    """Return the version under which the rubric's results are counted."""
    evaluation = _read("x", "http://localhost").spec.evaluation
    assert evaluation is not None
    return rubric_version(evaluation.rubrics[0])


def _read(name: str, prometheus: str) -> RoutingPolicy:
    metadata = {"name": name, "namespace": "x", "uid": "x", "generation": 1}
    return RoutingPolicy.model_validate(policy(name, prometheus) | {"metadata": metadata})
