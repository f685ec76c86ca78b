// Where the fixtures are, and how they are written.
import { readFileSync, writeFileSync } from "node:fs";

const path = (name) => new URL(`../../../../identity/tests/fixtures/${name}`, import.meta.url);

export const read = (name) => JSON.parse(readFileSync(path(name), "utf8"));
export const write = (name, value) => writeFileSync(path(name), `${JSON.stringify(value, null, 1)}\n`);
