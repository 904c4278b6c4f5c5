"""Rights one by one: what a chart's roles give, what the API server's audit log says was asked for. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from chart_kit import Object, one

PARTS: Final = ("operator", "xds", "evaluator")
RBAC: Final = "rbac.authorization.k8s.io/v1"
_REFUSED: Final = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[\w./-]+)" in API group "(?P<group>[\w.]*)" '
    r'(?:in the namespace "(?P<namespace>[\w.-]+)"|at the cluster scope)'
)
_CREATED: Final = 201


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """One request, as the API server weighs it; `namespace` is empty for all of them."""

    part: str
    namespace: str
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        where = self.namespace or "all namespaces"
        return f"{self.part}: {self.verb} {self.resource}.{self.group or 'core'} in {where}"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource; `namespace` is empty where it holds everywhere."""

    part: str
    namespace: str
    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()

    def allows(self, need: Need) -> bool:
        """Tell whether it is a right to that; names are not looked at."""
        same = (self.part, self.group, self.resource, self.verb)
        asked = (need.part, need.group, need.resource, need.verb)
        return same == asked and self.namespace in {"", need.namespace}

    def rule(self) -> Object:
        """Return a rule of a role that gives this and nothing else."""
        named = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb]} | named


def account(part: str, namespace: str) -> str:
    """Return the user name of a part's ServiceAccount."""
    return f"system:serviceaccount:{namespace}:pointsman-{part}"


def rights(objects: list[Object], system: str) -> dict[Right, Object]:
    """Return every right of the parts, with the role that gives it; a right that is given twice fails."""
    found: dict[Right, Object] = {}
    for binding in objects:
        for part in PARTS:
            if {"kind": "ServiceAccount", "name": f"pointsman-{part}", "namespace": system} not in (
                binding.get("subjects") or []
            ):
                continue
            namespace = binding["metadata"].get("namespace", "")
            role = one(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"], namespace or None)
            for right in _of(role, part, namespace):
                assert right not in found, f"{right} is given twice"
                found[right] = role
    return found


def _of(role: Object, part: str, namespace: str) -> Iterator[Right]:
    for rule in role["rules"]:
        for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            names = tuple(rule.get("resourceNames") or ())
            yield Right(part, namespace, group, resource, verb, names)


def roles(given: Iterable[tuple[Right, Object]], every: Iterable[Object]) -> list[Object]:
    """Return all roles of the chart, each with only those of its rights that are given."""
    kept = list(given)
    return [
        {key: role[key] for key in ("apiVersion", "kind", "metadata")}
        | {"rules": [right.rule() for right, giver in kept if giver is role]}
        for role in every
    ]


@dataclass(frozen=True, slots=True)
class Audited:
    """A request of a part, as the audit log tells it; `allowed`: it was not refused for want of a right."""

    need: Need
    allowed: bool


def audited(line: str, system: str) -> Iterator[Audited]:
    """Yield what a line of the audit log says of our parts; who creates by apply has done two things."""
    event: dict[str, Any] = json.loads(line)
    users = {account(part, system): part for part in PARTS}
    part, about = users.get(event["user"]["username"]), event.get("objectRef")
    status = event.get("responseStatus") or {}
    if part is None or about is None or "code" not in status:
        return
    if status["code"] == 403:
        # the words, not the request: who may apply may still not create
        refused = _REFUSED.search(status.get("message", ""))
        if refused is not None:
            group, resource = refused["group"], refused["resource"]
            yield Audited(Need(part, refused["namespace"] or "", group, resource, refused["verb"]), False)
        return
    resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
    where = (part, about.get("namespace", ""), about.get("apiGroup", ""), resource)
    yield Audited(Need(*where, event["verb"]), True)
    if event["verb"] == "patch" and status["code"] == _CREATED:
        yield Audited(Need(*where, "create"), True)
