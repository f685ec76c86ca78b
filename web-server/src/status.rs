//! Health and statistics for operators.
//!
//! `GET /api/`, `GET /health/live`, `GET /health/ready`, `GET /stats`. No answer names a session or
//! shows a payload; statistics are for operators all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use common::timestamp::unix_ms;
use serde_json::json;
use tls::{ServerTls, TlsStatus};
use tokio::{net::TcpStream, sync::Mutex};

use transport::{Gate, HttpFaults, operator::Operators};

use crate::{
    dialects::Dialects,
    http::{PacedOperator, Refusal, Throttle, only},
    proxy::ProxyCounters,
    sessions::{OpenSockets, sharing::Sharing},
};

/// The version in every answer that names one.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long the broker may take to accept a connection before it counts as unreachable.
const PROBE_LIMIT: Duration = Duration::from_millis(500);
/// How long the result of that probe is used.
const PROBE_HOLDS: Duration = Duration::from_secs(1);

/// The phase of the edge's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Closing what is open, accepting nothing new.
    Draining,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Starting, Self::Ready, Self::Draining];

    const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The edge's own state, shared by all worker threads.
pub struct EdgeStatus {
    phase: AtomicU8,
    started: Instant,
    /// `host:port` of the broker.
    broker: String,
    /// TLS of the listener.
    tls: Option<Arc<ServerTls>>,
    /// When the broker was last probed, and the result.
    probed: Mutex<Option<(Instant, bool)>>,
}

impl EdgeStatus {
    /// A starting edge in front of the broker at `host:port`.
    pub fn new(broker: String, tls: Option<Arc<ServerTls>>) -> Arc<Self> {
        let phase = AtomicU8::new(Phase::Starting as u8);
        Arc::new(Self { phase, started: Instant::now(), broker, tls, probed: Mutex::new(None) })
    }

    /// The phase of the edge's life.
    pub fn phase(&self) -> Phase {
        Phase::ALL.get(usize::from(self.phase.load(Relaxed))).copied().unwrap_or(Phase::Draining)
    }

    /// The state of its TLS, if it has any.
    pub fn tls(&self) -> Option<TlsStatus> {
        self.tls.as_ref().map(|tls| tls.status())
    }

    /// When it started, in seconds since 1970.
    pub fn started_at(&self) -> f64 {
        (unix_ms() as f64 / 1000.0 - self.started.elapsed().as_secs_f64()).round()
    }

    /// Enters another phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Whether the broker accepts connections now. It is probed at most once a second, however many
    /// ask.
    async fn broker_is_reachable(&self) -> bool {
        let mut probed = self.probed.lock().await;
        if let Some((at, reachable)) = *probed
            && at.elapsed() < PROBE_HOLDS
        {
            return reachable;
        }
        let connected = tokio::time::timeout(PROBE_LIMIT, TcpStream::connect(&self.broker)).await;
        let reachable = matches!(connected, Ok(Ok(_)));
        *probed = Some((Instant::now(), reachable));
        reachable
    }
}

/// The routes of this module.
pub fn configure(routes: &mut web::ServiceConfig) {
    let get = |path: &'static str| web::resource(path).default_service(only("GET, HEAD"));
    routes
        .service(get("/health/live").route(web::get().to(live)).route(web::head().to(live)))
        .service(get("/health/ready").route(web::get().to(ready)).route(web::head().to(ready)))
        .service(get("/stats").route(web::get().to(stats)).route(web::head().to(stats)));
}

/// `GET /api/`
pub async fn about() -> HttpResponse {
    answer(true, &json!({ "name": "agent-bridge", "version": VERSION }))
}

async fn live() -> HttpResponse {
    answer(true, &json!({ "status": "live" }))
}

/// 503 while the edge starts or drains, and while the broker refuses it, with the `reason`. A
/// broker that is away is reported, but does not make the edge unready: the edge keeps its browsers
/// meanwhile, and serves the app.
async fn ready(status: web::Data<EdgeStatus>, sharing: web::Data<Sharing>) -> HttpResponse {
    let phase = status.phase();
    let refusal = sharing.reach.refusal();
    let broker = match &refusal {
        Some(_) => "refuses",
        None if status.broker_is_reachable().await => "reachable",
        None => "unreachable",
    };
    let is_refused = refusal.is_some() && phase == Phase::Ready;
    let mut page = json!({ "status": if is_refused { "refused" } else { phase.name() }, "broker": broker });
    if let Some(reason) = refusal {
        page["reason"] = json!(reason);
    }
    let ahead = sharing.broker_ahead_seconds();
    if ahead != 0 {
        page["broker_clock_ahead_seconds"] = json!(ahead);
    }
    if let Some(tls) = &status.tls {
        page["tls"] = json!({ "fault": tls.fault().map(|fault| fault.code) });
    }
    answer(phase == Phase::Ready && !is_refused, &page)
}

async fn stats(
    request: HttpRequest,
    PacedOperator(address): PacedOperator,
    (throttle, operators): (web::Data<Throttle>, web::Data<Operators>),
    status: web::Data<EdgeStatus>,
    (gate, faults): (web::Data<Gate>, web::Data<HttpFaults>),
    (sockets, dialects): (web::Data<OpenSockets>, web::Data<Option<Arc<Dialects>>>),
    counters: web::Data<ProxyCounters>,
) -> Result<HttpResponse, Refusal> {
    throttle.check_operator(&request, address, |request| operators.check_observer(request))?;
    let mut page = json!({
        "name": "agent-bridge-edge",
        "version": VERSION,
        "uptime_seconds": status.started.elapsed().as_secs(),
        "status": status.phase().name(),
    });
    page["turned_away"] = json!(gate.turned_away());
    page["http_faults"] = faults.counts().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    page["browsers"] = counters.browsers(sockets.count());
    page["upstream"] = counters.upstream();
    page["dialects"] = dialects.as_ref().as_ref().map_or(json!({}), |dialects| dialects.page());
    page["tls"] = json!(status.tls());
    Ok(answer(true, &page))
}

fn answer(ok: bool, body: &serde_json::Value) -> HttpResponse {
    let mut response = if ok { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((header::CACHE_CONTROL, "no-store")).json(body)
}
