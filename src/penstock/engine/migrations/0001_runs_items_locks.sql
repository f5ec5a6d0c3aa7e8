-- Times are UTC in milliseconds since 1970. Columns named payload, cursor, result, error, facts, counts, snapshot,
-- versions, summary and value hold JSON. States are words (see engine/outcome.py and core/item.py).

-- One execution of jobs. stop_requested: 0, 1 = softly, 2 = at once.
CREATE TABLE runs (
    id             TEXT PRIMARY KEY,
    started_ms     INTEGER NOT NULL,
    finished_ms    INTEGER,
    state          TEXT NOT NULL,
    exit_code      INTEGER,
    host           TEXT NOT NULL,
    pid            INTEGER NOT NULL,
    process_start  TEXT NOT NULL,
    boot_id        TEXT NOT NULL,
    command        TEXT NOT NULL,
    versions       TEXT NOT NULL,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    summary        TEXT
);

-- One job within a run. origin is the job_run whose plan it works on: itself, or the first of a chain of resumes;
-- groups and items are filed under the origin. is_planned: the plan was made to its end. counts cover the plan, done_here
-- this job_run alone. A job that did not begin has no origin.
CREATE TABLE job_runs (
    id           INTEGER PRIMARY KEY,
    run          TEXT NOT NULL REFERENCES runs (id),
    job          TEXT NOT NULL,
    kind         TEXT NOT NULL,
    plan_hash    TEXT NOT NULL,
    origin       INTEGER,
    resumed_from INTEGER,
    state        TEXT NOT NULL,
    exit_code    INTEGER,
    is_planned   INTEGER NOT NULL DEFAULT 0,
    workers      INTEGER NOT NULL DEFAULT 0,
    executor     TEXT NOT NULL DEFAULT '',
    snapshot     TEXT NOT NULL DEFAULT '{}',
    counts       TEXT NOT NULL DEFAULT '{}',
    done_here    INTEGER NOT NULL DEFAULT 0,
    reason       TEXT NOT NULL DEFAULT '',
    error        TEXT,
    started_ms   INTEGER NOT NULL,
    finished_ms  INTEGER
);
CREATE INDEX job_runs_by_job ON job_runs (job, id);
CREATE INDEX job_runs_by_run ON job_runs (run);

-- A group of the plan, journalled in one transaction with its items, whose ids are first_item .. last_item.
CREATE TABLE groups (
    job_run    INTEGER NOT NULL,
    name       TEXT NOT NULL,
    facts      TEXT NOT NULL,
    first_item INTEGER NOT NULL,
    last_item  INTEGER NOT NULL,
    planned_ms INTEGER NOT NULL,
    PRIMARY KEY (job_run, name)
) WITHOUT ROWID;

-- One unit of work. id = job_run * 1000000000 + place in the plan, so a job_run's items lie together without an index.
-- state: pending, running, done, failed, skipped. rows and size_bytes are those safe up to cursor. parent is the item that
-- found this one while it ran. ran_in is the job_run in which it last ran; a failed item that was cleared is skipped and
-- keeps its error.
CREATE TABLE items (
    id                      INTEGER PRIMARY KEY,
    job_run                 INTEGER NOT NULL,
    key                     TEXT NOT NULL,
    kind                    TEXT NOT NULL,
    stage                   INTEGER NOT NULL,
    group_name              TEXT NOT NULL,
    payload                 TEXT NOT NULL,
    weight                  INTEGER NOT NULL,
    timeout_s               REAL,
    parent                  INTEGER,
    state                   TEXT NOT NULL DEFAULT 'pending',
    attempts                INTEGER NOT NULL DEFAULT 0,
    attempts_since_progress INTEGER NOT NULL DEFAULT 0,
    cursor                  TEXT,
    rows                    INTEGER NOT NULL DEFAULT 0,
    size_bytes              INTEGER NOT NULL DEFAULT 0,
    result                  TEXT,
    error                   TEXT,
    started_ms              INTEGER,
    finished_ms             INTEGER,
    worker                  TEXT,
    ran_in                  INTEGER
);
CREATE UNIQUE INDEX items_by_key ON items (job_run, key);
CREATE INDEX items_failed ON items (job_run) WHERE state = 'failed';
CREATE INDEX items_found ON items (job_run, group_name) WHERE parent IS NOT NULL;

-- What a job remembers from run to run (watermarks), written in the transaction that makes its item done.
CREATE TABLE state (
    job        TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    run        TEXT NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (job, key)
) WITHOUT ROWID;

-- Who may write: one row a lock held. process_start and boot_id tell a live process from another one with its pid.
CREATE TABLE locks (
    name          TEXT PRIMARY KEY,
    run           TEXT NOT NULL,
    host          TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    process_start TEXT NOT NULL,
    boot_id       TEXT NOT NULL,
    acquired_ms   INTEGER NOT NULL,
    heartbeat_ms  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX locks_by_run ON locks (run);

-- How a job's run went, look by look; done, failed, rows and size_bytes are totals of the plan.
CREATE TABLE samples (
    job_run    INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    done       INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    rows       INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    in_flight  INTEGER NOT NULL,
    retries    INTEGER NOT NULL,
    wait_s     REAL NOT NULL,
    rss_bytes  INTEGER NOT NULL,
    PRIMARY KEY (job_run, at_ms)
) WITHOUT ROWID;

-- What is worth knowing afterwards. kind: workers, retry, recover, replan, snapshot, takeover, resume, abandoned, stop,
-- close, cancel.
CREATE TABLE notes (
    id      INTEGER PRIMARY KEY,
    run     TEXT NOT NULL,
    job_run INTEGER,
    item    INTEGER,
    kind    TEXT NOT NULL,
    text    TEXT NOT NULL,
    at_ms   INTEGER NOT NULL
);
CREATE INDEX notes_by_run ON notes (run);
