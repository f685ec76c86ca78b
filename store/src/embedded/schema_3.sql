-- Version 3. Records that were stored before version 2 name no owner. Their senders are charged for them from here on, as far as they are
-- known: a session without its user and address, an agent without its key.

CREATE INDEX owners_by_sender ON owners (sender);

-- What counts: what waits, what is in the log of a topic or broadcast, and what is not in the indexes yet.
CREATE TEMP TABLE uncharged AS SELECT seq, source FROM records
WHERE owner = 0 AND dead_channel IS NULL AND (
    needs_ack = 0
    OR EXISTS (SELECT 1 FROM unacked AS waiting WHERE waiting.channel = records.channel AND waiting.lane = records.lane AND waiting.seq = records.seq)
    OR NOT EXISTS (SELECT 1 FROM logs WHERE logs.channel = records.channel AND logs.seq = records.seq)
);

INSERT INTO owners (standing, sender, records, bytes)
SELECT DISTINCT iif(source GLOB 'session:*', 0, 2), source, 0, 0 FROM uncharged
WHERE NOT EXISTS (SELECT 1 FROM owners WHERE sender = source AND user IS NULL AND address IS NULL AND key IS NULL);

UPDATE records SET owner = (
    SELECT id FROM owners WHERE sender = records.source AND user IS NULL AND address IS NULL AND key IS NULL LIMIT 1
) WHERE seq IN (SELECT seq FROM uncharged);

UPDATE unacked SET owner = coalesce((SELECT owner FROM records WHERE records.seq = unacked.seq), 0) WHERE owner = 0;

UPDATE owners SET records = found.number, bytes = found.size FROM (
    SELECT owner, count(*) AS number, sum(size) AS size FROM (
        SELECT owner, bytes AS size FROM unacked
        UNION ALL
        SELECT owner, length(frame) FROM records JOIN logs ON logs.channel = records.channel AND logs.seq = records.seq
        WHERE needs_ack = 0 AND dead_channel IS NULL
    ) GROUP BY owner
) AS found WHERE found.owner = owners.id;

DROP TABLE uncharged;
DROP INDEX owners_by_sender;
