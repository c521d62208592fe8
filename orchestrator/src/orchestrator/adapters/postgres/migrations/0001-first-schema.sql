-- The first schema.
-- depends:

-- migrate: apply

-- Versions of definitions. Never updated. The primary key is what tells two processes apart that define at once.
CREATE TABLE definitions (
    workflow_id text COLLATE "C" NOT NULL,
    version     integer          NOT NULL CHECK (version > 0),
    digest      text COLLATE "C" NOT NULL,
    created_at  bigint           NOT NULL,
    body        bytea            NOT NULL,
    PRIMARY KEY (workflow_id, version)
);

-- Numbers of runs are given out by the thousand, so that a process asks for them once in a thousand runs.
CREATE SEQUENCE run_blocks;

-- One small row a run. Payloads live in the history, so that a list of runs reads no payload.
-- A step changes current_step and state only, which no index knows: the new version of the row stays on its page
-- (heap-only). Runs that began together go on together, so that a batch may change every row of a page at once:
-- a page keeps room for all of them.
CREATE TABLE runs (
    seq          bigint           NOT NULL PRIMARY KEY,
    run_id       text COLLATE "C" NOT NULL UNIQUE,
    workflow_id  text COLLATE "C" NOT NULL,
    version      integer          NOT NULL,
    status       text COLLATE "C" NOT NULL
        CHECK (status IN ('RUNNING', 'WAITING', 'COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT')),
    current_step integer          NOT NULL,
    started_at   bigint           NOT NULL,
    ended_at     bigint,
    deadline     bigint,
    -- The step whose result is the output, set when the run completes.
    output_of    integer,
    failure      bytea,
    -- What the other columns do not say of the state that decisions are made from: a copy, made of the history.
    state        bytea            NOT NULL,
    CHECK ((status IN ('RUNNING', 'WAITING')) = (ended_at IS NULL)),
    CHECK ((status = 'COMPLETED') = (output_of IS NOT NULL))
) WITH (
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.05
);
-- A list walks one of these for each status that it shows, so that two indexes do for every filter. Every index more
-- would be written at each run's start and end.
-- NULLS FIRST means nothing to a column without nulls, but that a list of one workflow, which is ordered like that,
-- cannot be had by walking the other index and leaving out what belongs to other workflows.
CREATE INDEX runs_by_status ON runs (status, started_at, seq);
CREATE INDEX runs_by_workflow ON runs (workflow_id, status, started_at NULLS FIRST, seq);
CREATE INDEX runs_by_deadline ON runs (deadline) WHERE deadline IS NOT NULL AND ended_at IS NULL;
CREATE INDEX runs_by_end ON runs (ended_at) WHERE ended_at IS NOT NULL;

-- What happened, one row a decision, in order of id within a run. Appended, never updated.
-- step: -1 when payload is the run's input, the step's index when it is that step's result, null without a payload.
-- The index is unique: that a result is recorded once is a rule of the database too.
CREATE TABLE history (
    id      bigint  NOT NULL GENERATED ALWAYS AS IDENTITY,
    run_seq bigint  NOT NULL,
    step    integer,
    at      bigint  NOT NULL,
    events  bytea   NOT NULL,
    payload bytea,
    CHECK ((step IS NULL) = (payload IS NULL))
);
CREATE UNIQUE INDEX history_by_run ON history (run_seq, step);

-- Open attempts: outbox, lease and retry timer in one row. Rows live for milliseconds, so dead ones are cleared often.
CREATE TABLE jobs (
    run_seq    bigint           NOT NULL,
    step       integer          NOT NULL,
    attempt    integer          NOT NULL,
    action     text COLLATE "C" NOT NULL,
    state      text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'leased', 'backoff')),
    input_of   integer,
    alone      boolean          NOT NULL,
    due_at     bigint,
    worker     text COLLATE "C",
    started_at bigint,
    details    bytea,
    PRIMARY KEY (run_seq, step),
    CHECK ((state = 'pending') = (due_at IS NULL))
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 100000
);
CREATE INDEX jobs_backing_off ON jobs (due_at) WHERE state = 'backoff';
CREATE INDEX jobs_leased ON jobs (run_seq) WHERE state = 'leased';

-- The primary key is what tells two processes apart that were called with one key at once.
CREATE TABLE idempotency (
    key         text COLLATE "C" NOT NULL PRIMARY KEY,
    fingerprint bytea            NOT NULL,
    run_id      text COLLATE "C" NOT NULL,
    expires_at  bigint           NOT NULL
);
CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

CREATE TABLE dead_letters (
    seq         bigint           NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text COLLATE "C" NOT NULL UNIQUE,
    run_id      text COLLATE "C" NOT NULL,
    workflow_id text COLLATE "C" NOT NULL,
    step        integer          NOT NULL,
    action      text COLLATE "C" NOT NULL,
    attempt     integer          NOT NULL,
    attempts    integer          NOT NULL,
    failure     bytea            NOT NULL,
    payload     bytea            NOT NULL,
    worker      text COLLATE "C",
    created_at  bigint           NOT NULL,
    state       text COLLATE "C" NOT NULL CHECK (state IN ('OPEN', 'REDRIVEN', 'DISCARDED')),
    settled_at  bigint,
    CHECK ((state = 'OPEN') = (settled_at IS NULL))
);
CREATE INDEX dead_letters_by_run ON dead_letters (run_id);
CREATE INDEX dead_letters_open ON dead_letters (seq) WHERE state = 'OPEN';
CREATE INDEX dead_letters_open_by_workflow ON dead_letters (workflow_id, seq) WHERE state = 'OPEN';
CREATE INDEX dead_letters_open_by_action ON dead_letters (action, seq) WHERE state = 'OPEN';

-- migrate: rollback
