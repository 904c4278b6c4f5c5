"""The parts' rights are enough, and none can be spared: on a real API server, by its own audit log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chart_kit import Helm, Object
from pointsman import install
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl

from . import grants
from .grants import Audited, Need, Right
from .installation import Installation
from .scene import Scene, values

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(600)]

APPLIED = {"ServiceAccount", "ClusterRoleBinding", "RoleBinding", "RoutingGateway", "TritonPool", "Service"}


@dataclass
class Release:
    """A release whose roles hold what is given; what its parts ask for is read from the audit log."""

    installation: Installation
    chat: str
    """Where policies are."""
    log: Path
    every: dict[Right, Object]
    given: set[Right] = field(default_factory=set)
    used: set[Right] = field(default_factory=set)
    refused: dict[Right, Need] = field(default_factory=dict)
    offset: int = 0
    touched: int = 0
    granted: bool = False

    @property
    def roles(self) -> list[Object]:
        """All roles of the parts, as the chart has them."""
        return list({id(role): role for role in self.every.values()}.values())

    def grant(self) -> None:
        """Write the roles as they are now."""
        given = [(right, role) for right, role in self.every.items() if right in self.given]
        self.installation.kubectl.apply(grants.roles(given, self.roles))

    def news(self) -> Iterator[Audited]:
        """Yield what was asked since the last look, noting which right it was that allowed it."""
        with self.log.open("rb") as log:
            log.seek(self.offset)
            whole, _, _ = log.read().rpartition(b"\n")
        self.offset += len(whole) + bool(whole)
        for line in whole.decode().splitlines():
            for request in grants.audited(line, self.installation.namespace):
                if request.allowed:
                    self.used |= {right for right in self.given if right.allows(request.need)}
                yield request

    def touch(self) -> None:
        """Change gateway, pool and policies a little: so nobody waits until it is time to try once more."""
        self.touched += 1
        ours = "/apis/pointsman.dev/v1alpha1/namespaces/{}/{}"
        kubectl, system = self.installation.kubectl, self.installation.namespace
        gateway, pool = (
            ours.format(system, f"{kind}/default") for kind in ("routinggateways", "tritonpools")
        )
        kubectl.patch(gateway, {"spec": {"drain": f"{60 + self.touched}s"}})
        kubectl.patch(pool, {"spec": {"replicas": {"targetCPUPercent": 50 + self.touched % 50}}})
        for policy in kubectl.get(ours.format(self.chat, "routingpolicies"))["items"]:
            path = ours.format(self.chat, f"routingpolicies/{policy['metadata']['name']}")
            kubectl.patch(path, {"metadata": {"labels": {"touched": str(self.touched)}}})

    def none_refused(self) -> None:
        """Fail if a part was refused something."""
        refused = [str(request.need) for request in self.news() if not request.allowed]
        assert not refused, refused

    def give_what_was_refused(self) -> None:
        """Give each right that was just missing; fail if the chart does not have it."""
        if self.granted:
            self.touch()
        missing = set()
        for request in self.news():
            if request.allowed or any(right.allows(request.need) for right in self.given):
                continue  # refused before the role had reached the authorizer
            found = [right for right in self.every if right.allows(request.need)]
            assert len(found) == 1, f"{request.need}: the chart gives {found or 'no such right'}"
            self.refused[found[0]] = request.need
            missing |= set(found)
        self.granted = bool(missing)
        if missing:
            self.given |= missing
            self.grant()
        if any(right.group == "apiextensions.k8s.io" for right in missing):
            self.installation.restart(install.OPERATOR)  # Kopf asks at its start, and goes on without


@dataclass(frozen=True)
class Releases:
    """Makes releases, one after the other: their ClusterRoles have the same names."""

    helm: Helm
    plane: ControlPlane
    kubectl: Kubectl
    log: Path
    folder: Path

    @contextmanager
    def made(self, name: str, *, namespaced: bool = False) -> Iterator[Release]:
        """Apply a chart's objects, its roles empty; yield the release."""
        system, chat = f"rights-{name}", f"chat-{name}"
        text = json.dumps(self.helm.render(values(chat, namespaced=namespaced)))
        objects: list[Object] = json.loads(text.replace("pointsman-system", system))
        every = grants.rights(objects, system)
        for namespace in (system, chat):
            self.kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
        applied = [each for each in objects if each["kind"] in APPLIED]
        self.kubectl.apply(applied)
        installation = Installation(self.plane, self.kubectl, objects, system, self.folder)
        release = Release(installation, chat, self.log, every, offset=self.log.stat().st_size)
        release.grant()
        try:
            yield release
        finally:
            installation.stop()
            for plural in ("routingpolicies", "routingpolicyrevisions", "rolloutactions"):
                # the next release's parts look into all namespaces
                self.kubectl._call("DELETE", f"/apis/pointsman.dev/v1alpha1/namespaces/{chat}/{plural}")
            for each in [*applied, *release.roles]:
                self.kubectl.delete(each)


@pytest.fixture
def releases(helm: Helm, plane: ControlPlane, kubectl: Kubectl, audit_log: Path, tmp_path: Path) -> Releases:
    """Return what makes releases on the API server with the audit log."""
    return Releases(helm, plane, kubectl, audit_log, tmp_path)


def play(release: Release, look: Callable[[], None]) -> None:
    """Play the whole scene."""
    installation = release.installation
    Scene(
        installation, release.chat, lambda what, condition: installation.reach(what, condition, look)
    ).play()


@pytest.mark.parametrize("namespaced", [False, True], ids=["everywhere", "namespaced"])
def test_the_rights_of_the_chart_are_enough_and_each_is_used(releases: Releases, *, namespaced: bool) -> None:
    """Whatever the parts do, no request is refused; and no right is left over."""
    name = "namespaced" if namespaced else "everywhere"
    with releases.made(name, namespaced=namespaced) as release:
        release.given = set(release.every)
        release.grant()
        play(release, release.none_refused)
        release.none_refused()
        assert sorted(set(release.every) - release.used) == []


def test_without_any_one_of_its_rights_a_part_is_refused(releases: Releases) -> None:
    """The parts begin with no right; each is given only after its absence has stopped a request."""
    with releases.made("grown") as release:
        play(release, release.give_what_was_refused)
        release.give_what_was_refused()
        assert sorted(set(release.every) - set(release.refused)) == []
