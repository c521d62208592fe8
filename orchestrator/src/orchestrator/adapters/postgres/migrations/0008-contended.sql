-- A statement can take itself back when another process was faster.
-- depends: 0007-full-workers

-- migrate: apply

CREATE FUNCTION contended() RETURNS xid LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'what was decided from is not what is there' USING ERRCODE = 'serialization_failure'; END $$;

-- migrate: rollback
