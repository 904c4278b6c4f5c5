"""One gateway: what its policies want, what its Envoys have, and the quarantine between the two. No I/O."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pointsman.xds.delta import DeltaStream, Timing
from pointsman.xds.marks import plan_digest, plans_in
from pointsman.xds.pace import Pace
from pointsman.xds.quarantine import Quarantine, same
from pointsman.xds.snapshot import inconsistencies
from pointsman.xds.translate.names import is_front
from pointsman.xds.types import ROUTE, SECRET, SHORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pointsman.plan.types import PolicyPlan
    from pointsman.xds.compile import Compiler
    from pointsman.xds.delta import Incoming, Outgoing, Verdict
    from pointsman.xds.metrics import XdsMetrics
    from pointsman.xds.snapshot import Snapshot

log = logging.getLogger(__name__)

_WORDS: Final = 1_000
"""Longest that Envoy may be quoted."""
_REMEMBERED: Final = 16
"""Snapshots that an Envoy's answer can still be about."""


@dataclass(eq=False, slots=True)
class Envoy:
    """One connected Envoy. `wake` is called when its stream may have something to send."""

    node: str
    wake: Callable[[], None]
    stream: DeltaStream
    established: bool = False
    """It has had a whole snapshot. One that still starts up is not waited for, unless all do."""
    odd: bool = False
    """It refuses what other Envoys have acknowledged: nobody waits for it, and its word blames no policy."""
    error: str = ""
    sent: dict[str, float] = field(default_factory=dict)
    """Nonce → when."""


