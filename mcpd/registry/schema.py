"""The tables, each defined once (audit E2), as migrations: numbered, forward only, never edited after a release.

Timestamps are microseconds since the epoch, UTC. Order comes from row ids, never from clocks.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_V1 = """
CREATE TABLE services (
    name       TEXT PRIMARY KEY,
    active     INTEGER NOT NULL CHECK (active IN (0, 1)),
    revision   INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE components (
    service      TEXT NOT NULL REFERENCES services (name) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    position     INTEGER NOT NULL,
    spec         TEXT NOT NULL,              -- JSON of protos.spec.Component
    spec_hash    TEXT NOT NULL,
    image        TEXT NOT NULL,
    version      TEXT NOT NULL,
    container    TEXT NOT NULL UNIQUE,
    desired      TEXT NOT NULL,
    observed     TEXT NOT NULL DEFAULT 'unknown',
    observed_at  INTEGER,
    container_id TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (service, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    service   TEXT NOT NULL,
    component TEXT NOT NULL,
    kind      TEXT NOT NULL,
    message   TEXT NOT NULL,
    caller    TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_component ON events (service, component, id);
CREATE INDEX events_by_time ON events (at);

CREATE TABLE operations (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    service    TEXT NOT NULL,
    kind       TEXT NOT NULL,
    caller     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    step       TEXT NOT NULL DEFAULT '',
    state      TEXT NOT NULL,
    message    TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX operations_open ON operations (id) WHERE ended_at IS NULL;
"""

_V2 = """
ALTER TABLE events ADD COLUMN fact TEXT;     -- the key of an observed fact, kept once; NULL for what somebody did
CREATE UNIQUE INDEX events_fact ON events (fact) WHERE fact IS NOT NULL;
CREATE INDEX events_states ON events (service, component, at) WHERE fact IS NOT NULL;

CREATE TABLE containers (                    -- what the monitor knows, to go on from after a restart
    id    TEXT PRIMARY KEY,
    known TEXT NOT NULL                      -- JSON of monitor.model.Known
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    service       TEXT NOT NULL,
    component     TEXT NOT NULL,
    kind          TEXT NOT NULL,
    desired       TEXT NOT NULL,
    observed      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    since         INTEGER NOT NULL,
    transitions   INTEGER NOT NULL,
    opened_at     INTEGER NOT NULL,
    closed_at     INTEGER,
    delivery      TEXT NOT NULL,
    suppressed_by TEXT NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    exit_status   INTEGER,
    output        TEXT NOT NULL DEFAULT '',
    acked_by      TEXT NOT NULL DEFAULT '',
    ack_note      TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX alerts_open ON alerts (service, component) WHERE closed_at IS NULL;
CREATE INDEX alerts_pending ON alerts (id) WHERE delivery = 'pending';

CREATE TABLE silences (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    service   TEXT NOT NULL,
    component TEXT NOT NULL,                 -- '' for the whole service
    until     INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    by        TEXT NOT NULL
) STRICT;

CREATE TABLE facts_of_node (                 -- single values: the boot id
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_V3 = """
ALTER TABLE components ADD COLUMN deployed TEXT;                      -- JSON of what its container was made from
ALTER TABLE operations ADD COLUMN component TEXT NOT NULL DEFAULT ''; -- '' for the whole service
ALTER TABLE operations ADD COLUMN plan TEXT;                          -- JSON of mcpd.changes.plan.DeployPlan
ALTER TABLE operations ADD COLUMN committed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operations DROP COLUMN step;
UPDATE operations SET state = 'failed' WHERE state = 'interrupted';

CREATE TABLE steps (                         -- of operations, each kept before it is taken; and how they ended
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    operation INTEGER NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    at        INTEGER NOT NULL,
    component TEXT NOT NULL,
    step      TEXT NOT NULL,                 -- '' for an outcome
    result    TEXT NOT NULL,                 -- '' for a step
    message   TEXT NOT NULL
) STRICT;
CREATE INDEX steps_of_operation ON steps (operation, id);
"""

_V4 = """
CREATE TABLE audit (                         -- every call, also those that were refused
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    method   TEXT NOT NULL,
    caller   TEXT NOT NULL,                  -- '' when nobody was let in
    role     TEXT NOT NULL,
    peer     TEXT NOT NULL,
    target   TEXT NOT NULL,
    status   TEXT NOT NULL,
    duration INTEGER NOT NULL                -- microseconds
) STRICT;
CREATE INDEX audit_by_time ON audit (at);
"""

_V5 = """
CREATE TABLE adopted (                       -- containers that mcpd has not made, and that cannot be labelled any more
    container TEXT PRIMARY KEY,              -- podman's id
    service   TEXT NOT NULL,
    component TEXT NOT NULL,
    spec_hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_V6 = """
ALTER TABLE services ADD COLUMN declared TEXT NOT NULL DEFAULT '{}';  -- JSON of mcpd.registry.services.Declared
"""

_V7 = """
CREATE INDEX events_by_service ON events (service, id);

CREATE TABLE revisions (                     -- what deploys have made of a service, to go back to
    service    TEXT NOT NULL,
    number     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    caller     TEXT NOT NULL,                -- '' when it ran before revisions were kept
    restores   INTEGER NOT NULL,             -- the revision that a rollback went back to; 0: it was none
    definition TEXT NOT NULL,                -- JSON of protos.spec.Service
    PRIMARY KEY (service, number)
) STRICT, WITHOUT ROWID;
"""

_V8 = """
CREATE TABLE jobs (                          -- components whose schedule counts, or has counted
    service         TEXT NOT NULL,
    component       TEXT NOT NULL,
    schedule        TEXT NOT NULL,           -- '' while it does not count
    timezone        TEXT NOT NULL,
    accounted_until INTEGER NOT NULL,        -- every time up to this that it was due at has had its run
    trouble         TEXT NOT NULL DEFAULT '',-- what is wrong with its runs, in words
    succeeded_at    INTEGER,
    duration        INTEGER,                 -- of the last run that began and ended, in microseconds
    PRIMARY KEY (service, component)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_runs (                      -- each kept before it is started
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    service     TEXT NOT NULL,
    component   TEXT NOT NULL,
    due_at      INTEGER,                     -- NULL: somebody asked for it
    missed      INTEGER NOT NULL,            -- times before that which it makes up for
    caller      TEXT NOT NULL,
    container   TEXT NOT NULL,               -- podman's id
    before      INTEGER,                     -- when that container was started last, before this run
    before_end  INTEGER,                     -- when it ended last, before this run
    at          INTEGER NOT NULL,            -- when it was kept
    started_at  INTEGER,                     -- by podman
    ended_at    INTEGER,
    state       TEXT NOT NULL,
    exit_status INTEGER,
    message     TEXT NOT NULL DEFAULT '',
    stopped_by  TEXT NOT NULL DEFAULT '',    -- the operation that was about to end it
    overdue     INTEGER NOT NULL DEFAULT 0   -- 1: it went on when the next was due, and that is told
) STRICT;
CREATE INDEX job_runs_by_job ON job_runs (service, component, id);
CREATE INDEX job_runs_open ON job_runs (id) WHERE ended_at IS NULL;

CREATE TABLE sessions (                      -- programs that Exec has started, to end after a crash
    exec      TEXT PRIMARY KEY,
    container TEXT NOT NULL,
    at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

# In facts_of_node: what this database was restored from, until a daemon has told of it.
RESTORED = "restored"

MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8)
VERSION = len(MIGRATIONS)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(when: datetime) -> int:
    """A time as the tables have it."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    """A time of the tables."""
    return _EPOCH + timedelta(microseconds=microseconds)
