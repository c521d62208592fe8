-- What retention looks for: runs by their end, and the dead letters of a run.
CREATE INDEX runs_by_end ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX dead_letters_by_run ON dead_letters (run_id);
