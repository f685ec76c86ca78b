//! `GET /metrics` at the edge.

use std::sync::atomic::Ordering::Relaxed;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use tls::TlsStatus;
use transport::{
    Gate, HttpFaults,
    metrics::{CONTENT_TYPE, Scrape},
    operator::Operators,
};

use crate::{
    http::{PacedOperator, Refusal, Throttle, only},
    proxy::ProxyCounters,
    sessions::OpenSockets,
    status::{EdgeStatus, Phase, VERSION},
};

transport::metrics! {
    /// Every metric of the edge, in the order of a scrape.
    pub static METRICS;

    BUILD = gauge("bridge_edge_build_info", ["version"], "Always 1; the label has the version");
    STARTED = gauge("bridge_edge_start_time_seconds", [], "When the edge started, in seconds since 1970");
    READY = gauge("bridge_edge_ready", [], "1 if the edge serves clients");
    SOCKETS = gauge("bridge_edge_sockets", [], "Sockets and event streams of clients at this moment");
    OPENED = counter("bridge_edge_sockets_opened", [], "Sockets and event streams opened by clients");
    UPSTREAM = gauge("bridge_edge_upstream_connections", ["state"], "Connections to the broker at this moment");
    DIALS = counter("bridge_edge_upstream_events", ["event"], "Connections to the broker: dialled, failed to be \
        dialled, lost, restored");
    BYTES_IN = counter("bridge_edge_bytes_in", ["side"], "Bytes read from clients and from the broker");
    BYTES_OUT = counter("bridge_edge_bytes_out", ["side"], "Bytes written to clients and to the broker");
    PAUSES = counter("bridge_edge_sender_pauses", ["side"], "How often a side was paused for a slow receiver");
    SLOW = counter("bridge_edge_slow_consumers_closed", [], "Clients' sockets closed because they did not read");
    SILENT = counter("bridge_edge_heartbeat_timeouts", [], "Clients' sockets closed because nothing was heard from them");
    DROPPED = counter("bridge_edge_dropped_messages", [], "Messages for clients that were dropped");
    DROPPED_BYTES = counter("bridge_edge_dropped_bytes", [], "Bytes of those");
    TURNED_AWAY = counter("bridge_edge_http_connections_turned_away", [], "HTTP connections closed unread: \
        their address had too many");
    HTTP_FAULTS = counter("bridge_edge_http_faults", ["fault"], "HTTP connections ended for what the client did");
    CERTIFICATE = gauge("bridge_edge_tls_certificate_ok", [], "1 if the certificate is valid; absent without TLS");
    TLS_HANDSHAKES = counter("bridge_edge_tls_handshakes", ["result"], "TLS handshakes; absent without TLS");
}

/// The route of this module.
pub fn configure(routes: &mut web::ServiceConfig) {
    let page = web::resource("/metrics").default_service(only("GET, HEAD"));
    routes.service(page.route(web::get().to(metrics)).route(web::head().to(metrics)));
}

/// `GET /metrics`, for those who may see `/stats`.
async fn metrics(
    request: HttpRequest,
    PacedOperator(address): PacedOperator,
    (throttle, operators): (web::Data<Throttle>, web::Data<Operators>),
    status: web::Data<EdgeStatus>,
    (gate, faults): (web::Data<Gate>, web::Data<HttpFaults>),
    sockets: web::Data<OpenSockets>,
    counters: web::Data<ProxyCounters>,
) -> Result<HttpResponse, Refusal> {
    throttle.check_operator(&request, address, |request| operators.check_observer(request))?;
    let text = scrape(&status, &gate, &faults, sockets.count(), &counters);
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).content_type(CONTENT_TYPE).body(text))
}

/// One scrape. `open`: clients' sockets at this moment.
fn scrape(status: &EdgeStatus, gate: &Gate, faults: &HttpFaults, open: usize, counters: &ProxyCounters) -> String {
    let mut scrape = Scrape::default();
    scrape.level_each(&BUILD, [(VERSION, 1_u64)]);
    scrape.level(&STARTED, status.started_at());
    scrape.level(&READY, status.phase() == Phase::Ready);
    scrape.level(&SOCKETS, open);
    scrape.count(&OPENED, counters.opened());
    scrape.level_each(&UPSTREAM, counters.states());
    scrape.count_each(&DIALS, counters.dials());
    let links = counters.links();
    scrape.count_each(&BYTES_IN, links.map(|(side, counts)| (side, counts.bytes_in.load(Relaxed))));
    scrape.count_each(&BYTES_OUT, links.map(|(side, counts)| (side, counts.bytes_out.load(Relaxed))));
    scrape.count_each(&PAUSES, links.map(|(side, counts)| (side, counts.pauses.load(Relaxed))));
    let [(_, clients), _] = links;
    scrape.count(&SLOW, clients.slow_consumers.load(Relaxed));
    scrape.count(&SILENT, clients.silent.load(Relaxed));
    let (messages, bytes) = counters.dropped();
    scrape.count(&DROPPED, messages);
    scrape.count(&DROPPED_BYTES, bytes);
    scrape.count(&TURNED_AWAY, gate.turned_away());
    scrape.count_each(&HTTP_FAULTS, faults.counts());
    if let Some(tls) = status.tls() {
        certificate(&mut scrape, &tls);
    }
    scrape.into_text()
}

fn certificate(scrape: &mut Scrape, tls: &TlsStatus) {
    scrape.level(&CERTIFICATE, tls.fault.is_none());
    scrape.count_each(&TLS_HANDSHAKES, tls.handshakes_by_result());
}
