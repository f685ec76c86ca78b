//! What operators may change or see over HTTP, with the operator token.

use std::{sync::Arc, time::SystemTime};

use actix_web::{HttpRequest, HttpResponse, web};
use common::{
    error::{ClientError, ErrorCode},
    timestamp,
};
use identity::agent_keys::{KeyInfo, KeyState};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use transport::client_address;

use super::{credentials::Operator, refusal::Refused};
use crate::{audit::Event, broker::Broker};

/// `GET /api/v1/keys`: every key of the file, with its last use. Never a key itself.
pub async fn keys(_: Operator, broker: web::Data<Broker>) -> Result<HttpResponse, Refused> {
    let broker = broker.into_inner();
    let listing = spawn_blocking(move || broker.authentication.keys.list(SystemTime::now()));
    let keys = listing.await.map_err(|_| ErrorCode::Internal)?.map_err(|error| {
        tracing::error!(%error, "the agent keys cannot be listed");
        ErrorCode::Internal
    })?;
    let keys: Vec<_> = keys.iter().map(shown).collect();
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(json!({ "keys": keys })))
}

/// `POST /api/v1/keys/reload`: reads the file of agent keys again, and closes the connections of
/// those that ended.
pub async fn reload_keys(request: HttpRequest, _: Operator, broker: web::Data<Broker>) -> Result<HttpResponse, Refused> {
    let broker: Arc<Broker> = broker.into_inner();
    let origin = client_address::of(&request, &broker.http.proxies).to_string();
    broker.audit.note(Event::Admin, "operator", "had the agent keys read again", &origin);
    spawn_blocking(move || broker.reload_keys()).await.map_err(|_| ErrorCode::Internal)?.map_err(|error| {
        tracing::error!(%error, "the agent keys could not be read again; those in force stay");
        let message = "the file of agent keys cannot be read: the keys in force stay; the broker's log says more";
        ClientError::with_message(ErrorCode::Internal, message)
    })?;
    Ok(HttpResponse::NoContent().finish())
}

fn shown(key: &KeyInfo) -> Value {
    let state = match key.state {
        KeyState::Active => "active",
        KeyState::Expired => "expired",
        KeyState::Revoked => "revoked",
    };
    json!({
        "name": key.name,
        "state": state,
        "scopes": key.scopes,
        "created_at": timestamp::text(key.created_at),
        "expires_at": key.expires_at.map(timestamp::text),
        "last_used_at": key.last_used_at.map(timestamp::text),
    })
}
