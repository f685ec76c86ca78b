//! What edges tell the broker for themselves, and not for a client: entries for the audit log, and revocations.

use actix_web::{HttpRequest, HttpResponse, web};
use common::{
    assertion,
    audit::{Batch, Entry},
    error::{ClientError, ErrorCode},
};
use identity::revocations::Exchange;

use super::{refusal, sockets::credentials};
use crate::broker::Broker;

type Told<T> = Result<web::Json<T>, actix_web::Error>;

/// `POST /api/v1/audit`: what an edge has seen of logins and refusals, to be written with the broker's own entries.
pub async fn report(request: HttpRequest, batch: Told<Batch>, broker: web::Data<Broker>) -> HttpResponse {
    match told(&request, batch, &broker) {
        Ok(Batch { entries, beyond }) => {
            broker.audit.add(entries.into_iter().map(Entry::cut));
            broker.audit.pass_over(beyond);
            HttpResponse::NoContent().finish()
        }
        Err(error) => refusal(error),
    }
}

/// `POST /api/v1/revocations`: what an edge has revoked, for what others have.
pub async fn revocations(request: HttpRequest, ask: Told<Exchange>, broker: web::Data<Broker>) -> HttpResponse {
    let broker = broker.into_inner();
    let answer = match told(&request, ask, &broker) {
        Ok(ask) => broker.exchange_revocations(ask).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(answer),
        Err(error) => refusal(error),
    }
}

/// What an edge says, and nobody else.
fn told<T>(request: &HttpRequest, told: Told<T>, broker: &Broker) -> Result<T, ClientError> {
    assertion::verify_edge(credentials(request).unwrap_or_default(), &broker.settings.broker.bridge_secret)?;
    told.map(web::Json::into_inner).map_err(|error| bad(error.to_string()))
}

fn bad(message: String) -> ClientError {
    ClientError::with_message(ErrorCode::BadRequest, message)
}
