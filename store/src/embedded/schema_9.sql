-- Version 9. Where entries of the audit log come from, and for whom positions count.

CREATE INDEX audit_by_origin ON audit (kind, origin);

-- Who pays for the clients behind an address: a network address, a user, an agent key. NULL: not known yet.
ALTER TABLE positions_of ADD COLUMN source TEXT;
CREATE INDEX positions_by_source ON positions_of (source) WHERE source IS NOT NULL;

CREATE TABLE positions_of_source (
    source    TEXT NOT NULL PRIMARY KEY,
    positions INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER positions_moved AFTER UPDATE OF positions, source ON positions_of BEGIN
    UPDATE positions_of_source SET positions = positions - OLD.positions WHERE source = OLD.source;
    INSERT INTO positions_of_source (source, positions) SELECT NEW.source, NEW.positions WHERE NEW.source IS NOT NULL
    ON CONFLICT (source) DO UPDATE SET positions = positions + NEW.positions;
    DELETE FROM positions_of_source WHERE source IN (OLD.source, NEW.source) AND positions <= 0;
END;
