"""All writes of a rollout. What the API server answers is kept, so that the next tick sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointsman.kube.errors import AlreadyExists
from pointsman.kube.resources import POLICIES, REVISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pointsman.controllers.store import Store
    from pointsman.kube.client import KubeClient
    from pointsman.kube.resources import Resource


class Writer:
    """Creates and deletes revisions, patches policies' status."""

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

    def _wrote(self, resource: Resource) -> None:
        self._count(resource.plural)
