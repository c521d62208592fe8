-- Dead letters by the kind of their error.

-- The type of the error, cut, as groups and filters know it. Of older letters as JSON has it between its quotes.
ALTER TABLE dead_letters ADD COLUMN error_type TEXT NOT NULL DEFAULT '';
UPDATE dead_letters SET error_type = substr(
    substr(CAST(failure AS TEXT), 3, max(0, instr(substr(CAST(failure AS TEXT), 3), '"') - 1)), 1, 200);
-- Groups are counted from this index alone.
CREATE INDEX dead_letters_open_groups ON dead_letters (workflow_id, action, error_type, seq, created_at)
    WHERE state = 'OPEN';
-- For lists of those that are settled.
CREATE INDEX dead_letters_by_state ON dead_letters (state, seq);
