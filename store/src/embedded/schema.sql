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
