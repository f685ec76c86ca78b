-- Version 6. How many positions the clients behind each address have.

CREATE TABLE positions_of (
    address   TEXT NOT NULL PRIMARY KEY,
    positions INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO positions_of (address, positions)
SELECT substr(consumer, 1, instr(consumer, '#') - 1), count(*) FROM cursors
WHERE instr(consumer, '#') > 0 GROUP BY 1;

CREATE TRIGGER position_added AFTER INSERT ON cursors WHEN instr(NEW.consumer, '#') > 0 BEGIN
    INSERT INTO positions_of (address, positions) VALUES (substr(NEW.consumer, 1, instr(NEW.consumer, '#') - 1), 1)
    ON CONFLICT (address) DO UPDATE SET positions = positions + 1;
END;

CREATE TRIGGER position_removed AFTER DELETE ON cursors WHEN instr(OLD.consumer, '#') > 0 BEGIN
    UPDATE positions_of SET positions = positions - 1 WHERE address = substr(OLD.consumer, 1, instr(OLD.consumer, '#') - 1);
    DELETE FROM positions_of WHERE address = substr(OLD.consumer, 1, instr(OLD.consumer, '#') - 1) AND positions <= 0;
END;
