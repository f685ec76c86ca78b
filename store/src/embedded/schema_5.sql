-- Version 5. Retained values that are of no more use after a time.

ALTER TABLE retained ADD COLUMN expires_at INTEGER;
CREATE INDEX retained_by_expiry ON retained (expires_at) WHERE expires_at IS NOT NULL;
