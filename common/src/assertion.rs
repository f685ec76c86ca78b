//! Signed assertions: the edge's proof to the broker of who a client is.
//!
//! An assertion is a JWT (HS256 with the secret that both share) that names one session and is
//! valid for seconds. The broker trusts nothing else about a client.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

mod prefetch;
mod signer;

pub use prefetch::Prefetch;
pub use signer::{CLOCK_HEADER, Signer, tell_clock};

use crate::{
    dialect::Dialect,
    error::ErrorCode,
    id::{AgentId, ClientName, SessionId, UserId},
    secret::Secret,
    timestamp::unix_seconds,
};

/// How long an assertion is valid: long enough to dial, too short to be worth stealing.
pub const LIFETIME: Duration = Duration::from_secs(30);
/// How long an assertion is accepted before and after its times. If the clocks differ more, the
/// broker tells the edge its time, and the edge signs by that from then on: see [`Signer`].
pub const LEEWAY: Duration = Duration::from_secs(10);
const ISSUER: &str = "edge";
const AUDIENCE: &str = "broker";
/// The audience of an assertion that a session has logged in. Neither kind of assertion passes for
/// the other.
const LOGIN_AUDIENCE: &str = "broker-login";
/// The audience of an edge's own request.
const EDGE_AUDIENCE: &str = "broker-edge";
/// The most sockets that stay open across a login.
pub const MAX_KEPT: usize = 16;

/// How a receiver acknowledges durable messages: `?ack=auto` or `?ack=explicit` at connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Acks {
    /// A message counts as acknowledged once it has arrived: the receiver answers the ping behind
    /// it.
    #[default]
    #[serde(rename = "auto")]
    Automatic,
    /// It sends `message:ack`.
    #[serde(rename = "explicit")]
    Explicit,
}

/// How a receiver reads, as it says at connect.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// How it acknowledges durable messages: `?ack=`.
    #[serde(default)]
    pub acks: Acks,
    /// With explicit acknowledgement: how many unacknowledged messages of inboxes it is handed at
    /// most: `?prefetch=`.
    #[serde(default, skip_serializing_if = "Prefetch::is_default")]
    pub prefetch: Prefetch,
    /// The client name (`?client=`), under which its subscriptions and positions are stored and
    /// restored. `None`: they are not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientName>,
    /// Whether messages are held back until its `connection:resume` names its positions:
    /// `?resume=true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resume: bool,
    /// Whether it reads topics only. Messages in its inboxes stay there for other connections of
    /// the session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub topics_only: bool,
    /// For a client whose edge has lost the broker and dials again: since when, in milliseconds
    /// since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since: Option<u64>,
}

/// The prefix of the names that an edge assigns to clients without a client name. Clients must not
/// use it.
pub const NAMED_BY_EDGE: &str = "@edge/";

impl Reading {
    /// Whether something may be stored for the client from an earlier connection, judged by what
    /// the client says. For a client that its edge has named, the broker also checks whether it has
    /// stored something for the session.
    pub fn may_have_been_here(&self) -> bool {
        self.client.is_some() && (self.away_since.is_some() || !self.is_named_by_edge())
    }

    /// Whether the edge has assigned the client's name, from the socket's seat among those of its
    /// session. So a client that comes back alone is recognised.
    pub fn is_named_by_edge(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.as_str().starts_with(NAMED_BY_EDGE))
    }
}

/// The user of a session that has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user.
    #[serde(rename = "user_id")]
    pub user: UserId,
    /// The wallet's address in the spelling of EIP-55, if one was proved or vouched for.
    #[serde(rename = "wallet_address", default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<String>,
    /// The scopes of the login.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<String>,
}

/// Who a client is, as the edge established it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientIdentity {
    /// The session.
    #[serde(rename = "sub")]
    pub session_id: SessionId,
    /// The user, once logged in.
    #[serde(flatten)]
    pub login: Option<Login>,
    /// The edge's id of the client's socket. It stays the same when the edge connects again. Only
    /// its owner is told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_id: Option<Uuid>,
    /// The agent that receives frames without a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// How it reads.
    #[serde(flatten)]
    pub reading: Reading,
    /// The generation of its credentials. It rises when the session logs in (with an issuer's
    /// token: the second in which that was issued). Together with `issued_at` it tells whether they
    /// were revoked.
    #[serde(rename = "credential_gen", default, skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// When those credentials were signed, in seconds since 1970.
    #[serde(rename = "credential_iat", default, skip_serializing_if = "is_zero")]
    pub issued_at: u64,
    /// The client's IP address as the edge saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The client's `User-Agent`, cut to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The dialect that the client speaks; `None`: the bridge's own protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
}

