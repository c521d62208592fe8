-- What processes of one database share, and no others know.
-- depends: 0002-broker

-- migrate: apply

-- One row. With the secret, processes sign what they leave for each other in places that others can reach too.
CREATE TABLE installation (
    single boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (single),
    secret bytea   NOT NULL CHECK (octet_length(secret) >= 32)
);
INSERT INTO installation (secret)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- migrate: rollback
