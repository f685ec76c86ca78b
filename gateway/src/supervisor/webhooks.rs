//! `POST /sms/inbound` and `POST /email/inbound`.
//!
//! Each worker thread has one session at the broker for both, opened when it is first needed. It
//! has a user of its own, so that it takes nothing from the inbox of connected clients.

use std::cell::RefCell;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, ContentType},
    web,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use common::{
    dialect::Dialect,
    error::{ClientError, ErrorCode},
    secret::Secret,
};
use futures_util::stream;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use transport::{Site, bearer, client_address::TrustedProxies};

use super::{
    conversation::reply,
    frames::Request,
    kinds::SMS,
    line::Line,
    mail::{self, Fields},
    program::Supervisor,
    twilio,
};
use crate::{
    dialects::{Caller, HttpRefusal},
    doors::{Door, DoorState},
};

/// The longest form of a text message, in bytes.
const LONGEST_FORM: usize = 64 * 1024;
/// The longest mail with its attachments, in bytes: what SendGrid posts at most.
const LONGEST_MAIL: usize = 30 * 1024 * 1024;
/// Mails that one worker thread reads at the same time. More are refused, and sent again.
const MAILS_AT_ONCE: usize = 2;
/// The longest HTML that is passed on beside the text, in bytes.
const LONGEST_HTML: usize = 256 * 1024;
/// The fields of a mail that count. Attachments are not passed on.
const MAIL_FIELDS: [&str; 6] = ["from", "to", "subject", "text", "html", "charsets"];

/// The routes.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .app_data(web::Data::new(Desk { line: RefCell::default(), mails: Semaphore::new(MAILS_AT_ONCE) }))
        .service(web::resource("/sms/inbound").route(web::post().to(sms)))
        .service(web::resource("/email/inbound").route(web::post().to(email)));
}

/// What the webhooks of one worker thread share.
struct Desk {
    line: RefCell<Option<Line>>,
    mails: Semaphore,
}

impl Desk {
    /// The thread's line to the agent.
    fn line(&self, program: &Supervisor) -> Result<Line, ErrorCode> {
        let mut line = self.line.borrow_mut();
        if let Some(line) = &*line
            && !matches!(line.door().state(), DoorState::Closed(_))
        {
            return Ok(line.clone());
        }
        let identity = program.webhook_guest()?.identity(Dialect::Supervisor);
        let (door, mut inbox) = Door::session(program.at_door(identity));
        let opened = program.line(door);
        let reader = opened.clone();
        actix_rt::spawn(async move {
            while let Some(message) = inbox.recv().await {
                drop(reader.take(message));
            }
        });
        Ok(line.insert(opened).clone())
    }
}

fn closed(setting: &str) -> HttpRefusal {
    ClientError::with_message(ErrorCode::Forbidden, format!("this webhook is closed: the operator has not set {setting}")).into()
}

fn bad(message: impl Into<String>) -> HttpRefusal {
    ClientError::with_message(ErrorCode::BadRequest, message).into()
}

/// A text message from Twilio. Answered with TwiML, once for each `MessageSid`.
async fn sms(
    request: HttpRequest,
    payload: web::Payload,
    program: web::Data<Supervisor>,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, HttpRefusal> {
    let caller = Caller::of(&request);
    program.host().take_request(&caller)?;
    let token = &program.settings().twilio_auth_token;
    if token.is_empty() {
        return Err(closed("dialects.supervisor.twilio_auth_token"));
    }
    let signature = request.headers().get("X-Twilio-Signature").and_then(|value| value.to_str().ok());
    let signature = signature.ok_or(ErrorCode::Unauthorized)?;
    let body = read(payload, LONGEST_FORM).await?;
    let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let url = url_of(&request, program.settings().public_url.as_deref());
    program.host().weigh(&caller, signature, &mut || twilio::is_signed(token, &url, &fields, signature))?;

    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let needed = |name: &str| field(name).ok_or_else(|| bad(format!("the field `{name}` is missing")));
    let (from, id) = (needed("From")?, needed("MessageSid")?);
    let asked = [("from", from), ("to", needed("To")?), ("message", needed("Body")?), ("user", from), ("message_sid", id)];
    let asked: Map<_, _> = asked.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let asked = Request::new(&SMS, asked).map_err(|fault| bad(fault.to_string()))?;

    let (mut answer, answering) = program.once.claim(id);
    if let Some(answering) = answering {
        let (line, keep_as) = (desk.line(&program)?, format!("sms/{id}"));
        // Twilio may give up before the agent answers, and ask again.
        actix_rt::spawn(async move {
            let frame = reply(&line, &asked, Some(keep_as)).await;
            match frame.get("type").and_then(Value::as_str) {
                Some("send_sms_response") => answering.answer(&twilio::twiml(frame.get("message").and_then(Value::as_str))),
                Some("message_acknowledged") => answering.answer(&twilio::twiml(None)),
                // The agent has the message. To ask it again would not help.
                _ if code_of(&frame) == ErrorCode::ReplyTimeout.as_str() => answering.answer(&twilio::twiml(None)),
                _ => drop(answering),
            }
        });
    }
    match answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone()) {
        Some(page) => {
            Ok(HttpResponse::Ok().content_type(ContentType::xml()).insert_header((header::CACHE_CONTROL, "no-store")).body(page))
        }
        None => Err(ErrorCode::NotReady.into()),
    }
}

