"""The store's tables, one migration a version (`PRAGMA user_version` counts them)."""

from __future__ import annotations

import sqlite3
from typing import Final

MIGRATIONS: Final = (
    """
    CREATE TABLE requests (
      id INTEGER PRIMARY KEY,
      request_id TEXT NOT NULL,
      start_us INTEGER NOT NULL,
      node TEXT NOT NULL,
      policy TEXT NOT NULL,
      revision TEXT NOT NULL,
      tier TEXT NOT NULL,
      served_tier TEXT NOT NULL,
      reason TEXT NOT NULL,
      score REAL,
      intent TEXT NOT NULL,
      status INTEGER NOT NULL,
      flags TEXT NOT NULL,
      attempts INTEGER NOT NULL,
      failed TEXT NOT NULL,
      decision_us INTEGER,
      ttft_us INTEGER,
      duration_us INTEGER NOT NULL,
      stream INTEGER NOT NULL,
      prompt_tokens INTEGER,
      completion_tokens INTEGER,
      cost_nano INTEGER,
      baseline_nano INTEGER,
      answer_model TEXT NOT NULL,
      captured INTEGER NOT NULL,
      session TEXT NOT NULL,
      forgotten INTEGER NOT NULL DEFAULT 0,
      UNIQUE (request_id, start_us)
    );
    CREATE INDEX requests_by_policy ON requests (policy, start_us);
    CREATE INDEX requests_by_time ON requests (start_us);
    CREATE INDEX requests_by_session ON requests (session) WHERE session <> '';
    CREATE TABLE captures (
      policy TEXT NOT NULL,
      request_id TEXT NOT NULL,
      half TEXT NOT NULL CHECK (half IN ('request', 'response')),
      at_us INTEGER NOT NULL,
      revision TEXT NOT NULL,
      tier TEXT NOT NULL,
      status INTEGER NOT NULL,
      content_type TEXT NOT NULL,
      form TEXT NOT NULL,
      truncated INTEGER NOT NULL,
      retention_s INTEGER NOT NULL,
      text TEXT NOT NULL,
      PRIMARY KEY (policy, request_id, half)
    );
    CREATE INDEX captures_by_request ON captures (request_id);
    CREATE INDEX captures_by_time ON captures (policy, at_us);
    CREATE TABLE totals (
      family TEXT NOT NULL,
      labels TEXT NOT NULL,
      part TEXT NOT NULL,
      value INTEGER NOT NULL,
      PRIMARY KEY (family, labels, part)
    ) WITHOUT ROWID;
    CREATE TABLE nodes (
      node TEXT PRIMARY KEY,
      received INTEGER NOT NULL DEFAULT 0,
      finished INTEGER NOT NULL DEFAULT 0,
      base INTEGER NOT NULL DEFAULT 0,
      lost INTEGER NOT NULL DEFAULT 0,
      seen_us INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE forgotten (session TEXT PRIMARY KEY, at_us INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE gone (
      policy TEXT NOT NULL,
      revision TEXT NOT NULL,
      since_us INTEGER NOT NULL,
      PRIMARY KEY (policy, revision)
    ) WITHOUT ROWID;
    """,
    # Scoring. `pending`: not scored and not given up; `label`: the intent that it counts for; `half`: a or b
    # where it counts for the noise of its revision. Rows from before are not pending and count for nothing.
    """
    ALTER TABLE requests ADD COLUMN rollout TEXT NOT NULL DEFAULT '';
    ALTER TABLE requests ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN arm TEXT NOT NULL DEFAULT '';
    ALTER TABLE requests ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN label TEXT NOT NULL DEFAULT '';
    ALTER TABLE requests ADD COLUMN half TEXT NOT NULL DEFAULT '';
    CREATE INDEX requests_pending ON requests (id) WHERE pending;
    CREATE INDEX requests_by_rollout ON requests (policy, rollout) WHERE rollout <> '';
    ALTER TABLE captures ADD COLUMN turn_sha256 TEXT NOT NULL DEFAULT '';
    CREATE TABLE results (
      request INTEGER NOT NULL,
      rubric TEXT NOT NULL,
      version TEXT NOT NULL,
      passed INTEGER,
      because TEXT NOT NULL,
      PRIMARY KEY (request, rubric, version)
    ) WITHOUT ROWID;
    CREATE TABLE sessions (
      policy TEXT NOT NULL,
      revision TEXT NOT NULL,
      session TEXT NOT NULL,
      seen_us INTEGER NOT NULL,
      counts TEXT NOT NULL,
      PRIMARY KEY (policy, revision, session)
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_time ON sessions (seen_us);
    CREATE INDEX sessions_by_session ON sessions (session);
    CREATE TABLE pairs (
      policy TEXT NOT NULL,
      rollout TEXT NOT NULL,
      stage TEXT NOT NULL CHECK (stage IN ('shadow', 'gate')),
      case_id TEXT NOT NULL,
      cluster TEXT NOT NULL,
      intent TEXT NOT NULL,
      rubric TEXT NOT NULL,
      version TEXT NOT NULL,
      incumbent INTEGER NOT NULL,
      candidate INTEGER NOT NULL,
      at_us INTEGER NOT NULL,
      PRIMARY KEY (policy, rollout, stage, case_id, rubric, version)
    ) WITHOUT ROWID;
    CREATE INDEX pairs_by_time ON pairs (at_us);
    CREATE TABLE gate_clusters (
      policy TEXT NOT NULL,
      rollout TEXT NOT NULL,
      rubric TEXT NOT NULL,
      version TEXT NOT NULL,
      cluster TEXT NOT NULL,
      d INTEGER NOT NULL,
      n INTEGER NOT NULL,
      PRIMARY KEY (policy, rollout, rubric, version, cluster)
    ) WITHOUT ROWID;
    CREATE TABLE gates (
      policy TEXT NOT NULL,
      rollout TEXT NOT NULL,
      total INTEGER NOT NULL,
      PRIMARY KEY (policy, rollout)
    ) WITHOUT ROWID;
    CREATE TABLE gate_cases (
      policy TEXT NOT NULL,
      rollout TEXT NOT NULL,
      case_id TEXT NOT NULL,
      state TEXT NOT NULL CHECK (state IN ('scored', 'failed')),
      PRIMARY KEY (policy, rollout, case_id)
    ) WITHOUT ROWID;
    CREATE TABLE shadow_requests (
      policy TEXT NOT NULL,
      rollout TEXT NOT NULL,
      case_id TEXT NOT NULL,
      outcome TEXT NOT NULL,
      cost_nano INTEGER NOT NULL,
      at_us INTEGER NOT NULL,
      PRIMARY KEY (policy, rollout, case_id)
    ) WITHOUT ROWID;
    CREATE INDEX shadow_requests_by_time ON shadow_requests (at_us);
    CREATE TABLE rollouts (
      policy TEXT NOT NULL,
      rollout TEXT NOT NULL,
      over_us INTEGER NOT NULL,
      dropped INTEGER NOT NULL DEFAULT 0,
      PRIMARY KEY (policy, rollout)
    ) WITHOUT ROWID;
    """,
)


class NewerStoreError(Exception):
    """The store was written by a newer release."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the store to the newest version, each step in a transaction of its own."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise NewerStoreError(
            f"store: has version {version}, this release knows up to {len(MIGRATIONS)}; "
            "run the release that wrote it, or give another --store"
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
