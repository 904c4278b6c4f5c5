"""Two replay tiers that insist on their keys, a real Envoy before them with a shadow listener, a real Triton.

The evaluator's own part is run by each test, in its own loop, on its own store: `Evaluator`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from envoy_kit import files
from envoy_kit.background import Background
from goodbye import hang_up
from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.api.v1alpha1.rubrics import rubric_version
from pointsman.clock import system_clock
from pointsman.contract import ALWAYS_STRONG
from pointsman.evaluator.cases import ScoredRequest
from pointsman.evaluator.classify import Classifiers
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.evaluator.offpath import Needs, OffPath
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.record import AccessRecord
from pointsman.evaluator.rubrics import Library, scorers
from pointsman.evaluator.store import Store
from pointsman.evaluator.tls import TLSFiles
from pointsman.evaluator.writer import Writer
from pointsman.fetching import Fetcher
from pointsman.lab.envoy import Envoy
from pointsman.lab.pki import Authority
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.replay import Answer, Latency
from pointsman.lab.tier import Settings, Tier
from pointsman.plan.build import build
from pointsman.xds.bootstrap import ShadowListener, Tls, bootstrap
from pointsman.xds.translate import SECRET, Options, secret, secret_names, translate
from wait import until

POLICY, ROLLOUT = "team/support", "0a1b2c3d"
EVALUATOR: Final = "pointsman-evaluator"
CHEAP_KEY, STRONG_KEY = "key-of-cheap", "key-of-strong"


@dataclass
class Models:
    """The two tiers' servers, on a loop of their own; `records` may be changed at any time."""

    loop: Background
    records: dict[str, dict[str, Answer]] = field(default_factory=lambda: {"small": {}, "large": {}})
    ports: dict[str, int] = field(default_factory=dict)
    _runners: list[web.AppRunner] = field(default_factory=list)

    def start(self) -> None:
        """Listen."""
        for model, key in (("small", CHEAP_KEY), ("large", STRONG_KEY)):
            tier = Tier(Settings(model, Latency(0, 0), key), self.records[model], CollectorRegistry())
            runner = web.AppRunner(tier.app(), access_log=None, shutdown_timeout=0.2)
            self.ports[model] = self.loop.run(_listen(runner))
            self._runners.append(runner)

    def stop(self) -> None:
        """Close every connection and stop listening."""
        for runner in self._runners:
            self.loop.run(runner.cleanup())

    def answers(self, model: str, answers: dict[str, str]) -> None:
        """Record answers; each has 100 prompt tokens and 20 of its own."""
        self.records[model].update({p: Answer(text, 100, 20, recorded=True) for p, text in answers.items()})

    def ledger(self, model: str, *, gate: bool = False) -> list[dict[str, Any]]:
        """Return the requests of the shadow (or of gates) that a tier answered."""
        found = httpx.get(f"http://{LOCALHOST}:{self.ports[model]}/ledger").json()
        return [entry for entry in found["entries"] if ("-gate-" in entry["id"]) is gate]

    def faults(self, model: str, **faults: Any) -> None:
        """Break a tier."""
        httpx.put(f"http://{LOCALHOST}:{self.ports[model]}/faults", json=faults).raise_for_status()

    def reset(self) -> None:
        """Forget ledgers and faults."""
        for port in self.ports.values():
            httpx.delete(f"http://{LOCALHOST}:{port}/ledger").raise_for_status()
            httpx.delete(f"http://{LOCALHOST}:{port}/faults").raise_for_status()


async def _listen(runner: web.AppRunner) -> int:
    await runner.setup()
    await web.TCPSite(runner, LOCALHOST, 0).start()
    return int(runner.addresses[0][1])


