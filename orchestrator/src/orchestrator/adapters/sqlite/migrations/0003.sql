-- The same checks without IN: a list is built anew for each row that is written, which cost a twentieth of a step.
-- The tables are made again, for a check cannot be changed. Foreign keys there are none.
CREATE TABLE new_runs (
    seq          INTEGER PRIMARY KEY,
    run_id       TEXT    NOT NULL UNIQUE,
    workflow_id  TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    status       TEXT    NOT NULL,
    -- Kept for ended runs; an open run's is the step of its job.
    current_step INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    deadline     INTEGER,
    -- The step whose result is the output; set when the run completes.
    output_of    INTEGER,
    failure      BLOB,
    CHECK (
        (ended_at IS NULL AND output_of IS NULL AND (status = 'RUNNING' OR status = 'WAITING'))
        OR (ended_at IS NOT NULL AND output_of IS NOT NULL AND status = 'COMPLETED')
        OR (ended_at IS NOT NULL AND output_of IS NULL
            AND (status = 'FAILED' OR status = 'CANCELLED' OR status = 'TIMED_OUT'))
    )
);
INSERT INTO new_runs
    SELECT seq, run_id, workflow_id, version, status, current_step, started_at, ended_at, deadline, output_of, failure
    FROM runs;
DROP TABLE runs;
ALTER TABLE new_runs RENAME TO runs;
CREATE INDEX runs_by_start ON runs (started_at);
CREATE INDEX runs_by_status ON runs (status, started_at);
CREATE INDEX runs_by_workflow ON runs (workflow_id, started_at);
CREATE INDEX runs_by_workflow_and_status ON runs (workflow_id, status, started_at);
CREATE INDEX runs_by_deadline ON runs (deadline) WHERE deadline IS NOT NULL AND ended_at IS NULL;
CREATE INDEX runs_by_end ON runs (ended_at) WHERE ended_at IS NOT NULL;

-- Open attempts: outbox, lease and retry timer in one row.
CREATE TABLE new_jobs (
    run_seq    INTEGER NOT NULL,
    step       INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    action     TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    input_of   INTEGER,
    alone      INTEGER NOT NULL,
    due_at     INTEGER,
    worker     TEXT,
    started_at INTEGER,
    details    BLOB,
    PRIMARY KEY (run_seq, step),
    CHECK ((due_at IS NULL AND state = 'pending') OR (due_at IS NOT NULL AND (state = 'leased' OR state = 'backoff')))
) WITHOUT ROWID;
INSERT INTO new_jobs
    SELECT run_seq, step, attempt, action, state, input_of, alone, due_at, worker, started_at, details FROM jobs;
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;
CREATE INDEX jobs_backing_off ON jobs (due_at) WHERE state = 'backoff';
