-- Versions of definitions; never updated.
CREATE TABLE definitions (
    workflow_id TEXT    NOT NULL,
    version     INTEGER NOT NULL CHECK (version > 0),
    digest      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    body        BLOB    NOT NULL,
    PRIMARY KEY (workflow_id, version)
) WITHOUT ROWID;

-- One small row a run; payloads live in the history, so that a list of runs reads no payload.
CREATE TABLE runs (
    seq          INTEGER PRIMARY KEY,
    run_id       TEXT    NOT NULL UNIQUE,
    workflow_id  TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    status       TEXT    NOT NULL
        CHECK (status IN ('RUNNING', 'WAITING', 'COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT')),
    -- Kept for ended runs; an open run's is the step of its job.
    current_step INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    deadline     INTEGER,
    -- The step whose result is the output; set when the run completes.
    output_of    INTEGER,
    failure      BLOB,
    CHECK ((status IN ('RUNNING', 'WAITING')) = (ended_at IS NULL)),
    CHECK ((status = 'COMPLETED') = (output_of IS NOT NULL))
);
CREATE INDEX runs_by_start ON runs (started_at);
CREATE INDEX runs_by_status ON runs (status, started_at);
CREATE INDEX runs_by_workflow ON runs (workflow_id, started_at);
CREATE INDEX runs_by_workflow_and_status ON runs (workflow_id, status, started_at);
CREATE INDEX runs_by_deadline ON runs (deadline) WHERE deadline IS NOT NULL AND ended_at IS NULL;

-- What happened, one row a decision, in order of id; appended, never updated.
-- step: -1 when payload is the run's input, the step's index when it is that step's result, null without a payload.
CREATE TABLE history (
    id      INTEGER PRIMARY KEY,
    run_seq INTEGER NOT NULL,
    step    INTEGER,
    at      INTEGER NOT NULL,
    events  BLOB    NOT NULL,
    payload BLOB,
    CHECK ((step IS NULL) = (payload IS NULL))
);
CREATE INDEX history_by_run ON history (run_seq, step);

-- Open attempts: outbox, lease and retry timer in one row.
CREATE TABLE jobs (
    run_seq    INTEGER NOT NULL,
    step       INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    action     TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('pending', 'leased', 'backoff')),
    input_of   INTEGER,
    alone      INTEGER NOT NULL,
    due_at     INTEGER,
    worker     TEXT,
    started_at INTEGER,
    details    BLOB,
    PRIMARY KEY (run_seq, step),
    CHECK ((state = 'pending') = (due_at IS NULL))
) WITHOUT ROWID;
CREATE INDEX jobs_backing_off ON jobs (due_at) WHERE state = 'backoff';

CREATE TABLE idempotency (
    key         TEXT    NOT NULL PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    run_id      TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

CREATE TABLE dead_letters (
    seq         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    run_id      TEXT    NOT NULL,
    workflow_id TEXT    NOT NULL,
    step        INTEGER NOT NULL,
    action      TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    failure     BLOB    NOT NULL,
    payload     BLOB    NOT NULL,
    worker      TEXT,
    created_at  INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('OPEN', 'REDRIVEN', 'DISCARDED')),
    settled_at  INTEGER,
    CHECK ((state = 'OPEN') = (settled_at IS NULL))
);
CREATE INDEX dead_letters_open ON dead_letters (seq) WHERE state = 'OPEN';
CREATE INDEX dead_letters_open_by_workflow ON dead_letters (workflow_id, seq) WHERE state = 'OPEN';
CREATE INDEX dead_letters_open_by_action ON dead_letters (action, seq) WHERE state = 'OPEN';