/// A mail from SendGrid. Answered with the frame that a client would have got.
async fn email(
    request: HttpRequest,
    payload: web::Payload,
    program: web::Data<Supervisor>,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, HttpRefusal> {
    let caller = Caller::of(&request);
    program.host().take_request(&caller)?;
    let secret = &program.settings().email_secret;
    if secret.is_empty() {
        return Err(closed("dialects.supervisor.email_secret"));
    }
    check_secret(&program, &caller, &request, secret)?;
    let _turn = desk.mails.try_acquire().map_err(|_| HttpRefusal::from(ErrorCode::NotReady))?;
    let content_type =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let fields = fields_of(&content_type, read(payload, LONGEST_MAIL).await?).await?;
    let mut asked = mail::request_of(&fields).map_err(|fault| bad(fault.to_string()))?;
    if asked.field("html").len() > LONGEST_HTML {
        asked.fields.remove("html");
    }
    let frame = reply(&desk.line(&program)?, &asked, None).await;
    let code = ErrorCode::parse(code_of(&frame)).filter(|code| frame["type"] == "error" && *code != ErrorCode::ReplyTimeout);
    let status = code.map_or(200, |code| code.row().status);
    let status = actix_web::http::StatusCode::from_u16(status).unwrap_or(actix_web::http::StatusCode::SERVICE_UNAVAILABLE);
    Ok(HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(frame))
}

fn code_of(frame: &Value) -> &str {
    frame.get("code").and_then(Value::as_str).unwrap_or_default()
}

async fn read(payload: web::Payload, limit: usize) -> Result<web::Bytes, HttpRefusal> {
    match payload.to_bytes_limited(limit).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(bad(format!("the body cannot be read: {error}"))),
        Err(_) => {
            let message = format!("the body is longer than {limit} bytes");
            Err(ClientError::with_message(ErrorCode::FrameTooBig, message).into())
        }
    }
}

/// The URL of a request as its sender wrote it.
fn url_of(request: &HttpRequest, public_url: Option<&str>) -> String {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if let Some(site) = public_url {
        return format!("{site}{path}");
    }
    let trusted = TrustedProxies::default();
    let proxies = request.app_data::<web::Data<TrustedProxies>>().map_or(&trusted, |proxies| proxies.get_ref());
    let site = Site::of(request, proxies);
    // Twilio is told an https address unless the bridge itself knows better.
    let scheme = if site.is_https == Some(false) { "http" } else { "https" };
    format!("{scheme}://{}{path}", site.host)
}

/// Checks the secret of the mail webhook, wherever the sender was told to put it.
fn check_secret(program: &Supervisor, caller: &Caller, request: &HttpRequest, secret: &Secret) -> Result<(), HttpRefusal> {
    let basic = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let basic = basic.and_then(|encoded| String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok());
    let password = basic.and_then(|pair| pair.split_once(':').map(|(_, password)| percent_decoded(password)));
    let in_query = form_urlencoded::parse(request.query_string().as_bytes()).find(|(name, _)| name == "secret");
    let presented = bearer(request.headers()).map(str::to_owned).or(password).or(in_query.map(|(_, value)| value.into_owned()));
    let presented = presented.ok_or(ErrorCode::Unauthorized)?;
    Ok(program.host().check_key(caller, &presented, secret)?)
}

fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The fields of a form, in either of its encodings.
async fn fields_of(content_type: &str, body: web::Bytes) -> Result<Fields, HttpRefusal> {
    let Ok(boundary) = multer::parse_boundary(content_type) else {
        return Ok(form_urlencoded::parse(&body)
            .map(|(name, value)| (name.into_owned(), value.into_owned().into_bytes()))
            .collect());
    };
    let whole = stream::iter([Ok::<_, std::io::Error>(body)]);
    let mut parts = multer::Multipart::new(whole, boundary);
    let mut fields = Fields::new();
    let broken = |error: multer::Error| bad(format!("the form cannot be read: {error}"));
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        let value = part.bytes().await.map_err(broken)?;
        if MAIL_FIELDS.contains(&name.as_str()) {
            fields.entry(name).or_insert_with(|| value.to_vec());
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn a_form_is_read_in_both_encodings_and_attachments_are_left_out() {
        let body = "--xYzZY\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\na@b\r\n\
            --xYzZY\r\nContent-Disposition: form-data; name=\"attachment1\"; filename=\"x\"\r\n\r\n\u{0}\r\n\
            --xYzZY\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nline 1\r\nline 2\r\n--xYzZY--\r\n";
        let fields = fields_of("multipart/form-data; boundary=xYzZY", web::Bytes::from_static(body.as_bytes())).await;
        let fields = fields.expect("a form");
        assert_eq!(
            (fields.len(), fields["from"].as_slice(), fields["text"].as_slice()),
            (2, &b"a@b"[..], &b"line 1\r\nline 2"[..])
        );
        let plain = fields_of("application/x-www-form-urlencoded", web::Bytes::from_static(b"from=a%40b&text=1+2")).await;
        assert_eq!(plain.expect("a form")["text"], b"1 2");
        let broken = fields_of("multipart/form-data; boundary=x", web::Bytes::from_static(b"--x\r\nContent")).await;
        assert_eq!(broken.expect_err("broken").code(), ErrorCode::BadRequest);
    }
}
