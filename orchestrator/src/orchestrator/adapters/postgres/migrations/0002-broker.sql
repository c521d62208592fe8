-- Jobs that travel through a broker.
-- depends: 0001-first-schema

-- migrate: apply

-- due_at of a pending row: when it is sent (again), where there is a broker. Of a sent row: nothing.
ALTER TABLE jobs
    DROP CONSTRAINT jobs_state_check,
    DROP CONSTRAINT jobs_check,
    ADD CONSTRAINT jobs_state_check CHECK (state IN ('pending', 'sent', 'leased', 'backoff')),
    ADD CONSTRAINT jobs_check CHECK (state IN ('pending', 'sent') OR due_at IS NOT NULL),
    -- Start to close, in microseconds.
    ADD COLUMN timeout bigint,
    -- Where the broker keeps the job; set when the broker has acknowledged it and the job is still open.
    ADD COLUMN partition integer,
    ADD COLUMN "offset" bigint,
    ADD CONSTRAINT jobs_sent_check CHECK (state <> 'sent' OR (partition IS NOT NULL AND "offset" IS NOT NULL));
DROP INDEX jobs_leased;
CREATE INDEX jobs_leased ON jobs (due_at) WHERE state = 'leased';
CREATE INDEX jobs_unsent ON jobs (due_at) WHERE state = 'pending' AND due_at IS NOT NULL;
CREATE INDEX jobs_sent ON jobs (action, partition, "offset") WHERE state = 'sent';

-- due_at: when its record is written to the broker (again); nothing without a broker, and when it is written.
ALTER TABLE dead_letters
    ADD COLUMN due_at bigint,
    ADD COLUMN partition integer,
    ADD COLUMN "offset" bigint;
CREATE INDEX dead_letters_unpublished ON dead_letters (due_at) WHERE due_at IS NOT NULL;

-- migrate: rollback