@dataclass
class Stack:
    """Everything but the evaluator."""

    models: Models
    envoy: Envoy
    shadow: str
    tls: TLSFiles
    triton: str
    bundle: str

    def policy(self, *, candidate: str = "asking", step: str = "Shadow", **changes: Any) -> dict[str, Any]:
        """Return the policy in a step of its rollout against always-strong; `changes` of spec."""
        at = "2026-11-22T10:00:00.000000Z"
        rollout = {
            "id": ROLLOUT,
            "candidate": candidate,
            "incumbent": ALWAYS_STRONG,
            "startedAt": at,
            "steps": [{"index": 1, "name": step, "startedAt": at}],
        }
        return {
            "metadata": {"name": "support", "namespace": "team", "uid": "u1", "generation": 1},
            "spec": self._spec() | {"strategy": {"type": "Pinned", "pinned": {"tier": "cheap"}}} | changes,
            "status": {
                "rollout": rollout,
                "warm": [{"revision": name, "until": at} for name in ("asking", "pinned")],
            },
        }

    def revisions(self) -> dict[str, dict[str, Any]]:
        """Return what may be a candidate: `asking` has a classifier, `pinned` sends all to cheap."""
        classifier = {
            "artifact": {"uri": "configmap://bundle", "sha256": self.bundle},
            "thresholds": [{"tier": "cheap", "minScorePermille": 500}],
        }
        strategies = {
            "asking": {"type": "Classifier", "classifier": classifier},
            "pinned": {"type": "Pinned", "pinned": {"tier": "cheap"}},
            "unserved": {"type": "Pinned", "pinned": {"tier": "cheap"}},
        }
        owner = {"kind": "RoutingPolicy", "name": "support", "uid": "u1"}
        return {
            name: {
                "metadata": {"name": name, "namespace": "team", "ownerReferences": [owner]},
                "spec": {
                    "policyRef": {"name": "support"},
                    "tiers": self._spec()["tiers"],
                    "strategy": strategy,
                },
            }
            for name, strategy in strategies.items()
        }

    def _spec(self) -> dict[str, Any]:
        def tier(name: str, model: str, price: str) -> dict[str, Any]:
            return {
                "name": name,
                "endpoints": [{"url": f"http://{LOCALHOST}:{self.models.ports[model]}/v1"}],
                "model": model,
                "apiKeyRef": {"name": "keys", "key": name},
                "price": {"inputPerMillion": price, "outputPerMillion": price},
                "timeouts": {"idle": "3s", "total": "5s"},
            }

        return {
            "gatewayRef": {"name": "default"},
            "match": {"hostnames": ["llm.example.com"], "models": ["auto"]},
            "tiers": [tier("cheap", "small", "10"), tier("strong", "large", "100")],
            "triton": {"external": {"urls": [self.triton]}},
        }


@contextmanager
def run(folder: Path, triton: str, bundle: str) -> Iterator[Stack]:
    """Start the tiers and Envoy; `bundle` is the digest of a classifier that `triton` has loaded."""
    authority = Authority(folder / "pki")
    own = authority.leaf("envoy", "pointsman:envoy", hosts=[LOCALHOST])
    pair = authority.leaf("evaluator", "pointsman:evaluator", hosts=[EVALUATOR])
    tls = TLSFiles(pair.cert, pair.key, authority.pair.cert)
    with Background() as loop:
        models = Models(loop)
        models.start()
        address, admin = f"{LOCALHOST}:{free_port()}", f"{LOCALHOST}:{free_port()}"
        shadow = ShadowListener(
            address, Tls(str(authority.pair.cert), str(own.cert), str(own.key), EVALUATOR)
        )
        stack = Stack(models, None, f"https://{address}", tls, triton, bundle)  # type: ignore[arg-type]  # set below
        policy = RoutingPolicy.model_validate(stack.policy())
        revisions = {
            f"team/{name}": RoutingPolicyRevision.model_validate(value)
            for name, value in stack.revisions().items()
            if name != "unserved"
        }
        plan = build([policy], revisions, {}).gateways["default"]
        resources = translate(plan, Options(entry_address=f"{LOCALHOST}:{free_port()}"))
        names = {name for each in plan.policies for name in secret_names(each)}
        keys = {"cheap": CHEAP_KEY, "strong": STRONG_KEY}
        resources[SECRET] = {name.resource: secret(name, keys[name.key].encode()) for name in names}
        files.write(folder, files.plain(resources))
        none = f"{LOCALHOST}:1"
        value = files.file_bootstrap(folder, admin=admin, access_log=none, capture=none, shadow=address)
        secure = bootstrap(
            gateway="default",
            node_id="test",
            admin_address=admin,
            xds_addresses=[none],
            access_log_address=none,
            capture_address=none,
            shadow=shadow,
        )
        value["static_resources"]["listeners"] = files.from_files(
            secure["static_resources"]["listeners"], folder
        )
        try:
            with Envoy(folder, value, concurrency=1) as envoy:
                stack.envoy = envoy
                yield stack
        finally:
            models.stop()


