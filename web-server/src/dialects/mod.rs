//! Hosts the dialects of [`gateway`]: a listener for each that is on, with the gate, the limits,
//! the TLS and the rules for hosts and origins that the edge's own listener has.
//!
//! - [`host`]: judges their clients' credentials and counts their sockets, with what the edge has.
//! - [`strangers`]: sockets whose clients have not shown credentials yet.

pub mod host;
mod strangers;

use std::{io, net::SocketAddr, sync::Arc};

use actix_web::{
    App,
    dev::ServerHandle,
    middleware::{Condition, from_fn},
    web,
};
use common::{config::Settings, dialect::Dialect};
use gateway::{
    dialects::{Host, Program},
    hybrid::Hybrid,
    supervisor::Supervisor,
};
use serde_json::{Map, Value, json};
use transport::{HostRule, OriginRule, ServeOptions, client_address::TrustedProxies, listen, serve};

use self::host::DialectHost;
use crate::http::{
    BrokerApi, Hsts, InFlight, Throttle, allow_origins, count_in_flight, note_refusals, refuse_forged, require_own_host,
    security_headers,
};

/// The most worker threads of a dialect's listener.
const MOST_WORKERS: usize = 4;

/// Why a dialect does not start.
#[derive(Debug, thiserror::Error)]
pub enum DialectError {
    /// The address.
    #[error("the dialect {dialect} cannot listen on {addr}: {source}")]
    Bind {
        /// Its name.
        dialect: &'static str,
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Its settings.
    #[error("the settings of the dialect {dialect} are invalid: {fault}")]
    Settings {
        /// Its name.
        dialect: &'static str,
        /// Why.
        fault: String,
    },
    /// Its worker threads.
    #[error("cannot start the server of the dialect {dialect}: {source}")]
    Serve {
        /// Its name.
        dialect: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What the handlers of every listener of an edge share.
#[derive(Clone)]
pub struct Surroundings {
    /// See [`OriginRule`].
    pub origins: OriginRule,
    /// The origins of other sites that may read answers.
    pub allowed_origins: Vec<String>,
    /// See [`HostRule`].
    pub hosts: HostRule,
    /// See [`Hsts`].
    pub hsts: Option<Hsts>,
    /// Proxies that are believed.
    pub proxies: TrustedProxies,
    /// The rates of addresses.
    pub throttle: Arc<Throttle>,
    /// For the audit log.
    pub broker: Arc<BrokerApi>,
    /// Requests in progress.
    pub requests: Arc<InFlight>,
}

/// The running listeners.
pub struct Dialects {
    host: Arc<DialectHost>,
    listeners: Vec<DialectListener>,
}

struct DialectListener {
    dialect: Dialect,
    addr: SocketAddr,
    server: ServerHandle,
}

/// Starts a listener for each dialect that is on.
///
/// # Errors
/// An address cannot be bound, or a dialect's settings are invalid.
pub fn start(
    settings: &Settings,
    host: DialectHost,
    options: &ServeOptions,
    surroundings: &Surroundings,
) -> Result<Dialects, DialectError> {
    let host = Arc::new(host);
    let mut listeners = Vec::new();
    for (dialect, _, addr) in settings.dialects.listeners() {
        let program = program(dialect, settings, Arc::clone(&host) as Arc<dyn Host>)?;
        listeners.extend(program.map(|program| open(program, addr, options, surroundings)).transpose()?);
    }
    Ok(Dialects { host, listeners })
}

/// A dialect by its name.
fn program(dialect: Dialect, settings: &Settings, host: Arc<dyn Host>) -> Result<Option<Arc<dyn Program>>, DialectError> {
    let invalid = |error: &dyn std::fmt::Display| DialectError::Settings { dialect: dialect.as_str(), fault: error.to_string() };
    Ok(match dialect {
        Dialect::Supervisor => {
            Some(Supervisor::new(settings.dialects.supervisor.clone(), host).map_err(|error| invalid(&error))?)
        }
        Dialect::Hybrid => Some(Hybrid::new(host)),
        Dialect::Unknown => None,
    })
}

fn open(
    program: Arc<dyn Program>,
    addr: SocketAddr,
    options: &ServeOptions,
    surroundings: &Surroundings,
) -> Result<DialectListener, DialectError> {
    let dialect = program.dialect();
    let name = dialect.as_str();
    let bind = |source| DialectError::Bind { dialect: name, addr, source };
    let listener = listen(addr).map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    let options = ServeOptions { workers: options.workers.clamp(1, MOST_WORKERS), ..options.clone() };
    let surroundings = surroundings.clone();
    let server = serve(listener, &options, move || {
        let (program, surroundings) = (Arc::clone(&program), surroundings.clone());
        let allowed_origins = surroundings.allowed_origins.clone();
        App::new()
            .app_data(web::Data::from(Arc::clone(&surroundings.requests)))
            .wrap(from_fn(refuse_forged))
            .wrap(from_fn(note_refusals))
            .wrap(Condition::new(!allowed_origins.is_empty(), allow_origins(&allowed_origins)))
            .wrap(from_fn(require_own_host))
            .wrap(from_fn(security_headers))
            .wrap(from_fn(count_in_flight))
            .configure(move |routes| surroundings.configure(routes))
            .configure(move |routes| program.configure(routes))
    })
    .map_err(|source| DialectError::Serve { dialect: name, source })?;
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(dialect = dialect.as_str(), %error, "the server of a dialect ended");
        }
    });
    tracing::info!(dialect = dialect.as_str(), %addr, tls = options.tls.is_some(), "dialect listens");
    Ok(DialectListener { dialect, addr, server: handle })
}

impl Surroundings {
    fn configure(self, routes: &mut web::ServiceConfig) {
        routes
            .app_data(web::Data::new(self.origins))
            .app_data(web::Data::new(self.hosts))
            .app_data(web::Data::new(self.hsts))
            .app_data(web::Data::new(self.proxies))
            .app_data(web::Data::from(self.throttle))
            .app_data(web::Data::from(self.broker));
    }
}

impl Dialects {
    /// The addresses that were bound.
    pub fn addresses(&self) -> Vec<(Dialect, SocketAddr)> {
        self.listeners.iter().map(|listener| (listener.dialect, listener.addr)).collect()
    }

    /// Admits no more strangers, and closes those that are here. The sockets of sessions are closed
    /// with the edge's own.
    pub fn shut(&self) {
        self.host.strangers().shut();
    }

    /// How many strangers are here.
    pub fn strangers(&self) -> usize {
        self.host.strangers().count()
    }

    /// Stops the listeners.
    pub async fn stop(&self) {
        for listener in &self.listeners {
            listener.server.stop(false).await;
        }
    }

    /// Statistics of each dialect that is on, for `/stats`.
    pub fn page(&self) -> Value {
        let page = |listener: &DialectListener| {
            let (open, refused) = self.host.counts(listener.dialect);
            (listener.dialect.as_str().to_owned(), json!({ "addr": listener.addr, "open": open, "refused": refused }))
        };
        Value::Object(self.listeners.iter().map(page).collect::<Map<_, _>>())
    }
}
