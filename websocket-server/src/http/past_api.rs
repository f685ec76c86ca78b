//! History over HTTP: channels and their content, and the audit log.

use actix_web::{HttpRequest, HttpResponse, web};
use common::{
    audit::UnknownEvent,
    error::{ClientError, ErrorCode},
    id::AgentId,
    message::{HistoryAsk, Start, parse_agent_id},
    timestamp,
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{AuditQuery, AuditRow, ChannelFamily, ChannelInfo, ChannelName};
use transport::client_address;

use super::{
    credentials::{Operator, Vouched, admit_agent, is_operator, on_guess},
    refusal::Refused,
};
use crate::{
    audit::Event,
    broker::Broker,
    peers::{Pass, PeerKind},
    routing::Caller,
};

/// The most rows in one answer.
const MOST_ROWS: u32 = 1000;

/// Which part of a channel to read.
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
    fn ask(&self, channel: &str) -> Result<HistoryAsk, Refused> {
        let after = self.after.map(|seq| Start::After { epoch: self.epoch.clone(), seq });
        let from = Start::one_of(after, self.last, self.since.as_deref()).map_err(Refused::bad_request)?;
        let from = from.unwrap_or_else(HistoryAsk::beginning);
        let limit = self.limit.unwrap_or(HistoryAsk::usual_limit());
        let ask = HistoryAsk { channel: channel.to_owned(), from, limit };
        ask.check().map_err(|error| Refused::bad_request(error.message))?;
        Ok(ask)
    }
}

/// `GET /api/v1/channels/{channel}/history`. With the operator token: every channel. With an
/// agent's key: what that agent may read. With an edge's assertion: what the session that it
/// vouches for may read.
pub async fn history(
    request: HttpRequest,
    channel: web::Path<String>,
    query: web::Query<HistoryQuery>,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Refused> {
    let ask = query.ask(&channel)?;
    let channel = ChannelName::parse(&channel)
        .map_err(|error| ClientError::with_message(ErrorCode::InvalidTarget, format!("the channel {error}")))?;
    let agent = query.agent_id.as_deref().map(parse_agent_id).transpose()?;
    authorise(&request, &broker, &channel, agent)?;
    Ok(shown(broker.channels.history(&channel, &ask.from, ask.limit).await?))
}

/// Checks that the caller may read a channel. A text that is not the operator token is checked
/// again as an agent's key; if it is wrong, it costs as a key and as a guess at the token.
fn authorise(request: &HttpRequest, broker: &Broker, channel: &ChannelName, agent: Option<AgentId>) -> Result<(), ClientError> {
    let address = client_address::of(request, &broker.http.proxies);
    if is_operator(broker, request, address) {
        broker.audit.note(Event::Admin, "operator", &format!("read {channel}"), &address.to_string());
        return Ok(());
    }
    let (kind, pass) = match Vouched::found(request) {
        Ok(Vouched::Session(identity)) => {
            broker.authentication.revocations.check(&identity)?;
            (PeerKind::Session(identity), None)
        }
        Err(code @ ErrorCode::CredentialsExpired) => return Err(code.into()),
        Ok(Vouched::Edge) | Err(_) => {
            let pass = admit_agent(broker, request, agent.as_ref(), address).map_err(|error| {
                let may_be_a_guess = matches!(error.code, ErrorCode::ClientCertificateRequired | ErrorCode::Unauthorized);
                if may_be_a_guess { on_guess(broker, address, error) } else { error }
            })?;
            (PeerKind::Agent(agent.unwrap_or_else(AgentId::assigned)), Some(pass))
        }
    };
    let bounds = pass.as_ref().and_then(Pass::bounds);
    let login = match &kind {
        PeerKind::Session(identity) => identity.login.as_ref(),
        PeerKind::Agent(_) => None,
    };
    let checked = broker.router.read().check_read(&Caller::new(&kind, bounds, login), channel);
    checked.map_err(|code| ClientError::new(code).about(channel.to_string()))
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
pub async fn channels(_: Operator, query: web::Query<ChannelsQuery>, broker: web::Data<Broker>) -> Result<HttpResponse, Refused> {
    let ChannelsQuery { family, after, limit } = query.into_inner();
    let family = family.map(|name| {
        let known = ChannelFamily::ALL.into_iter().find(|family| family.as_str() == name);
        known.ok_or_else(|| Refused::bad_request("`family` must be agent, session, user, topic, broadcast or dead"))
    });
    let after = after.map(|name| ChannelName::parse(&name).map_err(|error| Refused::bad_request(format!("`after` {error}"))));
    let limit = limit.unwrap_or(100).clamp(1, MOST_ROWS);
    let channels = broker.channels.store().channels(family.transpose()?, after.transpose()?, limit).await?;
    Ok(shown(json!({ "channels": channels.iter().map(channel_row).collect::<Vec<_>>() })))
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
pub async fn audit(_: Operator, query: web::Query<AuditApiQuery>, broker: web::Data<Broker>) -> Result<HttpResponse, Refused> {
    let AuditApiQuery { kind, since, until, before, limit } = query.into_inner();
    let time = |text: Option<String>, default: u64| match text {
        Some(text) => timestamp::parse_ms(&text).ok_or_else(|| Refused::bad_request(format!("{text:?} is not an RFC 3339 time"))),
        None => Ok(default),
    };
    let asked = AuditQuery {
        since: time(since, 0)?,
        until: time(until, u64::MAX)?,
        kind: kind
            .map(|kind| kind.parse().map_err(|error: UnknownEvent| Refused::bad_request(format!("`kind` {error}"))))
            .transpose()?,
        before_id: before.unwrap_or(u64::MAX),
        limit: limit.unwrap_or(100).clamp(1, MOST_ROWS),
    };
    broker.audit.write(broker.channels.store().as_ref()).await;
    let rows = broker.channels.store().audit_log(asked).await?;
    Ok(shown(json!({ "entries": rows.iter().map(audit_row).collect::<Vec<_>>() })))
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
