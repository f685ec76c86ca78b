//! Requests of edges on their own behalf: entries for the audit log, and revocations.

use actix_web::{HttpResponse, web};
use common::audit::{Batch, Entry};
use identity::revocations::Exchange;

use super::{credentials::Edge, refusal::Refused};
use crate::broker::Broker;

/// `POST /api/v1/audit`: an edge's entries about logins and refusals, written with the broker's
/// own.
pub async fn report(_: Edge, batch: web::Json<Batch>, broker: web::Data<Broker>) -> Result<HttpResponse, Refused> {
    let Batch { entries, beyond } = batch.into_inner();
    broker.audit.add(entries.into_iter().map(Entry::cut));
    broker.audit.pass_over(beyond);
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/v1/revocations`: an edge's revocations, in exchange for those of others.
pub async fn revocations(_: Edge, ask: web::Json<Exchange>, broker: web::Data<Broker>) -> Result<HttpResponse, Refused> {
    let answer = broker.authentication.revocations.exchange(ask.into_inner(), &broker.router).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(answer))
}
