-- Workers, as processes tell each other of them.
-- depends: 0005-kinds-of-dead-letters

-- migrate: apply

-- Not logged: after a crash of the server it is empty, and filled again within seconds by those who know. The pages keep
-- room for the next versions of their rows: a sign of life writes no index.
CREATE UNLOGGED TABLE workers (
    worker_id     text COLLATE "C" NOT NULL PRIMARY KEY,
    -- Who has told of it last.
    process       text COLLATE "C" NOT NULL,
    transport     text COLLATE "C" NOT NULL CHECK (transport IN ('http', 'kafka')),
    about         bytea   NOT NULL,
    -- Microseconds since 1970 by this server's clock, as all times of this table.
    registered_at bigint  NOT NULL,
    seen_at       bigint  NOT NULL,
    -- When it does not count as there any more, unless it is told of again.
    until         bigint  NOT NULL,
    is_draining   boolean NOT NULL,
    has_left      boolean NOT NULL,
    -- Somebody has asked for it to be drained, and the process that has it does not know yet.
    is_asked      boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- migrate: rollback
