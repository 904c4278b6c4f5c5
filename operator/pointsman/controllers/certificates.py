"""Keeps the certificates of all parts: Secrets as they are → Secrets as they shall be."""

from __future__ import annotations

import base64
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Gauge

from pointsman import install
from pointsman.certificates import rotation
from pointsman.certificates.rotation import Scene, Terms
from pointsman.certificates.secrets import Held, parts, read_leaf
from pointsman.certificates.x509s import UnreadableError, new_key
from pointsman.clock import rfc3339
from pointsman.kube.client import secret_data
from pointsman.kube.errors import AlreadyExists, Conflict, Invalid
from pointsman.kube.resources import GATEWAYS, POOLS, SECRETS
from pointsman.workloads.manifest import NAME, owner_of
from pointsman.workloads.pods import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import CollectorRegistry

    from pointsman.certificates.rotation import Write
    from pointsman.certificates.secrets import Part
    from pointsman.clock import Clock
    from pointsman.controllers.objects import Objects
    from pointsman.kube.client import KubeClient, Object
    from pointsman.kube.informer import Change
    from pointsman.kube.resources import Resource

log = logging.getLogger(__name__)

SINCE: Final = "pointsman.dev/since"
"""Annotation of a certificate's Secret: when what it holds was written."""
_TYPE: Final = "kubernetes.io/tls"
_ALL: Final = "all"
_AT_MOST_S: Final = 600.0
_AGAIN_S: Final = 0.2


class Certificates:
    """One reconcile for all of them: they hang together. `made_by_us`: else they are only looked at."""

    kind = "certificates"

    def __init__(
        self,
        client: KubeClient,
        objects: Objects,
        registry: CollectorRegistry,
        clock: Clock,
        *,
        made_by_us: bool = True,
        terms: Terms | None = None,
        keys: Callable[[], Any] = new_key,
    ) -> None:
        self._client = client
        self._objects = objects
        self._clock = clock
        self._made_by_us = made_by_us
        self._terms = terms or Terms()
        self._keys = keys
        self._shown: set[str] = set()
        self._ends = Gauge(
            "pointsman_certificate_expiry_timestamp_seconds",
            "When the certificate that a Secret holds ends to be valid, Unix time.",
            ["secret"],
            registry=registry,
        )

    def first(self) -> Iterable[str]:
        """Return what to look at even if nothing ever changes."""
        return [_ALL]

    def concerned(self, resource: Resource, change: Change) -> Iterable[str]:
        """Return [what to look at] if a change is about certificates."""
        if resource in {GATEWAYS, POOLS}:
            return [] if change.old and change.new else [_ALL]
        if resource is not SECRETS:
            return []
        name = change.key.partition("/")[2]
        return [_ALL] if name == install.CA_SECRET or name in {part.secret for part in self._parts()} else []

    async def reconcile(self, _name: str) -> float | None:
        """Write what differs, in the plan's order; return when to look again."""
        if not self._made_by_us:
            self._look()
            return _AT_MOST_S
        now = self._clock()
        held = self._held()
        plan = rotation.decide(Scene(install.CA_SECRET, held, self._parts(), now, self._terms, self._keys))
        for write in plan.writes:
            if not await self._write(write):
                return _AGAIN_S  # another one wrote: nothing that follows may be done on what we knew
        self._show({name: ends.timestamp() for name, ends in plan.ends.items()})
        if plan.writes:
            return _AGAIN_S
        return min(_AT_MOST_S, max(1.0, (plan.look_again - now).total_seconds()))

    def _parts(self) -> tuple[Part, ...]:
        return parts(
            self._objects.namespace,
            [o["metadata"]["name"] for o in self._objects.all(GATEWAYS)],
            [o["metadata"]["name"] for o in self._objects.all(POOLS)],
        )

    def _held(self) -> dict[str, Held]:
        names = [install.CA_SECRET, *(part.secret for part in self._parts())]
        found = {name: self._objects.get(SECRETS, name) for name in names}
        return {name: held_of(secret) for name, secret in found.items() if secret is not None}

    async def _write(self, write: Write) -> bool:
        """Write one Secret on the version that was decided on; False: it has become another meanwhile."""
        live = self._objects.get(SECRETS, write.secret)
        try:
            if live is None:
                written = await self._client.create(
                    SECRETS, self._secret(write, None), self._objects.namespace
                )
            else:
                written = await self._client.replace(SECRETS, self._secret(write, live))
        except AlreadyExists:
            await self._make_room(write.secret)
            return False
        except Conflict:
            return False
        except Invalid:
            # made immutable by somebody: only another one in its place can be right
            await self._client.delete(
                SECRETS, write.secret, self._objects.namespace, uid=(live or {})["metadata"]["uid"]
            )
            return False
        self._objects.note(SECRETS, written)
        log.info("certificate written: %s", write.why, extra={"secret": write.secret})
        return True

    async def _make_room(self, name: str) -> None:
        """Delete what has the name of one of our Secrets and cannot be made one: its type never changes."""
        found = await self._client.get(SECRETS, name, self._objects.namespace)
        if found.get("type") != _TYPE:
            log.warning("a Secret of another type is in the way and is deleted", extra={"secret": name})
            await self._client.delete(SECRETS, name, self._objects.namespace, uid=found["metadata"]["uid"])

    def _secret(self, write: Write, live: Object | None) -> Object:
        metadata = dict((live or {}).get("metadata") or {"name": write.secret})
        metadata["namespace"] = self._objects.namespace
        metadata["labels"] = dict(metadata.get("labels") or {}) | {
            install.LABEL_NAME: NAME,
            install.LABEL_MANAGED_BY: NAME,
        }
        since = {SINCE: rfc3339(self._clock())}
        metadata["annotations"] = dict(metadata.get("annotations") or {}) | since
        owner = self._owner(write.secret)
        if owner is not None:
            metadata["ownerReferences"] = [owner]
        return {
            "apiVersion": SECRETS.api_version,
            "kind": SECRETS.kind,
            "metadata": metadata,
            "type": _TYPE,
            "data": {key: base64.b64encode(value).decode() for key, value in write.data.items()},
        }

    def _owner(self, secret: str) -> Mapping[str, Any] | None:
        """Return the gateway or pool with which the Secret shall go."""
        for resource, named in ((GATEWAYS, install.gateway_name), (POOLS, install.pool_name)):
            for found in self._objects.all(resource):
                metadata = found["metadata"]
                if install.certificate_secret(named(metadata["name"])) == secret:
                    return owner_of(resource.kind, metadata["name"], metadata["uid"])
        return None

    def _look(self) -> None:
        """Show when certificates end that somebody else makes."""
        found = {}
        for part in self._parts():
            secret = self._objects.get(SECRETS, part.secret)
            with suppress(UnreadableError):
                if secret is not None:
                    leaf = read_leaf(secret_data(secret), part)
                    found[part.secret] = leaf.pair.certificate.ends.timestamp()
        self._show(found)

    def _show(self, ends: Mapping[str, float]) -> None:
        for gone in self._shown - set(ends):
            self._ends.remove(gone)
        for secret, end in ends.items():
            self._ends.labels(secret).set(end)
        self._shown = set(ends)


def held_of(secret: Object) -> Held:
    """Return a Secret as the rotation wants it."""
    since = (secret["metadata"].get("annotations") or {}).get(SINCE)
    try:
        return Held(secret_data(secret), moment(since) if since else None)
    except ValueError:
        return Held(secret_data(secret), None)
