//! The past over HTTP: channels and what is in them, and the audit log.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use common::{
    assertion,
    error::{ClientError, ErrorCode},
    id::AgentId,
    message::{HistoryAsk, Start, parse_agent_id},
    timestamp,
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{AuditQuery, AuditRow, ChannelFamily, ChannelInfo, ChannelName, StoreError};
use transport::{Link, client_address};

use super::{
    operator_api::Operator,
    refusal,
    sockets::{admit_agent, credentials},
};
use crate::{
    audit::Event,
    broker::Broker,
    routing::{ConnectionId, Peer, PeerKind},
};

/// Most rows in one answer.
const MOST_ROWS: u32 = 1000;

/// Where and how much of a channel to read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    after: Option<u64>,
    epoch: Option<String>,
    last: Option<u32>,
    since: Option<String>,
    limit: Option<u32>,
    agent_id: Option<String>,
}

impl HistoryQuery {
    fn ask(&self, channel: &str) -> Result<HistoryAsk, ClientError> {
        let bad = |message: &str| ClientError::with_message(ErrorCode::BadRequest, message);
        let from = match (self.after, self.last, &self.since) {
            (None, None, None) => HistoryAsk::beginning(),
            (Some(seq), None, None) => Start::After { epoch: self.epoch.clone(), seq },
            (None, Some(last), None) => Start::Last(last),
            (None, None, Some(since)) => {
                Start::Since(timestamp::parse_ms(since).ok_or_else(|| bad("`since` must be an RFC 3339 time"))?)
            }
            _ => return Err(bad("ask with one of `after`, `last` and `since`")),
        };
        let limit = self.limit.unwrap_or(HistoryAsk::usual_limit());
        let ask = HistoryAsk { channel: channel.to_owned(), from, limit };
        ask.check().map_err(|error| bad(&error.message))?;
        Ok(ask)
    }
}

/// `GET /api/v1/channels/{channel}/history`: with the operators' token every channel; with an agent's key what that agent may read; with an
/// edge's assertion what the session that it vouches for may read.
pub async fn history(
    request: HttpRequest,
    channel: web::Path<String>,
    query: Result<web::Query<HistoryQuery>, actix_web::Error>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let asked = || -> Result<_, ClientError> {
        let query = query.map_err(|error| ClientError::with_message(ErrorCode::BadRequest, error.to_string()))?;
        let ask = query.ask(&channel)?;
        let channel = ChannelName::parse(&channel)
            .map_err(|error| ClientError::with_message(ErrorCode::InvalidTarget, format!("the channel {error}")))?;
        authorise(&request, &broker, &channel, query.agent_id.as_deref())?;
        Ok((channel, ask))
    };
    let (channel, ask) = match asked() {
        Ok(asked) => asked,
        Err(error) => return refusal(error),
    };
    match broker.channels.history(&channel, &ask.from, ask.limit).await {
        Ok(page) => shown(page),
        Err(error) => unavailable(&error),
    }
}

/// Whether the caller may read a channel.
fn authorise(request: &HttpRequest, broker: &Broker, channel: &ChannelName, agent: Option<&str>) -> Result<(), ClientError> {
    let address = client_address::of(request, &broker.proxies);
    let presented = credentials(request);
    if broker.operators.check_administrator(request).is_ok() {
        broker.audit.note(Event::Admin, "operator", &format!("read {channel}"), &address.to_string());
        return Ok(());
    }
    let vouched = presented.map(|token| assertion::verify(token, &broker.settings.broker.bridge_secret));
    let (kind, pass) = match vouched {
        Some(Ok(identity)) => {
            broker.revocations.check(&identity)?;
            (PeerKind::Session(Box::new(identity)), None)
        }
        Some(Err(code @ ErrorCode::CredentialsExpired)) => return Err(code.into()),
        _ => {
            let agent: Option<AgentId> = agent.map(parse_agent_id).transpose()?;
            let pass = admit_agent(broker, request, agent.as_ref(), address)?;
            (PeerKind::Agent(agent.unwrap_or_else(AgentId::assigned)), Some(pass))
        }
    };
    let link = Link::new(Arc::clone(&broker.link_policy));
    let reader = Peer::new(ConnectionId::next(), kind, link, Default::default(), pass);
    broker.router.read().check_read(&reader, channel).map_err(|code| ClientError::new(code).about(channel.to_string()))
}

