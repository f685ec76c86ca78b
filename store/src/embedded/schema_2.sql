-- Version 2. Who sent a record, and so who is charged for it while it waits in an inbox or is in the log of a topic.

-- What is charged to whom, of what is in the indexes. Who has nothing is removed after a while.
CREATE TABLE owners (
    id       INTEGER PRIMARY KEY,
    standing INTEGER NOT NULL,  -- 0 anonymous, 1 user, 2 agent
    sender   TEXT NOT NULL,
    user     TEXT,
    address  TEXT,
    key      TEXT,
    records  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT;

-- 0: nobody is charged. Of no meaning in records that were acknowledged.
ALTER TABLE records ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE unacked ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;

-- In the order in which a sender's records are given up.
CREATE INDEX unacked_by_owner ON unacked (channel, owner, lane, seq);
