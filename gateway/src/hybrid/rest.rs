//! The dialect's requests over HTTP. Refusals have the dialect's form, `{"detail": …}`, and the
//! bridge's code in `code`.

use std::{fmt, time::Duration};

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::StatusCode, web};
use common::{
    dialect::Dialect,
    error::{ClientError, ErrorCode},
    id::UserId,
    timestamp,
};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use transport::bearer;
use uuid::Uuid;

use super::{
    conversation::told,
    frames::Message,
    log::{Opened, UserLog},
    program::{Hybrid, is_named, user_of},
};
use crate::{
    dialects::{Caller, Guest, HttpRefusal},
    doors::{Door, DoorError},
};

/// How long the broker may take to answer for a request.
const LIMIT: Duration = Duration::from_secs(15);
/// The longest body, in bytes.
const LONGEST_BODY: usize = 256 * 1024;
/// The most messages of a history.
const MOST_HISTORY: usize = 100;
/// The `source_mode` of messages that were posted.
const API: &str = "api";

/// The routes.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .app_data(web::PayloadConfig::new(LONGEST_BODY))
        .service(web::resource("/").route(web::get().to(about)))
        .service(web::resource("/stats").route(web::get().to(stats)))
        .service(
            web::scope("/api/v1")
                .route("/health", web::get().to(health))
                .route("/auth/token", web::post().to(token))
                .route("/status", web::get().to(status))
                .route("/sync", web::post().to(sync))
                .route("/message", web::post().to(message))
                .route("/connections", web::get().to(connections))
                .route("/history", web::get().to(history))
                .default_service(web::route().to(nothing_here)),
        );
}

/// A refusal in the dialect's form.
#[derive(Debug)]
pub struct Detail {
    refusal: HttpRefusal,
    /// The detail of a request with missing fields.
    fields: Option<Value>,
}

impl Detail {
    /// 422: these fields are missing.
    fn missing(place: &str, names: &[&str]) -> Self {
        let each = |name: &&str| json!({ "loc": [place, name], "msg": "field required", "type": "value_error.missing" });
        Self { refusal: ErrorCode::BadRequest.into(), fields: Some(names.iter().map(each).collect()) }
    }
}

impl From<ErrorCode> for Detail {
    fn from(code: ErrorCode) -> Self {
        Self { refusal: code.into(), fields: None }
    }
}

impl From<ClientError> for Detail {
    fn from(error: ClientError) -> Self {
        Self { refusal: error.into(), fields: None }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(out)
    }
}

impl ResponseError for Detail {
    fn status_code(&self) -> StatusCode {
        if self.fields.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { self.refusal.status_code() }
    }

    fn error_response(&self) -> HttpResponse {
        let detail = self.fields.clone().unwrap_or_else(|| self.refusal.0.message.clone().into());
        let body = json!({ "detail": detail, "code": self.refusal.code().as_str() }).to_string();
        let mut answer = self.refusal.with_body("application/json", body);
        *answer.status_mut() = self.status_code();
        answer
    }
}

/// The answer of paths that do not exist.
pub async fn nothing_here() -> Result<HttpResponse, Detail> {
    Err(ErrorCode::NotFound.into())
}

async fn about() -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "name": "agent-bridge",
        "version": env!("CARGO_PKG_VERSION"),
        "status": "running",
        "websocket": "/ws",
        "api": "/api/v1",
    }))
}

async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "healthy", "timestamp": timestamp::now_string() }))
}

async fn stats(request: HttpRequest, program: web::Data<Hybrid>) -> Result<HttpResponse, Detail> {
    program.host().check_observer(&request, &Caller::of(&request))?;
    Ok(HttpResponse::Ok().json(program.presence.stats()))
}

/// A user whose token came with the request.
struct Owner {
    guest: Box<dyn Guest>,
    user: UserId,
}

async fn owner_of(request: &HttpRequest, program: &Hybrid) -> Result<Owner, Detail> {
    let caller = Caller::of(request);
    program.host().take_request(&caller)?;
    let token = bearer(request.headers()).ok_or(ErrorCode::Unauthorized)?;
    let (guest, user) = program.guest(&caller, token).await?;
    Ok(Owner { guest, user })
}

/// Opens the user's log for one request.
async fn opened<T>(
    program: &Hybrid,
    Owner { guest, user }: &Owner,
    work: impl AsyncFnOnce(&UserLog, Opened) -> Result<T, DoorError>,
) -> Result<T, Detail> {
    let (door, mut inbox) = Door::session(program.at_door(guest.identity(Dialect::Hybrid)));
    let log = UserLog::new(door, user).ok_or(ErrorCode::Forbidden)?;
    let done = timeout(LIMIT, async {
        let opened = log.open(&mut inbox, None).await?;
        work(&log, opened).await
    });
    done.await.unwrap_or(Err(DoorError::TimedOut)).map_err(|error| {
        let (message, code) = told(&error);
        let code = ErrorCode::parse(&code).unwrap_or(ErrorCode::NotReady);
        ClientError::with_message(code, message).into()
    })
}

