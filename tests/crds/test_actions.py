"""RolloutActions: who may create which, tried as two users with rights of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pointsman.lab.controlplane import REPOSITORY
from pointsman.lab.kubectl import Kubectl, load_manifests
from wait import until_sync

from .conftest import GROUP_PATH, Api, client_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.lab.controlplane import ControlPlane

pytestmark = pytest.mark.apiserver

ACTIONS = f"{GROUP_PATH}/rolloutactions"
DRY = {"dryRun": "All", "fieldValidation": "Strict"}


def action(verb: str, policy: str = "support", by: str = "alice", **more: Any) -> dict[str, Any]:
    """Return a RolloutAction."""
    spec = {"policyRef": {"name": policy}, "action": verb, "requestedBy": by} | more
    return {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "RolloutAction",
        "metadata": {"generateName": "a-"},
        "spec": spec,
    }


def role(user: str, verbs: list[str], policy: str) -> list[dict[str, Any]]:
    """Return what lets a user create actions, and do `verbs` to one policy."""
    rules = [
        {"apiGroups": ["pointsman.dev"], "resources": ["rolloutactions"], "verbs": ["create", "get", "list"]},
        {
            "apiGroups": ["pointsman.dev"],
            "resources": ["routingpolicies"],
            "verbs": verbs,
            "resourceNames": [policy],
        },
    ]
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": user}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": user},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": user},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        },
    ]


@pytest.fixture(scope="module")
def users(plane: ControlPlane, api: Api) -> Iterator[dict[str, Api]]:
    """Install the admission policy; alice may abort and approve `support`, bob force `billing` to strong."""
    with Kubectl(plane.kubeconfig) as kubectl:
        kubectl.apply(load_manifests(REPOSITORY / "deploy" / "admission.yaml"))
        kubectl.apply(
            [*role("alice", ["abort", "approve"], "support"), *role("bob", ["forcestrong"], "billing")]
        )
    with client_of(plane, "alice") as alice, client_of(plane, "bob") as bob:
        found = {"alice": Api(alice, {}), "bob": Api(bob, {})}

        def enforced() -> bool:
            stolen = found["alice"].call("POST", ACTIONS, action("Abort", by="bob"), params=DRY)
            granted = found["alice"].call("POST", ACTIONS, action("Abort"), params=DRY)
            return stolen.status == httpx.codes.FORBIDDEN and granted.status == httpx.codes.CREATED

        until_sync(enforced, what="the admission policy is in force", deadline_s=20)
        yield found


def test_a_user_may_do_what_the_role_names(users: dict[str, Api]) -> None:
    """Each user's own actions on the own policy are taken."""
    assert users["alice"].call("POST", ACTIONS, action("Abort"), params=DRY).status == 201
    approve = action("Approve", revision="support-0123456789", step="Promotion")
    assert users["alice"].call("POST", ACTIONS, approve, params=DRY).status == 201
    assert (
        users["bob"].call("POST", ACTIONS, action("ForceStrong", "billing", "bob"), params=DRY).status == 201
    )


@pytest.mark.parametrize(
    ("user", "verb", "policy"),
    [
        ("alice", "ForceStrong", "support"),
        ("alice", "Retry", "support"),
        ("alice", "Abort", "billing"),
        ("bob", "Abort", "billing"),
        ("bob", "ForceStrong", "support"),
    ],
)
def test_a_user_may_do_nothing_else(users: dict[str, Api], user: str, verb: str, policy: str) -> None:
    """Another verb, or the same verb on another policy, is forbidden, with the verb and the policy named."""
    answer = users[user].call("POST", ACTIONS, action(verb, policy, user), params=DRY)
    assert answer.status == 403
    assert f"{user} may not {verb.lower()} the RoutingPolicy {policy}" in answer.body["message"]


def test_nobody_speaks_for_another(users: dict[str, Api]) -> None:
    """The record of who asked is the truth."""
    answer = users["alice"].call("POST", ACTIONS, action("Abort", by="bob"), params=DRY)
    assert answer.status == 403
    assert "spec.requestedBy: must be the user who creates this object, alice" in answer.body["message"]


def test_no_user_writes_status(users: dict[str, Api]) -> None:
    """Neither the traffic nor the effect of an action is a user's to write."""
    patch = {"headers": {"content-type": "application/merge-patch+json"}}
    for path in (f"{GROUP_PATH}/routingpolicies/support/status", f"{ACTIONS}/any/status"):
        assert users["alice"].call("PATCH", path, {"status": {}}, **patch).status == 403


def test_an_action_is_immutable(api: Api, users: dict[str, Api]) -> None:
    """What was asked cannot be changed into something else afterwards."""
    stored = users["alice"].call("POST", ACTIONS, action("Abort"))
    assert stored.status == 201
    path = f"{ACTIONS}/{stored.body['metadata']['name']}"
    patch = {"headers": {"content-type": "application/merge-patch+json"}}
    answer = api.call("PATCH", path, {"spec": {"action": "Retry"}}, **patch)
    assert answer.status == 422
    assert "is immutable; create another RolloutAction" in answer.body["message"]
    api.call("DELETE", path)


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"action": "Yolo"}, "spec.action", 'supported values: "Approve", "Abort", "Retry", "ForceStrong"'),
        ({"action": "Approve"}, "spec.revision", "must be set where action is Approve"),
        ({"requestedBy": ""}, "spec.requestedBy", "at least 1 chars long"),
        ({"policyRef": {"name": "Support"}}, "spec.policyRef.name", "must be lower-case letters"),
        ({"attempt": 0}, "spec.attempt", "greater than or equal to 1"),
    ],
)
def test_a_bad_action_is_refused(api: Api, change: dict[str, Any], field: str, remedy: str) -> None:
    """The refusal names field and remedy."""
    manifest = action("Abort")
    manifest["spec"] |= change
    answer = api.call("POST", ACTIONS, manifest, params=DRY)
    assert answer.status == 422
    assert remedy in answer.causes().get(field, ""), answer.body