class Gateway:
    """One `node.cluster`. `changed` is told when the state may have changed."""

    def __init__(
        self,
        name: str,
        compiler: Compiler,
        metrics: XdsMetrics,
        changed: Callable[[], None],
        timing: Timing | None = None,
    ) -> None:
        self.name = name
        self.envoys: list[Envoy] = []
        self.desired: Mapping[str, PolicyPlan] = {}
        self._compiler = compiler
        self._metrics = metrics
        self._changed = changed
        self._timing = timing or Timing()
        self._quarantine = Quarantine()
        self._pace = Pace()
        self._snapshot: Snapshot | None = None
        self._number = -1
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._waiting: deque[float] = deque(maxlen=1000)
        self._told: dict[str, tuple[tuple[object, ...], dict[str, Any]]] = {}
        """Of each policy: what its entry was made of, and the entry."""

    # -- what is wanted --------------------------------------------------------------------------------------

    def desire(
        self, plans: Mapping[str, PolicyPlan], urgent: Iterable[str] = (), since: float | None = None
    ) -> None:
        """Serve these plans. `since`: monotonic time of the event that they came from, for the metric."""
        self.desired = dict(plans)
        if since is not None and self.envoys:
            self._waiting.append(since)
        self._quarantine.desire(plans, urgent)
        self._publish()

    def held_until(self, now: float) -> float | None:
        """Return until when new plans would keep its Envoys from ever having any; None: they may come."""
        return self._pace.held_until(now) if self.envoys else None

    def refresh(self) -> None:
        """Send what is served anew: a tier's key, a certificate or a listener has changed."""
        if self._snapshot is not None:
            self._number = -1
            self._publish()

    def plans(self) -> Iterator[PolicyPlan]:
        """Yield every plan that is served, or that a policy may return to."""
        yield from self._quarantine.target.values()
        yield from self._quarantine.good.values()

    # -- what Envoys say -------------------------------------------------------------------------------------

    def connect(self, node: str, wake: Callable[[], None]) -> Envoy:
        """Take in an Envoy; it is brought to the present target."""
        envoy = Envoy(node, wake, DeltaStream(self._timing))
        self.envoys.append(envoy)
        if self._snapshot is not None:
            envoy.stream.retarget(self._snapshot)
        self._metrics.streams.labels(self.name).set(len(self.envoys))
        self._changed()
        return envoy

    def disconnect(self, envoy: Envoy) -> None:
        """Forget an Envoy; the others' acknowledgements may now be all that there are."""
        self.envoys.remove(envoy)
        self._metrics.streams.labels(self.name).set(len(self.envoys))
        self._publish()
        self._changed()

    def receive(self, envoy: Envoy, request: Incoming) -> None:
        """Take one request of an Envoy."""
        verdict = envoy.stream.receive(request, time.monotonic())
        if request.type_url == ROUTE and request.initial:
            self._learn(request.initial.values())
        if verdict is not None:
            self._answered(envoy, verdict, request.nonce)
        envoy.wake()

    def pump(self, envoy: Envoy) -> list[Outgoing]:
        """Return what to send to an Envoy now."""
        now = time.monotonic()
        before = envoy.stream.applied
        responses = envoy.stream.pump(now)
        for response in responses:
            envoy.sent[response.nonce] = now
            self._metrics.pushes.labels(self.name, SHORT[response.type_url]).inc()
        if envoy.stream.applied is not None and envoy.stream.applied != before:
            envoy.established, envoy.odd, envoy.error = True, False, ""
            self._publish()
        return responses

    def _answered(self, envoy: Envoy, verdict: Verdict, nonce: str) -> None:
        kind = SHORT[verdict.type_url]
        sent = envoy.sent.pop(nonce, None)
        if sent is not None:
            self._metrics.push_ack.labels(kind).observe(time.monotonic() - sent)
        if verdict.error is None:
            self._metrics.acks.labels(self.name, kind).inc()
            return
        self._metrics.nacks.labels(self.name, kind).inc()
        self._pace.reached()  # an answer, too: nobody's rollback waits for a search
        envoy.error = words(verdict)
        log.warning("envoy %s of gateway %s refused %ss: %s", envoy.node, self.name, kind, envoy.error)
        number = self._versions.get(verdict.target)
        if number is None or envoy.odd:
            return
        envoy.odd = not self._quarantine.nacked(number, envoy.error, self._suspects(verdict))
        self._publish()

    def _suspects(self, verdict: Verdict) -> frozenset[str] | None:
        """Return whose resources were refused: those that Envoy names, if it names any. None: anybody's."""
        if verdict.type_url == ROUTE:
            return None  # one resource of all policies
        named = {name for name in verdict.names if name in (verdict.error or "")}
        refused = named or verdict.names
        if refused and all(is_front(name) for name in refused):
            return frozenset()
        target = self._quarantine.target
        found = frozenset(key for key, plan in target.items() if refused & self._compiler.names(plan))
        return found if found or named else None

    def _learn(self, versions: Iterable[str]) -> None:
        for version in versions:
            self._quarantine.learn(plans_in(version, self.desired.values()))
        self._publish()

    # -- the target ------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Bring Envoys to the quarantine's target and tell it when all have it, until nothing moves."""
        quarantine = self._quarantine
        while quarantine.number:
            number = quarantine.number
            if self._number != number and not self._retarget():
                if quarantine.number == number:
                    break
                continue
            if not self._everyone_has(self._snapshot):
                break
            self._observe_acknowledged()
            self._pace.reached()
            quarantine.acked(number)
            if quarantine.number == number:
                break
        self._metrics.quarantined.labels(self.name).set(len(quarantine.held))
        self._changed()

    def _retarget(self) -> bool:
        """Compile the target and give it to the streams; False: it cannot be, its culprit is looked for."""
        quarantine = self._quarantine
        started = time.monotonic()
        try:
            made = self._compiler(quarantine.target)
            problem = "; ".join(inconsistencies(made)[:3])
        except Exception as error:  # whatever a plan breaks, it breaks for its own policy alone
            log.exception("gateway %s: the plans cannot be translated", self.name)
            problem = f"cannot be translated: {error!r}"
        self._metrics.compile.observe(time.monotonic() - started)
        if problem:
            self._metrics.uncompiled.labels(self.name).inc()
            quarantine.nacked(quarantine.number, problem)
            return False
        self._snapshot, self._number = made, quarantine.number
        self._pace.moved(time.monotonic())
        self._versions[made.version] = self._number
        self._versions.move_to_end(made.version)
        while len(self._versions) > _REMEMBERED:
            self._versions.popitem(last=False)
        self._metrics.policies.labels(self.name).set(len(quarantine.target))
        for envoy in self.envoys:
            envoy.stream.retarget(made)
            envoy.wake()
        return True

    def _everyone_has(self, target: Snapshot | None) -> bool:
        # A stream that broke without a word may linger beside its Envoy's next one.
        newest = {envoy.node: envoy for envoy in self.envoys}
        counted = [envoy for envoy in newest.values() if not envoy.odd]
        counted = [envoy for envoy in counted if envoy.established] or counted
        return (
            target is not None
            and bool(counted)
            and all(envoy.stream.applied == target.version for envoy in counted)
        )

    def _observe_acknowledged(self) -> None:
        for since in self._waiting:
            self._metrics.change_ack.observe(time.monotonic() - since)
        self._waiting.clear()

    # -- what is so ------------------------------------------------------------------------------------------

    def told(self) -> dict[str, dict[str, Any]]:
        """Return what `/v1/state` says of each policy; the same object while nothing of it changes."""
        mood = bool(self.envoys), any(envoy.established for envoy in self.envoys), self._odd_error()
        made = {}
        for key, plan in self.desired.items():
            good, held = self._quarantine.good.get(key), self._quarantine.held.get(key)
            of = plan, good, held.message if held is not None else None, mood
            known = self._told.get(key)
            # by identity first: plans that did not change are the same objects
            made[key] = known if known is not None and known[0] == of else (of, self._entry(plan))
        self._told = made
        return {key: entry for key, (_, entry) in made.items()}

    def _entry(self, plan: PolicyPlan) -> dict[str, Any]:
        programmed, reason, message = self.programmed(plan.key)
        return {
            "generation": plan.generation,
            "plan": plan_digest(plan),
            "programmed": programmed,
            "reason": reason,
            "message": message,
            "traffic": [
                {"revision": arm.revision, "weightPermille": arm.weight_permille} for arm in plan.arms
            ],
        }

    def _odd_error(self) -> str:
        return next((envoy.error for envoy in self.envoys if envoy.odd), "")

    def programmed(self, key: str) -> tuple[bool, str, str]:
        """Return whether the Envoys have a policy's present plan, and the reason and words for it."""
        held = self._quarantine.held.get(key)
        if held is not None:
            return False, "Quarantined", held.message
        if not self.envoys:
            return (
                False,
                "NoEnvoy",
                f"no Envoy of gateway {self.name} is connected; start one with node.cluster {self.name}",
            )
        error = self._odd_error()
        good, wanted = self._quarantine.good.get(key), self.desired.get(key)
        served = any(envoy.established for envoy in self.envoys)
        if wanted and same(good, wanted) and served and not error:
            return True, "Acknowledged", ""
        return False, "Pending", error or "Envoy has yet to acknowledge it"


def words(verdict: Verdict) -> str:
    """Return Envoy's words, short: it prints whole resources, and of a secret nothing must be seen."""
    said = verdict.error or ""
    if verdict.type_url == SECRET:
        return f"Envoy refused the secrets {', '.join(sorted(verdict.names))}"
    if len(said) <= _WORDS:
        return said
    # The name is in its first line; then come the resource, over many lines, and the reason.
    what, why = said.partition("\n")[0], said.rpartition("\n: ")[2]
    return f"{what[: _WORDS // 4]} … {why[-_WORDS * 3 // 4 :]}"
