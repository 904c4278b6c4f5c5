"""The tiers' keys and the listeners' certificates: a watch for each Secret that is named, and for no other.

A namespace lets us read its Secrets one by one: a Role with their names, bound to our ServiceAccount. Such a
name also authorises list and watch, where `metadata.name` is the field selector.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from pointsman import install
from pointsman.kube.client import Selector, secret_data
from pointsman.kube.informer import Informer
from pointsman.kube.resources import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pointsman.kube.client import KubeClient, Object
    from pointsman.plan.types import SecretName

FORBIDDEN: Final = 403
"""HTTP."""
PATIENCE_S: Final = 5.0
"""How long a plan waits for its keys to be read; then it is served without."""


class Named(Protocol):
    """Whatever says which Secret it means."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def name(self) -> str:
        """Its name."""


class SecretCache:
    """Needed Secrets by (namespace, name). `changed` is called when a key may have another value."""

    def __init__(self, client: KubeClient, group: asyncio.TaskGroup, changed: Callable[[], None]) -> None:
        self._client = client
        self._group = group
        self._changed = changed
        self._watched: dict[tuple[str, str], tuple[Informer, asyncio.Task[None], float]] = {}

    def need(self, names: Iterable[Named]) -> None:
        """Watch exactly these Secrets."""
        needed = {(name.namespace, name.name) for name in names}
        for gone in self._watched.keys() - needed:
            self._watched.pop(gone)[1].cancel()
        for namespace, name in needed - self._watched.keys():
            informer = Informer(
                self._client,
                SECRETS,
                namespace=namespace,
                selector=Selector(fields=f"metadata.name={name}"),
                on_change=lambda _: self._changed(),
                on_error=self._changed,
                reduce=_data_only,
            )
            task = self._group.create_task(informer.run(), name=f"secret {namespace}/{name}")
            self._group.create_task(self._announce(informer, task))
            self._watched[namespace, name] = informer, task, time.monotonic()

    async def _announce(self, informer: Informer, task: asyncio.Task[None]) -> None:
        """Say that a Secret has been looked for, found or not, or that this took too long."""
        synced = asyncio.ensure_future(informer.synced.wait())
        await asyncio.wait({synced, task}, timeout=PATIENCE_S + 0.1, return_when=asyncio.FIRST_COMPLETED)
        synced.cancel()
        self._changed()

    def known(self, name: Named) -> bool:
        """Tell whether a Secret was read, or found missing or forbidden, or waited for long enough."""
        watched = self._watched.get((name.namespace, name.name))
        if watched is None:
            return False
        informer, _, since = watched
        waited = time.monotonic() >= since + PATIENCE_S
        return informer.synced.is_set() or waited or self.forbidden(name)

    def forbidden(self, name: Named) -> bool:
        """Tell whether the API server does not let us read a Secret; it is asked again and again."""
        watched = self._watched.get((name.namespace, name.name))
        error = watched[0].error if watched is not None else None
        return error is not None and error.status == FORBIDDEN

    def value(self, name: SecretName) -> bytes | None:
        """Return a key; None if there is no such Secret or no such key in it."""
        found = self.data(name)
        return None if found is None else found.get(name.key)

    def data(self, name: Named) -> dict[str, bytes] | None:
        """Return what is in a Secret; None if there is none, or none that we could read yet."""
        watched = self._watched.get((name.namespace, name.name))
        if watched is None:
            return None
        found = watched[0].store.get(f"{name.namespace}/{name.name}")
        return None if found is None else secret_data(found)


def allowing(namespace: str, names: Iterable[str], system_namespace: str) -> str:
    """Return the commands that let the xds servers read these Secrets of a namespace, a Role for each."""
    kubectl = f"kubectl -n {namespace} create"
    commands = []
    for name in sorted(set(names)):
        role = f"{install.XDS}-{name}"
        rights = f"--verb=get,list,watch --resource=secrets --resource-name={name}"
        account = f"{system_namespace}:{install.XDS}"
        commands.append(f"{kubectl} role {role} {rights}")
        commands.append(f"{kubectl} rolebinding {role} --role={role} --serviceaccount={account}")
    return " && ".join(commands)


def _data_only(obj: Object) -> Object:
    metadata = obj["metadata"]
    kept = {key: metadata[key] for key in ("namespace", "name", "resourceVersion") if key in metadata}
    return {"metadata": kept, "data": obj.get("data") or {}}