impl ClientIdentity {
    /// A session of which nothing else is known.
    pub fn anonymous(session_id: SessionId) -> Self {
        Self {
            session_id,
            login: None,
            socket_id: None,
            agent: None,
            reading: Reading::default(),
            generation: 0,
            issued_at: 0,
            ip: None,
            user_agent: None,
            dialect: None,
        }
    }

    /// The user, once logged in.
    pub fn user_id(&self) -> Option<&UserId> {
        self.login.as_ref().map(|login| &login.user)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A session that was connected before has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// The session.
    #[serde(rename = "sub")]
    pub session_id: SessionId,
    /// Its user.
    pub login: Login,
    /// The sockets that performed the login: they stay open. Every other older socket is not
    /// trusted.
    #[serde(default)]
    pub keep: Vec<Uuid>,
}

#[derive(Serialize, Deserialize)]
struct Claims<T> {
    iss: String,
    aud: String,
    iat: u64,
    exp: u64,
    #[serde(flatten)]
    content: T,
}

/// Signs an assertion that is valid from now on.
///
/// # Errors
/// `internal`.
pub fn mint(identity: &ClientIdentity, secret: &Secret) -> Result<String, ErrorCode> {
    sign(AUDIENCE, identity, secret)
}

/// Checks an assertion: signature, issuer, audience, times.
///
/// # Errors
/// `credentials_expired` if only its times are wrong; `unauthorized` for everything else.
pub fn verify(assertion: &str, secret: &Secret) -> Result<ClientIdentity, ErrorCode> {
    check(AUDIENCE, assertion, secret)
}

/// Signs that a session has logged in.
///
/// # Errors
/// `internal`.
pub fn mint_login(logged_in: &LoggedIn, secret: &Secret) -> Result<String, ErrorCode> {
    sign(LOGIN_AUDIENCE, logged_in, secret)
}

/// Checks an assertion that a session has logged in.
///
/// # Errors
/// Those of [`verify`].
pub fn verify_login(assertion: &str, secret: &Secret) -> Result<LoggedIn, ErrorCode> {
    check(LOGIN_AUDIENCE, assertion, secret)
}

/// The content of an edge's own assertion.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Edge {
    sub: String,
}

/// Signs a request of the edge itself, not of a client.
///
/// # Errors
/// `internal`.
pub fn mint_edge(secret: &Secret) -> Result<String, ErrorCode> {
    sign(EDGE_AUDIENCE, &Edge { sub: ISSUER.to_owned() }, secret)
}

/// Checks that a request comes from an edge itself.
///
/// # Errors
/// Those of [`verify`].
pub fn verify_edge(assertion: &str, secret: &Secret) -> Result<(), ErrorCode> {
    check::<Edge>(EDGE_AUDIENCE, assertion, secret).map(|_| ())
}

/// Whether the text claims to be an edge's assertion. [`verify`] checks whether that is true.
pub fn claims_to_be_one(token: &str) -> bool {
    #[derive(Clone, Deserialize)]
    struct Said {
        iss: String,
        aud: String,
    }
    let said = jsonwebtoken::dangerous::insecure_decode::<Said>(token).map(|said| said.claims);
    said.is_ok_and(|said| said.iss == ISSUER && [AUDIENCE, EDGE_AUDIENCE].contains(&said.aud.as_str()))
}

fn sign<T: Serialize>(audience: &str, content: T, secret: &Secret) -> Result<String, ErrorCode> {
    sign_at(audience, content, secret, SystemTime::now())
}

fn sign_at<T: Serialize>(audience: &str, content: T, secret: &Secret, now: SystemTime) -> Result<String, ErrorCode> {
    let now = unix_seconds(now);
    let exp = now + LIFETIME.as_secs();
    let claims = Claims { iss: ISSUER.to_owned(), aud: audience.to_owned(), iat: now, exp, content };
    let key = EncodingKey::from_secret(secret.reveal().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| ErrorCode::Internal)
}

fn check<T: DeserializeOwned + Clone>(audience: &str, assertion: &str, secret: &Secret) -> Result<T, ErrorCode> {
    check_at(audience, assertion, secret, Some(SystemTime::now()))
}

