-- Version 7. To whom a retained value is charged; 0: nobody.

ALTER TABLE retained ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
