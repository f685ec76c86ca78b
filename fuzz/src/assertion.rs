//! What edge and broker send to each other: assertions, and a broker's requests to an edge.

use std::sync::LazyLock;

use common::{
    assertion::{self, ClientIdentity, LoggedIn, Login},
    backplane::ToEdge,
    id::{SessionId, UserId},
    secret::Secret,
};

use super::pieces::replaced;

static SECRET: LazyLock<Secret> = LazyLock::new(|| Secret::new("a secret that edge and broker share, and nobody else"));
/// Assertions that were valid when this process began.
static GOOD: LazyLock<[String; 2]> = LazyLock::new(|| {
    let login = Login { user: UserId::new("ann").expect("a name"), wallet: None, scopes: Default::default() };
    let identity = ClientIdentity { login: Some(login.clone()), ..ClientIdentity::anonymous(SessionId::fresh()) };
    let logged_in = LoggedIn { session_id: identity.session_id, login, keep: Vec::new() };
    [assertion::mint(&identity, &SECRET).expect("signs"), assertion::mint_login(&logged_in, &SECRET).expect("signs")]
});

/// Nothing passes for an assertion that was not signed: neither the bytes as they are, nor a valid
/// assertion of which they replace a part.
pub fn assertion(data: &[u8]) {
    // What is read is written so that it reads the same again.
    if let Some(ask) = ToEdge::parse(data) {
        let ToEdge::Refresh { id, token } = &ask;
        let again = ToEdge::parse(&ask.encode()).expect("what was written is read");
        let ToEdge::Refresh { id: same_id, token: same_token } = &again;
        assert!(id == same_id && token.reveal() == same_token.reveal());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(assertion::verify(text, &SECRET).is_err() && assertion::verify_login(text, &SECRET).is_err());
    }
    for (number, good) in GOOD.iter().enumerate() {
        let Some(changed) = replaced(good, data) else { return };
        let is_good = [assertion::verify(&changed, &SECRET).is_ok(), assertion::verify_login(&changed, &SECRET).is_ok()];
        // None passes for the other kind.
        assert!(!is_good[1 - number] && (!is_good[number] || changed == *good), "nobody has signed {changed}");
    }
}
