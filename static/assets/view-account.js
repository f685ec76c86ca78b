// Who is signed in, at the top of the page, and the buttons to sign in and out.

import { byId, setText } from "./dom.js";
import { shortened } from "./login.js";

export class AccountView {
  #who = byId("account-who");
  #in = byId("sign-in");
  #out = byId("sign-out");
  #hasWallet;

  /** `hasWallet()`: whether there is a wallet to sign in with. */
  constructor({ hasWallet, onSignIn, onSignOut }) {
    this.#hasWallet = hasWallet;
    this.#in.addEventListener("click", onSignIn);
    this.#out.addEventListener("click", onSignOut);
  }

  /**
   * `session`: as the edge describes it, or null. `isBusy`: waiting for the person or the server.
   */
  show(session, isBusy) {
    const name = session?.wallet_address ?? session?.user_id ?? null;
    this.#who.hidden = name === null;
    setText(this.#who, name === null ? "" : shortened(name));
    this.#who.title = name ?? "";
    this.#in.hidden = name !== null || !this.#hasWallet();
    this.#out.hidden = name === null;
    this.#in.disabled = isBusy || session === null;
    this.#out.disabled = isBusy;
    setText(this.#in, isBusy ? "Signing in" : "Sign in");
  }
}
