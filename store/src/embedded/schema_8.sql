-- Version 8. Of a session, only when it was last seen.

DROP TABLE subscriptions;
ALTER TABLE sessions DROP COLUMN user;
ALTER TABLE sessions DROP COLUMN agent;
ALTER TABLE sessions DROP COLUMN created_at;
ALTER TABLE sessions DROP COLUMN attributes;
