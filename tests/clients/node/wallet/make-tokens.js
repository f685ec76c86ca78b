// Writes identity/tests/fixtures/tokens_jose.json. Signatures of PSS and ECDSA have chance in them:
// the file differs each time.
import { write } from "./files.js";
import { tokens } from "./tokens.js";

write("tokens_jose.json", await tokens());
