"""An evaluator that ends by SIGKILL at one of its commits. Run: `python mortal_evaluator.py SETTINGS.json`.

Keys as in `Settings`, `namespace`: whose policies to follow, and `cut`, a file. Once that file is there
commits are counted; it holds `[number, "before" or "after"]`. What each commit wrote goes to `<cut>.log`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from pointsman.evaluator.policies import Policies
from pointsman.evaluator.serve import Settings, serve
from pointsman.evaluator.store.address import address
from pointsman.kube.client import KubeClient
from pointsman.kube.informer import Change, Informer
from pointsman.kube.resources import POLICIES, REVISIONS
from pointsman.logs import configure

WRITES = frozenset({"INSERT", "UPDATE", "DELETE"})


class Mortal(sqlite3.Connection):
    """A connection that counts the commits that write, and ends the process at one of them."""

    cut: Path
    commits = 0
    written: frozenset[str] = frozenset()

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute, and note what is written."""
        if sql == "COMMIT" and self.written:
            return self._commit()
        self._note(sql)
        return super().execute(sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute for many rows, and note what is written."""
        self._note(sql)
        return super().executemany(sql, *parameters)

    def _note(self, sql: str) -> None:
        words = sql.split()
        if words[:1] and words[0] in WRITES:
            table = words[2] if words[1] in {"INTO", "FROM", "OR"} else words[1]
            self.written |= {f"{words[0]} {table.partition('(')[0]}"}

    def _commit(self) -> sqlite3.Cursor:
        kind, self.written = ", ".join(sorted(self.written)), frozenset()
        try:
            number, moment = json.loads(self.cut.read_text())
        except FileNotFoundError:
            return super().execute("COMMIT")
        Mortal.commits += 1
        with Path(f"{self.cut}.log").open("a") as log:
            log.write(f"{kind}\n")
        if number != Mortal.commits:
            return super().execute("COMMIT")
        if moment == "after":
            super().execute("COMMIT")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


async def follow(kubeconfig: str, namespace: str, policies: Policies, _registry: CollectorRegistry) -> None:
    """Keep the policies of one namespace current until cancelled."""

    def policy_changed(change: Change) -> None:
        policies.put_policy(change.key, change.new)

    def revision_changed(change: Change) -> None:
        policies.put_revision(change.key, change.new)

    async with await KubeClient.open(kubeconfig) as client, asyncio.TaskGroup() as group:
        for resource, changed in ((REVISIONS, revision_changed), (POLICIES, policy_changed)):
            informer = Informer(client, resource, namespace=namespace, on_change=changed)
            group.create_task(informer.run())
            await informer.synced.wait()
        policies.synced.set()


def main() -> None:
    """Serve until told to stop, or cut."""
    wanted: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    namespace, Mortal.cut = wanted.pop("namespace"), Path(wanted.pop("cut"))
    sqlite3.connect = partial(sqlite3.connect, factory=Mortal)  # type: ignore[assignment]  # as the store opens it
    settings = Settings(**wanted | {"store": address(wanted["store"]), "envoy_admin": ()})
    configure("evaluator")
    asyncio.run(serve(settings, follow_policies=partial(follow, str(settings.kubeconfig), namespace)))


if __name__ == "__main__":
    main()
