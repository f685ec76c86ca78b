// Writes identity/tests/fixtures/logins.json.
import { write } from "./files.js";
import { logins } from "./logins.js";

write("logins.json", await logins());
