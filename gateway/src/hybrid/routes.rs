//! The routes of the dialect's listener.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use common::{
    dialect::Dialect,
    error::{ClientError, ErrorCode},
};
use serde::Deserialize;
use transport::Link;

use super::{
    conversation::Conversation,
    frames::Mode,
    program::{Hybrid, is_named},
    rest,
};
use crate::{
    dialects::{Caller, HttpRefusal, Program, accept, require_own_origin},
    doors::Door,
};

impl Program for Hybrid {
    fn dialect(&self) -> Dialect {
        Dialect::Hybrid
    }

    fn configure(self: Arc<Self>, routes: &mut web::ServiceConfig) {
        routes
            .app_data(web::Data::from(self))
            .service(web::resource("/ws").route(web::get().to(open)))
            .configure(rest::configure)
            .default_service(web::route().to(rest::nothing_here));
    }
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    deployment_mode: String,
    #[serde(default)]
    auth_token: String,
}

/// Opens the socket of a client. Wrong parameters are refused with 403, before the upgrade.
async fn open(request: HttpRequest, program: web::Data<Hybrid>) -> Result<HttpResponse, HttpRefusal> {
    require_own_origin(&request)?;
    let refuse = |message: &str| HttpRefusal::from(ClientError::with_message(ErrorCode::Forbidden, message));
    let query = web::Query::<Parameters>::from_query(request.query_string()).map_err(|_| refuse("the query cannot be read"))?;
    let Parameters { user_id, deployment_mode, auth_token } = query.into_inner();
    let mode = Mode::parse(&deployment_mode).ok_or_else(|| refuse("deployment_mode is web, extension, local or hybrid"))?;
    let caller = Caller::of(&request);
    let program = program.into_inner();
    program.host().take_request(&caller)?;
    let (guest, user) = program.guest(&caller, &auth_token).await.map_err(|error| {
        program.host().note_refusal(Dialect::Hybrid, &caller, error.code);
        match error.code.row().status {
            401 => refuse(&format!("the token is refused ({})", error.code.as_str())),
            _ => error.into(),
        }
    })?;
    if !is_named(&user, &user_id) {
        return Err(refuse("the token is another user's"));
    }
    let rules = program.host().rules().clone();
    let link = Link::new(Arc::clone(&rules.policy));
    let mut seat = program.host().seat(Dialect::Hybrid, &caller, &link)?;
    let identity = guest.enter(Dialect::Hybrid, &caller, &link, &mut seat)?;
    let converse = move |socket| async move {
        let (door, inbox) = Door::session(program.at_door(identity));
        let presence = program.presence.clone();
        Conversation { user, name: user_id, mode, socket, seat, presence, door, inbox }.run().await;
    };
    Ok(accept(&request, &rules, link, converse)?)
}
