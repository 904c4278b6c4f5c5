"""All writes of a rollout. What the API server answers is kept, so that the next tick sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointsman.kube.errors import AlreadyExists, Conflict, NotFound
from pointsman.kube.resources import ACTIONS, POLICIES, REVISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pointsman.api.v1alpha1.status import AppliedAction
    from pointsman.controllers.store import Store
    from pointsman.kube.client import KubeClient
    from pointsman.kube.resources import Resource


class Writer:
    """Creates and deletes revisions; patches the status of policies, revisions and actions."""

    def __init__(self, client: KubeClient, store: Store, count: Callable[[str], None]) -> None:
        """`count` hears the resource of each write that succeeded."""
        self._client = client
        self._store = store
        self._count = count

    async def create_revision(self, body: Mapping[str, Any]) -> None:
        """Create a revision; one of that name that is there already is read instead."""
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        try:
            created = await self._client.create(REVISIONS, body, namespace)
        except AlreadyExists:
            created = await self._client.get(REVISIONS, name, namespace)
        else:
            self._wrote(REVISIONS)
        self._store.put_revision(created)

    async def delete_revision(self, namespace: str, name: str, uid: str) -> None:
        """Delete this very revision; gone already is fine."""
        await self._client.delete(REVISIONS, name, namespace, uid=uid)
        self._wrote(REVISIONS)
        self._store.forget_revision(namespace, name, uid)

    async def patch_status(
        self, namespace: str, name: str, patch: Mapping[str, Any], resource_version: str
    ) -> None:
        """Write what was decided on `resource_version`; `Conflict` if the policy has changed since."""
        written = await self._client.patch_status(
            POLICIES, name, namespace, patch, resource_version=resource_version
        )
        self._wrote(POLICIES)
        self._store.put_policy(written)

    async def patch_revision_status(
        self, namespace: str, name: str, patch: Mapping[str, Any], resource_version: str
    ) -> None:
        """Write a revision's record; `Conflict` if the revision has changed since, `NotFound`."""
        try:
            written = await self._client.patch_status(
                REVISIONS, name, namespace, patch, resource_version=resource_version
            )
        except Conflict:
            # what is known of it is old: the next tick decides on what is there now
            self._store.put_revision(await self._client.get(REVISIONS, name, namespace))
            raise
        except NotFound:
            known = self._store.revision_named(namespace, name)
            self._store.forget_revision(namespace, name, known.uid if known else "")
            raise
        self._wrote(REVISIONS)
        self._store.put_revision(written)

    async def settle_action(self, policy_key: str, applied: AppliedAction) -> None:
        """Copy to a RolloutAction's own status what it did; one that is gone or is another is left."""
        namespace = policy_key.partition("/")[0]
        status = {"effect": applied.effect, "message": applied.message}
        # the uid is a precondition; the same words twice do no harm, so no resourceVersion
        body = {"metadata": {"uid": applied.uid}, "status": status}
        try:
            written = await self._client.patch(ACTIONS, applied.name, namespace, body, subresource="status")
        except (Conflict, NotFound):
            self._store.forget_action(policy_key, applied.name, applied.uid)
            return
        self._wrote(ACTIONS)
        self._store.put_action(written)

    def _wrote(self, resource: Resource) -> None:
        self._count(resource.plural)