/// Which channels to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelsQuery {
    family: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// `GET /api/v1/channels`, for operators: what is stored, by channel, in the order of their names.
pub async fn channels(
    _: Operator,
    query: Result<web::Query<ChannelsQuery>, actix_web::Error>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let asked = || -> Result<_, ClientError> {
        let bad = |message: String| ClientError::with_message(ErrorCode::BadRequest, message);
        let query = query.map_err(|error| bad(error.to_string()))?.into_inner();
        let family = query.family.map(|name| {
            let known = ChannelFamily::ALL.into_iter().find(|family| family.as_str() == name);
            known.ok_or_else(|| bad("`family` must be agent, session, user, topic, broadcast or dead".to_owned()))
        });
        let after = query.after.map(|name| ChannelName::parse(&name).map_err(|error| bad(format!("`after` {error}"))));
        Ok((family.transpose()?, after.transpose()?, query.limit.unwrap_or(100).clamp(1, MOST_ROWS)))
    };
    let (family, after, limit) = match asked() {
        Ok(asked) => asked,
        Err(error) => return refusal(error),
    };
    match broker.channels.store().channels(family, after, limit).await {
        Ok(channels) => shown(json!({ "channels": channels.iter().map(channel_row).collect::<Vec<_>>() })),
        Err(error) => unavailable(&error),
    }
}

/// Which entries of the audit log to show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditApiQuery {
    kind: Option<String>,
    since: Option<String>,
    until: Option<String>,
    before: Option<u64>,
    limit: Option<u32>,
}

/// `GET /api/v1/audit`, for operators: the newest entries first.
pub async fn audit(
    _: Operator,
    query: Result<web::Query<AuditApiQuery>, actix_web::Error>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let asked = || -> Result<_, ClientError> {
        let bad = |message: String| ClientError::with_message(ErrorCode::BadRequest, message);
        let query = query.map_err(|error| bad(error.to_string()))?.into_inner();
        let time = |text: Option<String>| {
            text.map(|text| timestamp::parse_ms(&text).ok_or_else(|| bad(format!("{text:?} is not an RFC 3339 time"))))
                .transpose()
        };
        Ok(AuditQuery {
            since: time(query.since)?.unwrap_or(0),
            until: time(query.until)?.unwrap_or(u64::MAX),
            kind: query.kind,
            before_id: query.before.unwrap_or(u64::MAX),
            limit: query.limit.unwrap_or(100).clamp(1, MOST_ROWS),
        })
    };
    let asked = match asked() {
        Ok(asked) => asked,
        Err(error) => return refusal(error),
    };
    crate::audit::write(&broker).await;
    match broker.channels.store().audit_log(asked).await {
        Ok(rows) => shown(json!({ "entries": rows.iter().map(audit_row).collect::<Vec<_>>() })),
        Err(error) => unavailable(&error),
    }
}

fn channel_row(info: &ChannelInfo) -> Value {
    json!({
        "channel": info.channel.as_str(),
        "head": info.head,
        "messages": info.records,
        "bytes": info.bytes,
        "unacknowledged": info.unacked,
        "appended": info.appended,
        "trimmed": info.trimmed,
        "dead_lettered": info.dead_lettered,
        "oldest_at": info.oldest_at.map(timestamp::format_ms),
        "newest_at": (info.last_stored_at > 0).then(|| timestamp::format_ms(info.last_stored_at)),
    })
}

fn audit_row(row: &AuditRow) -> Value {
    let entry = &row.entry;
    json!({
        "id": row.id,
        "at": timestamp::format_ms(entry.at),
        "kind": entry.kind,
        "who": entry.who,
        "what": entry.what,
        "origin": entry.origin,
        "detail": entry.detail,
    })
}

fn shown(body: impl serde::Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(body)
}

fn unavailable(error: &StoreError) -> HttpResponse {
    tracing::warn!(%error, "the store cannot be read");
    refusal(ErrorCode::StoreUnavailable.into())
}