@dataclass
class Evaluator:
    """Shadow and gate on a store of their own."""

    writer: Writer
    offpath: OffPath
    policies: Policies
    registry: CollectorRegistry

    def counts(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return a family's values by the values of `labels`, as Prometheus would read them."""
        found: dict[tuple[str, ...], float] = {}
        for family in text_string_to_metric_families(self.writer.totals.render().decode()):
            for sample in family.samples:
                if sample.name == name:
                    key = tuple(sample.labels[label] for label in labels)
                    found[key] = found.get(key, 0) + sample.value
        return found

    def pairs(self, rubric: str) -> dict[str, float]:
        """Return a rubric's pairs by outcome."""
        found = self.counts("pointsman_rubric_pairs_total", "rubric", "outcome")
        return {outcome: count for (name, outcome), count in found.items() if name == rubric and count}

    def notes(self) -> dict[str, float]:
        """Return what became of requests."""
        found = self.counts("pointsman_shadow_requests_total", "outcome")
        return {outcome: count for (outcome,), count in found.items() if count}

    async def noted(self, number: int) -> dict[str, float]:
        """Wait until something became of so many requests, then return what."""
        await until(lambda: sum(self.notes().values()) >= number, 20, what=f"{number} shadow requests")
        return self.notes()


@asynccontextmanager
async def evaluator(
    stack: Stack, store: Path, policy: dict[str, Any], *, url: str | None = None
) -> AsyncIterator[Evaluator]:
    """Run shadow and gate for one policy, until the end or its `kill -9`, which is the same to the store."""
    registry = CollectorRegistry()
    policies = Policies()
    for name, value in stack.revisions().items():
        policies.put_revision(f"team/{name}", value)
    policies.put_policy(POLICY, policy)
    policies.synced.set()
    fetcher = Fetcher(None, allow_files=True)
    library = Library(fetcher, _no_key, registry)
    classifiers = Classifiers(registry)
    with Store(store) as opened:
        writer = Writer(opened, policies, ProcessMetrics(registry), system_clock)
        offpath = OffPath(
            Needs(
                urls={"": url or stack.shadow},
                tls=stack.tls,
                policies=policies,
                classifiers=classifiers,
                library=library,
                scorers=lambda key: scorers(_rubrics(policies, key), library.resources(key)),
                take=writer.offer,
                behind_s=lambda: writer.behind_s,
                store=store,
                registry=registry,
                clock=system_clock,
            )
        )
        writing, working = asyncio.create_task(writer.run()), asyncio.create_task(offpath.run())
        try:
            yield Evaluator(writer, offpath, policies, registry)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            writer.stop()
            await writing
            await classifiers.close()
            await library.close()
            await fetcher.close()
            await hang_up()


def _rubrics(policies: Policies, key: str) -> Sequence[Any]:
    facts = policies.policy(key)
    return facts.rubrics if facts is not None else ()


async def _no_key(*_: object) -> str:
    raise KeyError


def dataset(path: Path, references: dict[str, str], **members: str) -> dict[str, Any]:
    """Write a data set of prompts and right answers; return it as a policy names it."""
    lines = [
        json.dumps({"prompt": prompt, "reference": right} | members) for prompt, right in references.items()
    ]
    content = "\n".join(lines).encode()
    path.write_bytes(content)
    return {"uri": f"file://{path}", "sha256": hashlib.sha256(content).hexdigest()}


def evaluation(data: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return spec.evaluation with one rubric, `correct`: the letter of the answer."""
    exact = {"extract": ["answer is ([A-D])"], "reference": {"dataset": data}}
    rubric = {"name": "correct", "type": "ExactMatch", "exactMatch": exact}
    return {"capture": {"samplePermille": 1000}, "rubrics": [rubric]} | members


def version(policy: dict[str, Any]) -> str:
    """Return the version of a policy's first rubric."""
    return rubric_version(RoutingPolicy.model_validate(policy).spec.evaluation.rubrics[0])  # type: ignore[union-attr]


def scored(
    number: int, prompt: str, policy: dict[str, Any], *, correct: bool | None, **body: Any
) -> ScoredRequest:
    """Return a request that the strong tier answered as the incumbent."""
    record = AccessRecord(
        node="envoy-1",
        request_id=f"request-{number}",
        start_us=1_790_000_000_000_000 + number,
        duration_us=1000,
        policy=POLICY,
        revision=ALWAYS_STRONG,
        tier="strong",
        served_tier="strong",
        reason="always_strong",
        status=200,
        prompt_tokens=100,
        completion_tokens=20,
        captured=True,
        session=f"session-{number % 5}",
        rollout=ROLLOUT,
        step=1,
        arm="incumbent",
    )
    outcomes, versions = {"answered": True, "retry": True}, {"answered": "guard", "retry": "guard"}
    if correct is not None:
        outcomes["correct"], versions["correct"] = correct, version(policy)
    asked = {"model": "auto", "messages": [{"role": "user", "content": prompt}]} | body
    return ScoredRequest(record, json.dumps(asked).encode(), "", [], 200, "", outcomes, versions)