/// `POST /api/v1/auth/token`: a token for a user. An operator names any user; a user gets a later
/// token of their own.
async fn token(request: HttpRequest, body: web::Bytes, program: web::Data<Hybrid>) -> Result<HttpResponse, Detail> {
    let caller = Caller::of(&request);
    program.host().take_request(&caller)?;
    let fields: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
    let in_query = form_urlencoded::parse(request.query_string().as_bytes()).find(|(name, _)| name == "user_id");
    let named = in_query.map(|(_, name)| name.into_owned()).or_else(|| fields.get("user_id")?.as_str().map(str::to_owned));
    let name = named.filter(|name| !name.is_empty()).ok_or_else(|| Detail::missing("query", &["user_id"]))?;
    let presented = bearer(request.headers()).ok_or(ErrorCode::Unauthorized)?;
    // Signed tokens have dots between their three parts; an operator's token is no session's.
    let issued = if presented.split('.').count() == 3 {
        let (guest, user) = program.guest(&caller, presented).await?;
        if !is_named(&user, &name) {
            return Err(ErrorCode::Forbidden.into());
        }
        guest.later_token().await?
    } else {
        program.host().check_administrator(&request, &caller)?;
        program.host().issue(user_of(&name).ok_or(ErrorCode::BadRequest)?).await?
    };
    let (token, expires_at) = issued;
    Ok(HttpResponse::Ok().json(json!({ "token": token, "expires_at": timestamp::text(expires_at), "user_id": name })))
}

async fn status(request: HttpRequest, program: web::Data<Hybrid>) -> Result<HttpResponse, Detail> {
    let owner = owner_of(&request, &program).await?;
    let session = opened(&program, &owner, async |_, opened| Ok(opened.session)).await?;
    let here = program.presence.of(&owner.user);
    Ok(HttpResponse::Ok().json(json!({
        "user_id": owner.user,
        "connected_modes": here.iter().map(|here| here.mode.as_str()).collect::<Vec<_>>(),
        "connections": here.len(),
        "user_session": session.to_json(&timestamp::now_string()),
        "status": "active",
    })))
}

async fn connections(request: HttpRequest, program: web::Data<Hybrid>) -> Result<HttpResponse, Detail> {
    let owner = owner_of(&request, &program).await?;
    let here = program.presence.of(&owner.user);
    let each = |here: &super::presence::Here| json!({ "connection_id": here.id, "deployment_mode": here.mode.as_str(), "connected_at": here.since });
    Ok(HttpResponse::Ok().json(json!({ "user_id": owner.user, "connections": here.iter().map(each).collect::<Vec<_>>() })))
}

async fn history(request: HttpRequest, program: web::Data<Hybrid>) -> Result<HttpResponse, Detail> {
    let owner = owner_of(&request, &program).await?;
    let asked = form_urlencoded::parse(request.query_string().as_bytes()).find(|(name, _)| name == "limit");
    let limit = asked.map_or(Ok(50), |(_, text)| text.parse::<usize>()).map_err(|_| Detail::missing("query", &["limit"]))?;
    let messages = opened(&program, &owner, async |log, _| log.history(limit.min(MOST_HISTORY)).await).await?;
    let messages: Vec<_> = messages.iter().map(Message::to_json).collect();
    Ok(HttpResponse::Ok().json(json!({ "user_id": owner.user, "count": messages.len(), "messages": messages })))
}

/// The fields of a body, of which these are needed.
fn fields_of(body: &[u8], needed: &[&str]) -> Result<Map<String, Value>, Detail> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Err(Detail::missing("body", needed)) };
    let missing: Vec<_> = needed.iter().copied().filter(|name| !fields.contains_key(*name)).collect();
    if missing.is_empty() { Ok(fields) } else { Err(Detail::missing("body", &missing)) }
}

/// `POST /api/v1/sync`: asks deployments to synchronise.
async fn sync(request: HttpRequest, body: web::Bytes, program: web::Data<Hybrid>) -> Result<HttpResponse, Detail> {
    let owner = owner_of(&request, &program).await?;
    let fields = fields_of(&body, &["source_mode", "target_modes", "data_types"])?;
    let targets: Vec<String> =
        fields["target_modes"].as_array().into_iter().flatten().filter_map(|mode| mode.as_str().map(str::to_owned)).collect();
    let id = Uuid::new_v4().to_string();
    let now = timestamp::now_string();
    let messages: Vec<_> = targets
        .iter()
        .map(|target| {
            let payload = json!({ "sync_id": id, "data_types": fields["data_types"], "source_mode": fields["source_mode"] });
            let asked = json!({ "type": "sync_request", "source_mode": fields["source_mode"], "target_mode": target, "payload": payload });
            let Value::Object(asked) = asked else { return None };
            Some(Message::of_fields(asked, owner.user.as_str(), &Uuid::new_v4().to_string(), &now))
        })
        .collect();
    opened(&program, &owner, async |log, _| {
        for message in messages.iter().flatten() {
            log.publish(message, None).await?;
        }
        Ok(())
    })
    .await?;
    Ok(HttpResponse::Ok().json(json!({ "sync_id": id, "status": "sync_initiated", "target_modes": targets })))
}

/// `POST /api/v1/message`: a message as from a client.
async fn message(request: HttpRequest, body: web::Bytes, program: web::Data<Hybrid>) -> Result<HttpResponse, Detail> {
    let owner = owner_of(&request, &program).await?;
    let mut fields = fields_of(&body, &["type", "payload"])?;
    fields.entry("source_mode").or_insert_with(|| API.into());
    let target = fields.get("target_mode").cloned().unwrap_or_default();
    let message = Message::of_fields(fields, owner.user.as_str(), &Uuid::new_v4().to_string(), &timestamp::now_string());
    opened(&program, &owner, async |log, opened| {
        log.publish(&message, None).await?;
        if super::session::UserSession::default().apply(&message) {
            log.keep_session(opened.snapshot()).await?;
        }
        Ok(())
    })
    .await?;
    Ok(HttpResponse::Ok().json(json!({ "message_id": message.id(), "status": "sent", "target_mode": target })))
}
