-- Version 4. CRC-32 of the frame: SQLite does not notice damage inside a value. NULL: stored before this version.
ALTER TABLE records ADD COLUMN checksum INTEGER;
