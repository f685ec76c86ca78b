//! What operators may change or see over HTTP, with the token of the configuration.

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::SystemTime,
};

use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, dev::Payload, http::StatusCode, web};
use common::{
    error::{ClientError, ErrorCode},
    timestamp,
};
use identity::agent_keys::{KeyInfo, KeyState};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use transport::client_address;

use super::refusal;
use crate::{audit::Event, broker::Broker};

/// An operator sent this request. Without the token in the configuration there are no operators, and nothing here.
#[derive(Debug)]
pub struct Operator;

/// A request that is not an operator's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NoOperator(#[from] ClientError);

impl ResponseError for NoOperator {
    fn status_code(&self) -> StatusCode {
        self.error_response().status()
    }

    fn error_response(&self) -> HttpResponse {
        refusal(self.0.clone())
    }
}

impl FromRequest for Operator {
    type Error = NoOperator;
    type Future = Ready<Result<Self, NoOperator>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(operator(request).map_err(|code| NoOperator(code.into())))
    }
}

fn operator(request: &HttpRequest) -> Result<Operator, ErrorCode> {
    let broker = request.app_data::<web::Data<Broker>>().ok_or(ErrorCode::Internal)?;
    broker.operators.check_administrator(request).map(|()| Operator)
}

/// `GET /api/v1/keys`: every key of the file, with when it was last used. Never a key itself.
pub async fn keys(_: Operator, broker: web::Data<Broker>) -> HttpResponse {
    let broker = broker.into_inner();
    let listing = spawn_blocking(move || broker.list_keys(SystemTime::now()));
    match listing.await {
        Ok(Ok(keys)) => {
            let keys: Vec<_> = keys.iter().map(shown).collect();
            HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(json!({ "keys": keys }))
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the agent keys cannot be listed");
            refusal(ErrorCode::Internal.into())
        }
        Err(_) => refusal(ErrorCode::Internal.into()),
    }
}

/// `POST /api/v1/keys/reload`: reads the file of agent keys again, and closes the connections of those that ended.
pub async fn reload_keys(request: HttpRequest, _: Operator, broker: web::Data<Broker>) -> HttpResponse {
    let broker: Arc<Broker> = broker.into_inner();
    let origin = client_address::of(&request, &broker.proxies).to_string();
    broker.audit.note(Event::Admin, "operator", "had the agent keys read again", &origin);
    match spawn_blocking(move || broker.reload_keys()).await {
        Ok(Ok(())) => HttpResponse::NoContent().finish(),
        Ok(Err(error)) => {
            tracing::error!(%error, "the agent keys could not be read again; those in force stay");
            let message = "the file of agent keys cannot be read: the keys in force stay; the broker's log says more";
            refusal(ClientError::with_message(ErrorCode::Internal, message))
        }
        Err(_) => refusal(ErrorCode::Internal.into()),
    }
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
