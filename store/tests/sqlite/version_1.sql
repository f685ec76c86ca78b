-- Version 1. Times are milliseconds since 1970. Sequence numbers come from one counter, so a record's is its row id: appending
-- always writes at the right edge of the tree.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE channels (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    name              TEXT NOT NULL UNIQUE,
    family            INTEGER NOT NULL,
    born              INTEGER NOT NULL,  -- the first number it ever had
    head              INTEGER NOT NULL,  -- the last
    last_stored_at    INTEGER NOT NULL,
    oldest_at         INTEGER,           -- not after the oldest record that need not be acknowledged (any more)
    oldest_unacked_at INTEGER,           -- not after the oldest that must
    records           INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    unacked           INTEGER NOT NULL,
    unacked_bytes     INTEGER NOT NULL,
    appended          INTEGER NOT NULL,
    trimmed           INTEGER NOT NULL,
    dead_lettered     INTEGER NOT NULL
) STRICT;
CREATE INDEX channels_by_age ON channels (family, oldest_at) WHERE oldest_at IS NOT NULL;
CREATE INDEX channels_by_unacked_age ON channels (family, oldest_unacked_at) WHERE oldest_unacked_at IS NOT NULL;
CREATE INDEX channels_idle ON channels (last_stored_at) WHERE records = 0;

CREATE TABLE records (
    seq          INTEGER PRIMARY KEY,
    channel      INTEGER NOT NULL,
    prev         INTEGER NOT NULL,
    stored_at    INTEGER NOT NULL,
    expires_at   INTEGER,
    lane         INTEGER NOT NULL,  -- 0 low, 1 normal, 2 high, 3 control
    needs_ack    INTEGER NOT NULL,
    message_id   TEXT NOT NULL,
    source       TEXT NOT NULL,
    frame        BLOB NOT NULL,
    dead_channel TEXT,
    dead_seq     INTEGER,
    dead_reason  TEXT,
    dead_detail  TEXT
) STRICT;

-- The log of each channel.
CREATE TABLE logs (
    channel INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (channel, seq)
) STRICT, WITHOUT ROWID;

