//! Signed assertions: how the edge proves to the broker who a browser is.
//!
//! An assertion is a JWT (HS256 with the secret both share) that names one session and lives for seconds. The broker trusts
//! nothing else that it is told about a client.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

mod signer;

pub use signer::{CLOCK_HEADER, Signer, tell_clock};

use crate::{
    error::ErrorCode,
    id::{AgentId, ClientName, SessionId, UserId},
    secret::Secret,
    timestamp::unix_seconds,
};

/// How long an assertion is good for: long enough to dial, too short to be worth stealing.
pub const LIFETIME: Duration = Duration::from_secs(30);
/// How long an assertion is accepted beyond its times. Greater differences between the clocks are told to the edge, which signs
/// by the broker's clock from then on: see [`Signer`].
pub const LEEWAY: Duration = Duration::from_secs(10);
const ISSUER: &str = "edge";
const AUDIENCE: &str = "broker";
/// Of an assertion that a session has logged in: no other passes for one, nor it for another.
const LOGIN_AUDIENCE: &str = "broker-login";
/// Whom an edge means that asks for itself.
const EDGE_AUDIENCE: &str = "broker-edge";
/// Most sockets that stay open across a login.
pub const MAX_KEPT: usize = 16;

/// How a receiver acknowledges durable messages; `?ack=auto` or `?ack=explicit` where it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Acks {
    /// What has reached it counts as acknowledged: it answers the ping that follows.
    #[default]
    #[serde(rename = "auto")]
    Automatic,
    /// It sends `message:ack`.
    #[serde(rename = "explicit")]
    Explicit,
}

/// How a receiver reads, as it says where it connects.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// How it acknowledges durable messages: `?ack=`.
    #[serde(default)]
    pub acks: Acks,
    /// Under which name its subscriptions and their positions are kept, to be restored when it comes again: `?client=`. `None`: they
    /// are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientName>,
    /// Whether what waits for it is held back until its `connection:resume` says from where to go on: `?resume=true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resume: bool,
    /// For a client whose edge has lost the broker and dials again: since when, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since: Option<u64>,
}

/// What the names begin with that an edge gives to clients that name themselves not; theirs must not.
pub const NAMED_BY_EDGE: &str = "@edge/";

impl Reading {
    /// Whether by what it says itself something may be kept for it from an earlier connection. Of one that its edge has named, the
    /// broker looks besides whether it has kept something for the session.
    pub fn may_have_been_here(&self) -> bool {
        self.client.is_some() && (self.away_since.is_some() || !self.is_named_by_edge())
    }

    /// Whether the client has not named itself: its edge has, by the socket's place among those of its session, so that one that comes
    /// back alone is known again.
    pub fn is_named_by_edge(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.as_str().starts_with(NAMED_BY_EDGE))
    }
}

/// Who stands behind a session that has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user.
    #[serde(rename = "user_id")]
    pub user: UserId,
    /// The wallet's address, spelled as EIP-55 has it, where one was proved or vouched for.
    #[serde(rename = "wallet_address", default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<String>,
    /// What the login carries, for the rules of the policy.
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
    /// What the edge calls the client's socket, which it keeps when the edge connects anew. Only its owner is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_id: Option<Uuid>,
    /// The agent that untargeted frames go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// How it reads.
    #[serde(flatten)]
    pub reading: Reading,
    /// That of the credentials it came with: it rises when the session logs in (of an issuer's token: the second in which that was issued).
    /// With `issued_at` it tells whether they were revoked.
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
    /// Who it is now.
    pub login: Login,
    /// The sockets that are the login's own: they stay. Every other one that was opened before it is not to be trusted.
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

/// Signs an assertion that starts now.
///
/// # Errors
/// `internal`.
pub fn mint(identity: &ClientIdentity, secret: &Secret) -> Result<String, ErrorCode> {
    sign(AUDIENCE, identity, secret)
}

/// Checks an assertion: signature, issuer, audience, times.
///
/// # Errors
/// `credentials_expired` if only its times are wrong: it was valid once, or is not yet; `unauthorized` for everything else.
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

/// What an edge says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Edge {
    sub: String,
}

/// Signs that an edge asks for itself, and not for a client.
///
/// # Errors
/// `internal`.
pub fn mint_edge(secret: &Secret) -> Result<String, ErrorCode> {
    sign(EDGE_AUDIENCE, &Edge { sub: ISSUER.to_owned() }, secret)
}

/// Checks that an edge asks for itself.
///
/// # Errors
/// Those of [`verify`].
pub fn verify_edge(assertion: &str, secret: &Secret) -> Result<(), ErrorCode> {
    check::<Edge>(EDGE_AUDIENCE, assertion, secret).map(|_| ())
}

/// Whether what somebody presents says of itself that it is an edge's assertion; whether that is true is for [`verify`].
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

/// Without `now`, the times are not looked at.
fn check_at<T>(audience: &str, assertion: &str, secret: &Secret, now: Option<SystemTime>) -> Result<T, ErrorCode>
where
    T: DeserializeOwned + Clone,
{
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Its times are judged below, both ways.
    rules.validate_exp = false;
    let key = DecodingKey::from_secret(secret.reveal().as_bytes());
    let claims = jsonwebtoken::decode::<Claims<T>>(assertion, &key, &rules).map_err(|_| ErrorCode::Unauthorized)?.claims;
    let is_in_time = |now| {
        let (now, leeway) = (unix_seconds(now), LEEWAY.as_secs());
        // An assertion from the future would be good for longer than assertions may be.
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
