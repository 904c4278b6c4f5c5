"""Everything that an installation's parts ever do to an API server, provoked once, and seen to be done."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import operator_kit
from chart_kit import Object
from pointsman import install
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LabError
from slices_kit import own_ip

from .installation import Installation

OURS: Final = "pointsman.dev/v1alpha1"
EDGE: Final = "edge-tls"
"""The certificate of the gateway's listener."""
BUNDLE: Final = operator_kit.bundle()
CASES: Final = "".join(
    json.dumps({"prompt": f"What is {n} + {n}?", "reference": str(2 * n)}) + "\n" for n in range(60)
).encode()
GATEWAY: Final = install.gateway_name("default")
POOL: Final = install.pool_name("default")
ROUNDS: Final = 20
"""Most times that a rollout is ended or begun anew, until two have written at the same time."""
_METADATA: Final = {install.LABEL_MANAGED_BY: "pointsman", install.LABEL_GATEWAY: "default"}


def values(chat: str, *, namespaced: bool) -> dict[str, Any]:
    """Return values with which every right is used: autoscalers, TLS, namespaces chosen by their labels."""
    chosen = {"from": "Selector", "selector": {"matchLabels": {"team": "llm"}}}
    allowed = {} if namespaced else {"allowedNamespaces": chosen}  # there are no labels without a ClusterRole
    tls = {"certificateRefs": [{"name": EDGE}]}
    listener = {"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls}
    replicas = {"min": 1, "max": 3}
    return {
        "rbac": {"namespaces": [chat]} if namespaced else {},
        # patient, and at once back after an end
        "operator": {"extraArgs": ["--lease-duration=2m", "--lease-identity=the-only-one"]},
        "gateway": {"spec": {"listeners": [listener], "replicas": replicas} | allowed},
        "tritonPool": {"spec": {"replicas": replicas} | allowed},
    }


class Scene:
    """A system namespace and one with policies; `reach(what, condition)` waits for what shall become so."""

    def __init__(
        self, installation: Installation, chat: str, reach: Callable[[str, Callable[[], Any]], None]
    ) -> None:
        self.at = installation
        self.kubectl: Kubectl = installation.kubectl
        self.system, self.chat = installation.namespace, chat
        self.reach = reach

    def play(self) -> None:
        """Bring up everything, use everything, and see that it happened."""
        self.prepare()
        self.at.start(install.OPERATOR)
        self.operator_leads_and_makes()
        self.certificates_are_mended()
        self.evaluator_and_xds_serve()
        self.a_pods_trouble_is_told()
        self.an_action_is_done()
        self.what_is_left_over_goes()

    # -- before ----------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create what users bring, and what lies in the way."""
        for name in (self.system, self.chat):
            metadata = {"name": name, "labels": {"team": "llm"}}
            self.kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        pair = self.at.plane.authority.leaf(EDGE, EDGE, hosts=["llm.example.com"])
        data = {"tls.crt": pair.cert.read_text("ascii"), "tls.key": pair.key.read_text("ascii")}
        self.kubectl.apply(
            [
                _secret(EDGE, "kubernetes.io/tls", data),
                _secret(install.certificate_secret(install.XDS), "Opaque", {"in": "the way"}),
                *self._strays(),
            ],
            self.system,
        )
        self.kubectl.apply(
            [_config_map("bundle", "bundle.zip", BUNDLE), _config_map("cases", "dataset.jsonl", CASES)],
            self.chat,
        )
        bundle = operator_kit.classifier_spec("configmap://bundle", _digest(BUNDLE), [], model="classified")
        self._policy("classified", bundle | {"triton": {"managed": {}}})
        self._policy("gated", _gated())

    def _strays(self) -> list[Object]:
        """Return one of each kind that the operator makes for gateways, which this one does not need."""
        pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        select = {"matchLabels": {"a": "b"}}
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "stray"}
        found: list[Object] = [
            {"apiVersion": "v1", "kind": "ServiceAccount"},
            {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}},
            {"apiVersion": "v1", "kind": "ConfigMap"},
            {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"selector": select}},
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "spec": {"scaleTargetRef": target, "maxReplicas": 2},
            },
            {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": select, "template": pod}},
        ]
        return [each | {"metadata": {"name": "stray", "labels": _METADATA}} for each in found]

    # -- acts ------------------------------------------------------------------------------------------------

    def operator_leads_and_makes(self) -> None:
        """See the Lease held, gateway and pool with what they need and no more, policies with a status."""
        lease = f"/apis/coordination.k8s.io/v1/namespaces/{self.system}/leases/pointsman-operator"
        self.reach("the operator leads", lambda: (self.at.get(lease) or {"spec": {}})["spec"])
        for path in self._made():
            self.reach(path, partial(self.at.get, path))
        for path in self._stray_paths():
            self.reach(f"{path} is gone", partial(self._gone, path))
        for kind in ("routinggateways", "tritonpools"):
            self.reach(f"status of {kind}", partial(self._status, kind, "default", self.system))
        models = f"/api/v1/namespaces/{self.system}/configmaps/{install.pool_models('default')}"
        self.reach(
            "the pool's list has the bundle", lambda: _digest(BUNDLE) in json.dumps(self.at.get(models) or {})
        )
        self.reach("a gate has begun", lambda: (self._of("gated").get("step") or {}).get("name") == "Gate")
        for namespace in (self.system, self.chat):
            self.reach(f"events in {namespace}", partial(self._events, namespace))

    def certificates_are_mended(self) -> None:
        """Break a certificate, and see it made anew."""
        name = install.certificate_secret(install.EVALUATOR)
        path = f"/api/v1/namespaces/{self.system}/secrets/{name}"
        self.reach("the evaluator's certificate", lambda: self.at.get(path))
        broken = base64.b64encode(b"broken").decode()
        self.kubectl.patch(path, {"data": {"tls.crt": broken}})
        self.reach("it is made anew", lambda: self.at.get(path)["data"]["tls.crt"] != broken)

    def evaluator_and_xds_serve(self) -> None:
        """Start both; the evaluator gets the gate's cases, the operator asks the xds server that it found."""
        for part in (install.XDS, install.EVALUATOR):
            self.reach(f"certificate of {part}", partial(self.at.mount, part))
            self.at.start(part)
        internal = install.gateway_internal("default")
        labels = {install.LABEL_GATEWAY: "default"}
        xds = int(self.at.address(install.XDS).rpartition(":")[2])
        self.kubectl.apply(
            [
                _slice(install.XDS, {install.PORT_HTTP: xds}, {}),
                _slice(internal, {install.PORT_STATS: 9, install.PORT_SHADOW: 9}, labels),
            ],
            self.system,
        )
        for part in (install.XDS, install.EVALUATOR):
            self.reach(f"{part} is ready", partial(self.at.ready, part))
        self.reach("xds serves the policy", lambda: "classified" in self.at.text(install.XDS, "/v1/state"))
        self.reach(
            "the operator has asked xds", lambda: self._reason("classified", "Programmed") == "NoEnvoy"
        )
        fetched = 'pointsman_evaluator_source_fetches_total{outcome="ok",what="dataset"} 1.0'
        self.reach("the evaluator has the cases", lambda: fetched in self.at.text(install.EVALUATOR))

    def a_pods_trouble_is_told(self) -> None:
        """Create a pod of the pool that cannot pull its image, and see the pool's condition."""
        labels = {
            install.LABEL_NAME: "pointsman",
            install.LABEL_COMPONENT: "triton",
            install.LABEL_MANAGED_BY: "pointsman",
            install.LABEL_POOL: "default",
        }
        spec = {"serviceAccountName": POOL, "automountServiceAccountToken": False}
        pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "triton-0", "labels": labels}}
        self.kubectl.apply([pod | {"spec": spec | {"containers": [CONTAINER]}}], self.system)
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
        state = {"name": "triton", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": "Pending", "containerStatuses": [state | {"state": waiting}]}
        self.kubectl.patch(f"/api/v1/namespaces/{self.system}/pods/triton-0/status", {"status": status})
        pool = self._path("tritonpools", "default", self.system)
        self.reach("the pool tells", lambda: "no such image" in json.dumps(self.at.get(pool)))

    def an_action_is_done(self) -> None:
        """Abort and retry while others write the revision all the time, so that it must be read anew."""
        with self._others_write("gated"):
            for number in range(ROUNDS):
                name, action = f"action-{number}", ("Abort", "Retry")[number % 2]
                spec = {"policyRef": {"name": "gated"}, "action": action, "requestedBy": "admin"}
                self.kubectl.apply([_ours("RolloutAction", name, spec)], self.chat)
                self.reach(f"{action} is told", partial(self._status, "rolloutactions", name, self.chat))
                self.reach(f"{action} is recorded", self._recorded)
                if self._read_anew():
                    return

    def what_is_left_over_goes(self) -> None:
        """Delete a policy, and see its revisions go."""
        path = self._path("routingpolicyrevisions", "", self.chat).rstrip("/")
        self.kubectl.delete(_ours("RoutingPolicy", "classified", {}), self.chat)
        self.reach(
            "its revisions are gone",
            lambda: "classified" not in {e["spec"]["policyRef"]["name"] for e in self.at.get(path)["items"]},
        )

    # -- looking ---------------------------------------------------------------------------------------------

    def _recorded(self) -> bool:
        path = self._path("routingpolicyrevisions", "", self.chat).rstrip("/")
        found = [each for each in self.at.get(path)["items"] if each["spec"]["policyRef"]["name"] == "gated"]
        return any(each.get("status") for each in found)

    def _read_anew(self) -> bool:
        """Tell whether the operator has read a revision by its name."""
        lines = self.at.text(install.OPERATOR).splitlines()
        asked = ('code="200"', 'resource="routingpolicyrevisions.pointsman.dev"', 'verb="get"')
        return any("kube_requests_total" in line and all(word in line for word in asked) for line in lines)

    def _made(self) -> list[str]:
        core, apps = f"/api/v1/namespaces/{self.system}", f"/apis/apps/v1/namespaces/{self.system}"
        budgets = f"/apis/policy/v1/namespaces/{self.system}/poddisruptionbudgets"
        scalers = f"/apis/autoscaling/v2/namespaces/{self.system}/horizontalpodautoscalers"
        kinds = (f"{core}/serviceaccounts", f"{core}/services", f"{apps}/deployments", budgets, scalers)
        return [f"{kind}/{name}" for kind in kinds for name in (GATEWAY, POOL)]

    def _stray_paths(self) -> list[str]:
        config_map = f"/api/v1/namespaces/{self.system}/configmaps/stray"
        return [*sorted({f"{path.rpartition('/')[0]}/stray" for path in self._made()}), config_map]

    def _status(self, plural: str, name: str, namespace: str) -> Any:
        return (self.at.get(self._path(plural, name, namespace)) or {}).get("status")

    def _of(self, policy: str) -> dict[str, Any]:
        return self._status("routingpolicies", policy, self.chat) or {}

    def _reason(self, policy: str, kind: str) -> str:
        found = self._of(policy).get("conditions") or []
        return next((str(each["reason"]) for each in found if each["type"] == kind), "")

    def _gone(self, path: str) -> bool:
        return self.at.get(path) is None

    def _events(self, namespace: str) -> Any:
        found = self.at.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
        return [each for each in found["items"] if each["reportingController"] == "pointsman.dev/operator"]

    @staticmethod
    def _path(plural: str, name: str, namespace: str) -> str:
        return f"/apis/{OURS}/namespaces/{namespace}/{plural}/{name}"

    # -- doing -----------------------------------------------------------------------------------------------

    def _policy(self, name: str, spec: Object) -> None:
        self.kubectl.apply([_ours("RoutingPolicy", name, spec)], self.chat)

    @contextmanager
    def _others_write(self, policy: str) -> Iterator[None]:
        """Write labels of a policy's revisions all the time: what the operator knows of them is old."""
        over = threading.Event()

        def write() -> None:
            path = self._path("routingpolicyrevisions", "", self.chat).rstrip("/")
            with Kubectl(self.at.plane.kubeconfig) as kubectl:
                number = 0
                while not over.is_set():
                    for each in kubectl.get(path)["items"]:
                        if each["spec"]["policyRef"]["name"] == policy:
                            number += 1
                            change = {"metadata": {"labels": {"number": str(number)}}}
                            kubectl.patch(f"{path}/{each['metadata']['name']}", change)

        def unless_gone() -> None:
            while not over.is_set():
                try:
                    write()
                except LabError:
                    continue  # a revision that is deleted meanwhile

        writer = threading.Thread(target=unless_gone)
        writer.start()
        try:
            yield
        finally:
            over.set()
            writer.join()


CONTAINER: Final = {
    "name": "triton",
    "image": "i",
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


def _gated() -> Object:
    """Return a policy's spec whose revision must pass a gate first."""
    dataset = {"uri": "configmap://cases", "sha256": _digest(CASES)}
    exact = {"extract": [r"(\d+)"], "reference": {"dataset": dataset}}
    price = {"inputPerMillion": "1", "outputPerMillion": "1"}
    tiers = [
        {"name": name, "endpoints": [{"url": "http://192.0.2.1:9/v1"}], "model": name, "price": price}
        for name in ("cheap", "strong")
    ]
    return {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["llm.example.com"], "models": ["gated"]},
        "tiers": tiers,
        "strategy": {"type": "Pinned", "pinned": {"tier": "cheap"}},
        "evaluation": {
            "prometheus": {"url": "http://127.0.0.1:9"},
            "rubrics": [{"name": "correct", "type": "ExactMatch", "exactMatch": exact}],
            "gate": {"dataset": dataset, "minCases": 50, "required": True},
            "capture": {"samplePermille": 1000},
        },
    }


def _ours(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": OURS, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _secret(name: str, kind: str, data: dict[str, str]) -> Object:
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data}


def _config_map(name: str, key: str, content: bytes) -> Object:
    data = {key: base64.b64encode(content).decode()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": data}


def _slice(service: str, ports: dict[str, int], labels: dict[str, str]) -> Object:
    """Return the EndpointSlice of a Service whose one pod is this machine."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service} | labels},
        "addressType": "IPv4",
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports.items()],
        "endpoints": [{"addresses": [own_ip()], "conditions": {"ready": True}}],
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
