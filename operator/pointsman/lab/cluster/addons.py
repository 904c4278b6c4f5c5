"""What runs in every cluster of ours before anything else does, as manifests. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from pointsman.lab.cluster.layout import DNS, DOMAIN, NODE, VOLUMES
from pointsman.lab.images.catalog import reference

STORAGE_CLASS: Final = "local"
_SYSTEM: Final = "kube-system"

_DNS: Final = f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: coredns, namespace: {_SYSTEM}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: "system:coredns"}}
rules:
- {{apiGroups: [""], resources: [services, pods, namespaces], verbs: [list, watch]}}
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: "system:coredns"}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:coredns"}}
subjects: [{{kind: ServiceAccount, name: coredns, namespace: {_SYSTEM}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: coredns, namespace: {_SYSTEM}}}
data:
  Corefile: |
    .:1053 {{
      errors
      health :1080
      ready :1081
      kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        ttl 5
      }}
      cache 5
      loadbalance
    }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: coredns, namespace: {_SYSTEM}}}
spec:
  selector: {{matchLabels: {{k8s-app: kube-dns}}}}
  template:
    metadata: {{labels: {{k8s-app: kube-dns}}}}
    spec:
      serviceAccountName: coredns
      dnsPolicy: Default
      nodeSelector: {{type: real}}
      priorityClassName: system-cluster-critical
      containers:
      - name: coredns
        image: {reference("coredns")}
        imagePullPolicy: Never
        args: [-conf, /etc/coredns/Corefile]
        # A machine that is busy with other things must not cost every pod its names.
        readinessProbe: {{httpGet: {{path: /ready, port: 1081}}, periodSeconds: 1, timeoutSeconds: 5}}
        securityContext:
          runAsNonRoot: true
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {{drop: [ALL]}}
        volumeMounts: [{{name: config, mountPath: /etc/coredns}}]
      volumes: [{{name: config, configMap: {{name: coredns}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: {_SYSTEM}}}
spec:
  clusterIP: {DNS}
  selector: {{k8s-app: kube-dns}}
  ports:
  - {{name: dns, port: 53, targetPort: 1053, protocol: UDP}}
  - {{name: dns-tcp, port: 53, targetPort: 1053, protocol: TCP}}
"""

# It panics unless its resolution is longer than the kubelet's request may take.
_METRICS: Final = f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: metrics-server, namespace: {_SYSTEM}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: "system:metrics-server"}}
rules:
- {{apiGroups: [""], resources: [nodes/metrics], verbs: [get]}}
- {{apiGroups: [""], resources: [pods, nodes], verbs: [get, list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: "system:metrics-server"}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:metrics-server"}}
subjects: [{{kind: ServiceAccount, name: metrics-server, namespace: {_SYSTEM}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: "metrics-server:system:auth-delegator"}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}}
subjects: [{{kind: ServiceAccount, name: metrics-server, namespace: {_SYSTEM}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: metrics-server-auth-reader, namespace: {_SYSTEM}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}}
subjects: [{{kind: ServiceAccount, name: metrics-server, namespace: {_SYSTEM}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: metrics-server, namespace: {_SYSTEM}}}
spec:
  selector: {{matchLabels: {{k8s-app: metrics-server}}}}
  template:
    metadata: {{labels: {{k8s-app: metrics-server}}}}
    spec:
      serviceAccountName: metrics-server
      nodeSelector: {{type: real}}
      containers:
      - name: metrics-server
        image: {reference("metrics-server")}
        imagePullPolicy: Never
        args:
        - --secure-port=10250
        - --cert-dir=/tmp
        - --kubelet-insecure-tls
        - --kubelet-use-node-status-port
        - --kubelet-preferred-address-types=InternalIP
        - --metric-resolution=10s
        - --kubelet-request-timeout=5s
        readinessProbe: {{httpGet: {{path: /readyz, port: 10250, scheme: HTTPS}}, periodSeconds: 2}}
        securityContext:
          runAsNonRoot: true
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {{drop: [ALL]}}
        volumeMounts: [{{name: tmp, mountPath: /tmp}}]
      volumes: [{{name: tmp, emptyDir: {{}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: metrics-server, namespace: {_SYSTEM}}}
spec:
  selector: {{k8s-app: metrics-server}}
  ports: [{{port: 443, targetPort: 10250}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1beta1.metrics.k8s.io}}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {{name: metrics-server, namespace: {_SYSTEM}}}
"""


def dns() -> list[dict[str, Any]]:
    """Return CoreDNS: names of Services and headless pods; it knows no other names."""
    return [*yaml.safe_load_all(_DNS)]


def metrics_server() -> list[dict[str, Any]]:
    """Return metrics-server: `kubectl top` and HPAs on CPU and memory."""
    return [*yaml.safe_load_all(_METRICS)]


def storage(folder: Path) -> list[dict[str, Any]]:
    """Return a default StorageClass and the volumes that it has: folders of this machine, 10 GiB in name."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [storage_class, *(_volume(path) for path in volume_folders(folder))]


def volume_folders(folder: Path) -> list[Path]:
    """Return the folders of the volumes."""
    return [folder / f"volume-{number}" for number in range(VOLUMES)]


def _volume(path: Path) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": path.name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            # Not hostPath: the kubelet gives a local volume to the pod's fsGroup.
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
