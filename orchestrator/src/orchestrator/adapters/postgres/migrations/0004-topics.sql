-- Actions with a topic to themselves, and workers that give no sign of life.
-- depends: 0003-installation

-- migrate: apply

-- Where a sent job is; empty for the topic that all actions share.
ALTER TABLE jobs ADD COLUMN topic text COLLATE "C" NOT NULL DEFAULT '';
DROP INDEX jobs_sent;
CREATE INDEX jobs_sent ON jobs (action, topic, partition, "offset") WHERE state = 'sent';
-- Readers that give no sign of life matter to attempts that can time out, and to no others.
CREATE INDEX jobs_sent_timed ON jobs (action, topic, partition, "offset") WHERE state = 'sent' AND timeout IS NOT NULL;

-- Where the job was whose attempt failed; nothing where it is not known.
ALTER TABLE dead_letters ADD COLUMN topic text COLLATE "C" NOT NULL DEFAULT '';

-- migrate: rollback