-- In the order in which a full inbox gives records up.
CREATE TABLE unacked (
    channel    INTEGER NOT NULL,
    lane       INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    stored_at  INTEGER NOT NULL,
    expires_at INTEGER,
    attempts   INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    reason     TEXT,
    PRIMARY KEY (channel, lane, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX unacked_by_expiry ON unacked (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE gaps (
    channel   INTEGER PRIMARY KEY,
    intervals BLOB NOT NULL
) STRICT;

-- What each commit has appended. The records of those after meta.placed are not in logs and unacked yet, nor counted in channels; of a
-- channel, they are newer than all that are.
CREATE TABLE commits (
    id        INTEGER PRIMARY KEY,
    newest_at INTEGER NOT NULL,
    ids       BLOB NOT NULL,  -- by which repeated messages are recognised
    unplaced  BLOB NOT NULL,
    settled   BLOB NOT NULL   -- numbers of unplaced records that do not wait for an acknowledgement any more
) STRICT;

CREATE TABLE retained (
    channel   TEXT NOT NULL UNIQUE,
    seq       INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    frame     BLOB NOT NULL
) STRICT;

CREATE TABLE cursors (
    consumer TEXT NOT NULL,
    channel  TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    saved_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX cursors_by_age ON cursors (saved_at);

CREATE TABLE sessions (
    id         BLOB PRIMARY KEY,
    user       TEXT,
    agent      TEXT,
    created_at INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    attributes TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_last_seen ON sessions (last_seen);

CREATE TABLE subscriptions (
    session  BLOB NOT NULL,
    topic    TEXT NOT NULL,
    presence INTEGER NOT NULL,
    PRIMARY KEY (session, topic)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    who    TEXT NOT NULL,
    what   TEXT NOT NULL,
    origin TEXT NOT NULL,
    detail TEXT
) STRICT;
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_kind ON audit (kind);

CREATE TABLE state (
    name  TEXT NOT NULL UNIQUE,
    value BLOB NOT NULL
) STRICT;

INSERT INTO meta (name, value) VALUES ('next_seq', 1), ('placed', 0);

-- What a store of version 1 held: records that wait, that were acknowledged, that are in a topic's log, dead letters; the last three not
-- in the indexes yet, and one of them acknowledged.
UPDATE meta SET value = 257 WHERE name = 'next_seq';
UPDATE meta SET value = 1 WHERE name = 'placed';
INSERT INTO meta (name, value) VALUES ('epoch', '0f0e0d0c0b0a'), ('clean', 1), ('durability', 'fsync'), ('boot', 'any');
INSERT INTO channels (id, name, family, born, head, last_stored_at, oldest_at, oldest_unacked_at, records, bytes, unacked, unacked_bytes,
  appended, trimmed, dead_lettered) VALUES
  (1, 'agent:worker', 0, 1, 3, 1700000000003, 1700000000003, 1700000000001, 3, 115, 2, 110, 3, 0, 0),
  (2, 'topic:t', 3, 4, 4, 1700000000004, 1700000000004, NULL, 1, 20, 0, 0, 1, 0, 0),
  (3, 'dead:agent:worker', 4, 5, 5, 1700000000005, 1700000000005, NULL, 1, 7, 0, 0, 1, 0, 0);
INSERT INTO records (seq, channel, prev, stored_at, lane, needs_ack, message_id, source, frame, dead_channel, dead_seq, dead_reason) VALUES
  (1, 1, 0, 1700000000001, 1, 1, 'm1', 'session:00000000-0000-4000-8000-00000000000a', zeroblob(100), NULL, NULL, NULL),
  (2, 1, 0, 1700000000002, 1, 1, 'm2', 'agent:b', zeroblob(10), NULL, NULL, NULL),
  (3, 1, 0, 1700000000003, 1, 1, 'm3', 'session:00000000-0000-4000-8000-00000000000a', zeroblob(5), NULL, NULL, NULL),
  (4, 2, 0, 1700000000004, 1, 0, 'm4', 'session:00000000-0000-4000-8000-00000000000a', zeroblob(20), NULL, NULL, NULL),
  (5, 3, 0, 1700000000005, 1, 0, 'm5', 'session:00000000-0000-4000-8000-00000000000a', zeroblob(7), 'agent:worker', 200, 'rejected'),
  (6, 1, 0, 1700000000006, 1, 1, 'm6', 'session:00000000-0000-4000-8000-00000000000a', zeroblob(30), NULL, NULL, NULL),
  (7, 1, 0, 1700000000007, 1, 1, 'm7', 'session:00000000-0000-4000-8000-00000000000a', zeroblob(6), NULL, NULL, NULL),
  (8, 2, 0, 1700000000008, 1, 0, 'm8', 'agent:b', zeroblob(40), NULL, NULL, NULL);
INSERT INTO logs (channel, seq) VALUES (1, 1), (1, 2), (1, 3), (2, 4), (3, 5);
INSERT INTO unacked (channel, lane, seq, bytes, stored_at, attempts, due_at) VALUES
  (1, 1, 1, 100, 1700000000001, 1, 0), (1, 1, 2, 10, 1700000000002, 0, 0);
INSERT INTO commits (id, newest_at, ids, unplaced, settled) VALUES
  (1, 1700000000004, x'd73188cd95b3d0bb0d75f936ef5ddb3101000000000000000168e5cf8b0100003a053dbfadaec9b78f6f935c25698cc002000000000000000268e5cf8b0100000231e6675d03080c835f1df7977d423903000000000000000368e5cf8b010000d45f4f2ab44ee6ba82488ba450ce40e704000000000000000468e5cf8b010000', x'', x''),
  (2, 1700000000008, x'868978d99b2155b846814d077a5ee23206000000000000000668e5cf8b0100007d68d92c977525a9943e1772fe9a2df307000000000000000768e5cf8b0100006a0db42b734dc318e02f2b73cfbee90d08000000000000000868e5cf8b010000',
   x'060000000000000001000000000000001e000000000000000668e5cf8b010000ffffffffffffffff00000000000000000000000001010700000000000000010000000000000006000000000000000768e5cf8b010000ffffffffffffffff00000000000000000000000001010800000000000000020000000000000028000000000000000868e5cf8b010000ffffffffffffffff0000000000000000000000000100', x'0700000000000000');
INSERT INTO retained (channel, seq, stored_at, frame) VALUES ('topic:t', 4, 1700000000004, zeroblob(20));
INSERT INTO cursors (consumer, channel, seq, saved_at) VALUES ('session:00000000-0000-4000-8000-00000000000a', 'topic:t', 4, 1700000000004);
INSERT INTO sessions (id, user, created_at, last_seen) VALUES (x'0000000000004000800000000000000a', 'ann', 1700000000001, 1700000000008);
INSERT INTO subscriptions (session, topic, presence) VALUES (x'0000000000004000800000000000000a', 't', 0);
INSERT INTO audit (at, kind, who, what, origin) VALUES (1700000000001, 'admin', 'operator', 'did something', 'command line');
INSERT INTO state (name, value) VALUES ('one', x'01');
PRAGMA application_id = 1094865479;
PRAGMA user_version = 1;
