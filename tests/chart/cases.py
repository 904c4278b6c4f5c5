"""Values that users may give: every case is rendered, and tried on the real API server."""

from __future__ import annotations

from typing import Any, Final

_ON: Final = {"enabled": True}
_DIGEST: Final = "sha256:" + "0" * 64
_SOMEWHERE: Final = {
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "preference": {"matchExpressions": [{"key": "spot", "operator": "DoesNotExist"}]},
                }
            ]
        }
    },
    "priorityClassName": "system-cluster-critical",
}
_PART: Final = _SOMEWHERE | {
    "extraArgs": ["--help"],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "podLabels": {"team": "llm"},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/none"},
    "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
}
_SPREAD: Final = [{"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]

CASES: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "minimal": {
        "operator": {"replicas": 1},
        "xds": {"replicas": 1},
        "evaluator": {"persistence": {"enabled": False}},
        "gateway": {"enabled": False},
        "tritonPool": {"enabled": False},
        "networkPolicies": {"enabled": False},
        "tests": {"enabled": False},
    },
    "namespaced": {"rbac": {"namespaces": ["chat", "search"]}},
    "cert-manager": {
        "certificates": {"mode": "cert-manager", "certManager": {"gateways": ["edge", "default"]}}
    },
    "cert-manager-issuer": {
        "certificates": {
            "mode": "cert-manager",
            "certManager": {"issuerRef": {"name": "corp", "kind": "ClusterIssuer"}, "tritonPools": ["gpu"]},
        }
    },
    "bundled-prometheus": {"prometheus": {"mode": "bundled"}},
    "autoscaled": {
        "gateway": {"spec": {"replicas": {"min": 2, "max": 20, "targetCPUPercent": 60}}},
        "tritonPool": {
            "spec": {
                "replicas": {"min": 1, "max": 4},
                "gpu": {"count": 1},
                "placement": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},
            }
        },
    },
    "digests": {
        "image": {"digest": _DIGEST},
        "envoyImage": {"digest": _DIGEST},
        "tritonImage": {"digest": _DIGEST},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "network-policies-off": {"networkPolicies": {"enabled": False}},
    "openshift": {"pods": {"runAsUser": None}},
    "subchart": {"enabled": True, "global": {"cloud": "any"}},
    "no-rights": {"rbac": {"create": False}, "admissionPolicy": {"enabled": False}},
    "everything": {
        "pods": _SOMEWHERE | {"labels": {"cost": "llm"}, "annotations": {"note": "a: b"}},
        "operator": _PART | {"replicas": 3, "topologySpreadConstraints": _SPREAD},
        "xds": _PART | {"replicas": 5, "topologySpreadConstraints": _SPREAD},
        "evaluator": _PART | {"persistence": {"size": "100Gi", "storageClassName": "fast"}},
        "gateway": {
            "spec": {
                "listeners": [
                    {"name": "http", "port": 80, "protocol": "HTTP"},
                    {
                        "name": "https",
                        "port": 443,
                        "protocol": "HTTPS",
                        "tls": {"certificateRefs": [{"name": "edge-tls"}]},
                    },
                ],
                "service": {"type": "LoadBalancer"},
                "tierHosts": ["*.models.svc"],
            }
        },
        "certificates": {"mode": "cert-manager"},
        "rbac": {"listenerSecrets": ["more-tls"], "aggregatedRoles": True},
        "networkPolicies": {"clientsFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        "prometheus": _PART | {"mode": "bundled", "persistence": {"storageClassName": "fast"}},
        "monitoring": {"prometheusRule": _ON, "serviceMonitors": _ON, "dashboards": _ON},
    },
}
