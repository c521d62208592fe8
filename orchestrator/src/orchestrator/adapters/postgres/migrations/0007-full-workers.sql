-- Workers say whether they could start another job.
-- depends: 0006-workers

-- migrate: apply

-- Of a worker that does not say so, as of one that an older process tells of, false.
ALTER TABLE workers ADD COLUMN is_full boolean NOT NULL DEFAULT false;

-- migrate: rollback