/// Without `now`, the times are not checked.
fn check_at<T>(audience: &str, assertion: &str, secret: &Secret, now: Option<SystemTime>) -> Result<T, ErrorCode>
where
    T: DeserializeOwned + Clone,
{
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // The times are checked below, in both directions.
    rules.validate_exp = false;
    let key = DecodingKey::from_secret(secret.reveal().as_bytes());
    let claims = jsonwebtoken::decode::<Claims<T>>(assertion, &key, &rules).map_err(|_| ErrorCode::Unauthorized)?.claims;
    let is_in_time = |now| {
        let (now, leeway) = (unix_seconds(now), LEEWAY.as_secs());
        // An assertion from the future would be valid for longer than assertions may be.
        claims.exp.saturating_add(leeway) > now && claims.exp <= now.saturating_add(LIFETIME.as_secs() + leeway)
    };
    if now.is_none_or(is_in_time) { Ok(claims.content) } else { Err(ErrorCode::CredentialsExpired) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_carries_the_identity() {
        let secret = Secret::new("shared");
        let mut identity = ClientIdentity::anonymous(SessionId::fresh());
        identity.agent = AgentId::new("planner").ok();
        let user = UserId::new("ann").expect("a name");
        identity.login = Some(Login { user, wallet: Some("0x1".into()), scopes: BTreeSet::from(["read".into()]) });
        let assertion = mint(&identity, &secret).expect("signs");
        assert_eq!(verify(&assertion, &secret), Ok(identity));
    }

    #[test]
    fn another_secret_is_refused() {
        let assertion = mint(&ClientIdentity::anonymous(SessionId::fresh()), &Secret::new("a")).expect("signs");
        assert_eq!(verify(&assertion, &Secret::new("b")), Err(ErrorCode::Unauthorized));
        assert!(claims_to_be_one(&assertion) && !claims_to_be_one("rubbish"));
        assert_eq!(verify("rubbish", &Secret::new("a")), Err(ErrorCode::Unauthorized));
    }

    #[test]
    fn an_old_assertion_is_told_apart_and_an_edge_token_is_no_assertion() {
        let secret = Secret::new("shared");
        let key = EncodingKey::from_secret(b"shared");
        let session = SessionId::fresh();
        let sign = |claims: serde_json::Value| jsonwebtoken::encode(&Header::default(), &claims, &key).expect("signs");
        let old = sign(serde_json::json!({"iss":"edge","aud":"broker","sub":session,"iat":1,"exp":2}));
        assert_eq!(verify(&old, &secret), Err(ErrorCode::CredentialsExpired));
        let future = sign(serde_json::json!({"iss":"edge","aud":"broker","sub":session,"iat":1,"exp":9_999_999_999_u64}));
        assert_eq!(verify(&future, &secret), Err(ErrorCode::CredentialsExpired), "good for longer than assertions are");
        let foreign = sign(serde_json::json!({"iss":"edge","aud":"edge","sub":session,"iat":1,"exp":9_999_999_999_u64}));
        assert_eq!(verify(&foreign, &secret), Err(ErrorCode::Unauthorized));
    }

    #[test]
    fn a_login_is_asserted_with_the_sockets_that_stay_and_passes_for_nothing_else() {
        let secret = Secret::new("shared");
        let login = Login { user: UserId::new("ann").expect("a name"), wallet: None, scopes: BTreeSet::new() };
        let logged_in = LoggedIn { session_id: SessionId::fresh(), login, keep: vec![Uuid::new_v4()] };
        let assertion = mint_login(&logged_in, &secret).expect("signs");
        assert_eq!(verify_login(&assertion, &secret), Ok(logged_in.clone()));
        assert_eq!(verify(&assertion, &secret), Err(ErrorCode::Unauthorized));
        let other = mint(&ClientIdentity::anonymous(logged_in.session_id), &secret).expect("signs");
        assert_eq!(verify_login(&other, &secret), Err(ErrorCode::Unauthorized));
        assert_eq!(verify_edge(&other, &secret), Err(ErrorCode::Unauthorized));
        let edge = mint_edge(&secret).expect("signs");
        assert_eq!((verify_edge(&edge, &secret), verify(&edge, &secret)), (Ok(()), Err(ErrorCode::Unauthorized)));
    }
}
