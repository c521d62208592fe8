-- Dead letters by the kind of their error.
-- depends: 0004-topics

-- migrate: apply

-- The type of the error, cut, as groups and filters know it. Of older letters as JSON has it between its quotes.
ALTER TABLE dead_letters ADD COLUMN error_type text COLLATE "C" NOT NULL DEFAULT '';
UPDATE dead_letters
SET error_type = coalesce(left(substring(convert_from(failure, 'UTF8') FROM '^\["((?:[^"\\]|\\.)*)"'), 200), '');
-- Groups are counted from this index alone.
CREATE INDEX dead_letters_open_groups ON dead_letters (workflow_id, action, error_type, seq) INCLUDE (created_at)
    WHERE state = 'OPEN';
-- For lists of those that are settled.
CREATE INDEX dead_letters_by_state ON dead_letters (state, seq);

-- migrate: rollback
