//! The routes of the dialect's listener: the webhooks, and the socket on any other path.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::Method, web};
use common::{dialect::Dialect, error::ErrorCode};
use transport::Link;

use super::{conversation::Conversation, program::Supervisor, webhooks};
use crate::dialects::{Caller, HttpRefusal, Program, accept, require_own_origin};

impl Program for Supervisor {
    fn dialect(&self) -> Dialect {
        Dialect::Supervisor
    }

    fn configure(self: Arc<Self>, routes: &mut web::ServiceConfig) {
        routes.app_data(web::Data::from(self)).configure(webhooks::configure).default_service(web::route().to(open));
    }
}

/// Opens the socket of a client.
async fn open(request: HttpRequest, program: web::Data<Supervisor>) -> Result<HttpResponse, HttpRefusal> {
    let program = program.into_inner();
    if request.method() != Method::GET {
        return Err(ErrorCode::NotFound.into());
    }
    require_own_origin(&request)?;
    let caller = Caller::of(&request);
    let rules = program.host().rules().clone();
    let link = Link::new(Arc::clone(&rules.policy));
    let seat = program.host().seat(Dialect::Supervisor, &caller, &link)?;
    let converse = move |socket| Conversation::new(program, caller, socket, seat).run();
    Ok(accept(&request, &rules, link, converse)?)
}
