"""Takes sampled text in: two posts a request, answered at once, looked at later."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

from pointsman.contract import Header
from pointsman.evaluator.answer import keep
from pointsman.evaluator.record import LONGEST_NAME
from pointsman.evaluator.rows import CaptureRow
from pointsman.evaluator.totals import capture_series
from pointsman.evaluator.turns import turn_sha256
from pointsman.evaluator.writer import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pointsman.clock import Clock
    from pointsman.evaluator.answer import Half
    from pointsman.evaluator.bodies import Bodies
    from pointsman.evaluator.metrics import Totals
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.prices import CaptureRule

log = logging.getLogger(__name__)

POLICY: Final = "x-pointsman-policy"
TIER: Final = "x-pointsman-tier"
TRUNCATED: Final = "x-pointsman-truncated"
STATUS: Final = "x-pointsman-status"

BODY_BYTES: Final = 4_194_304
"""The most that a policy may ask for (`capture.maxBytes`)."""
BODY_DEADLINE_S: Final = 10.0
QUEUE_BYTES: Final = 64 << 20
GATHER_S: Final = 0.05
"""How long texts are gathered for one turn of a thread."""
BATCH_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Posted:
    """A text as it was sent. Never logged, never stored: `prepare` makes what is."""

    half: Half
    policy: str
    request_id: str
    revision: str
    tier: str
    status: int
    content_type: str
    truncated: bool
    at_us: int
    body: bytes


def prepare(posted: Posted, rule: CaptureRule) -> CaptureRow:
    """Return what is stored of a text: cut, put together, redacted. Pure; takes a while for long texts.

    The key of a request's reference is taken of the whole body as it came: struck out or cut it is another.
    """
    kept = keep(posted.half, posted.body, posted.content_type, rule, truncated=posted.truncated)
    return CaptureRow(
        policy=posted.policy,
        request_id=posted.request_id,
        half=posted.half,
        at_us=posted.at_us,
        revision=posted.revision,
        tier=posted.tier,
        status=posted.status,
        content_type=posted.content_type,
        retention_s=rule.retention_s,
        kept=kept,
        turn_sha256=turn_sha256(posted.body) if posted.half == "request" and not posted.truncated else "",
    )


def prepare_all(texts: Sequence[tuple[Posted, CaptureRule]]) -> list[CaptureRow | Exception]:
    """Prepare several: a text that cannot be read must stop neither the others nor us."""
    rows: list[CaptureRow | Exception] = []
    for posted, rule in texts:
        try:
            rows.append(prepare(posted, rule))
        except Exception as error:  # noqa: BLE001 - whatever a hostile text does to a parser
            rows.append(error)
    return rows


class Captures:
    """A bounded queue of texts, and the task that prepares them for `take` (the writer's queue)."""

    def __init__(
        self,
        policies: Policies,
        take: Callable[[CaptureRow], object],
        totals: Totals,
        clock: Clock,
        bodies: Bodies | None = None,
    ) -> None:
        """`bodies` holds requests as they came, for whoever must see them so; it decides for how long."""
        self._policies = policies
        self._take = take
        self._totals = totals
        self._clock = clock
        self._bodies = bodies
        self._queue: deque[Posted] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """Return the two routes that Envoy posts to."""
        return [
            web.post("/v1/capture/request", self._handle),
            web.post("/v1/capture/response", self._handle),
        ]

    async def run(self) -> None:
        """Prepare texts one after the other, off the loop's thread, until cancelled."""
        await self._policies.synced.wait()
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            self._arrived.clear()
            while self._queue:
                await self._prepare(self._next())

    def _next(self) -> list[tuple[Posted, CaptureRule]]:
        """Take some texts off the queue, as many as a thread has done soon."""
        batch: list[tuple[Posted, CaptureRule]] = []
        size = 0
        while self._queue and size < BATCH_BYTES:
            posted = self._queue.popleft()
            self._bytes -= len(posted.body)
            facts = self._policies.policy(posted.policy)
            if facts is None or facts.capture is None:
                self._note(posted, "refused")
                continue
            size += len(posted.body)
            batch.append((posted, facts.capture))
            if self._bodies is not None and posted.half == "request" and not posted.truncated:
                self._bodies.put(posted.policy, posted.request_id, posted.body)
        return batch

    async def _prepare(self, batch: list[tuple[Posted, CaptureRule]]) -> None:
        rows = await asyncio.to_thread(prepare_all, batch)
        for (posted, _), row in zip(batch, rows, strict=True):
            if isinstance(row, Exception):
                log.error(
                    "a text could not be prepared: %s",
                    type(row).__name__,  # not its words, which may hold the text's
                    extra={"policy": posted.policy, "half": posted.half},
                )
                self._note(posted, "failed")
            else:
                self._take(row)

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408)
        posted = self._posted(request, body)
        if posted is None:
            return web.Response(status=400, text=f"{Header.REQUEST_ID} and {POLICY} are needed")
        if self._bytes + len(body) > QUEUE_BYTES:
            self._note(posted, "dropped")
            return web.Response(status=503)
        self._queue.append(posted)
        self._bytes += len(body)
        self._arrived.set()
        return web.Response(status=202)

    def _posted(self, request: web.Request, body: bytes) -> Posted | None:
        header = request.headers

        def text(name: str) -> str:
            return header.get(name, "")[:LONGEST_NAME].encode(errors="replace").decode()

        if not text(Header.REQUEST_ID) or not text(POLICY):
            return None
        status = text(STATUS)
        return Posted(
            half=cast("Half", request.path.rpartition("/")[2]),
            policy=text(POLICY),
            request_id=text(Header.REQUEST_ID),
            revision=text(Header.REVISION),
            tier=text(TIER),
            status=int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 0,  # noqa: PLR2004 - HTTP's
            content_type=text("content-type"),
            truncated=text(TRUNCATED) == "1",
            at_us=micros(self._clock),
            body=body,
        )

    def _note(self, posted: Posted, outcome: str) -> None:
        # An unknown policy's name is whatever the sender said: it gets no series of its own.
        known = self._policies.policy(posted.policy) is not None
        self._totals.note(capture_series(posted.policy if known else "", posted.half, outcome))


def capture_app(captures: Captures, more: Iterable[web.AbstractRouteDef] = ()) -> web.Application:
    """Return the HTTP application for Envoy; `more`: for others that hold a certificate of ours."""
    app = web.Application(client_max_size=BODY_BYTES + 1)
    app.add_routes([*captures.routes(), *more])
    return app
