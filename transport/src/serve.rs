//! The HTTP server: an actix-web `App` whose handlers may take the socket.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::{Request, Response, ServiceConfig, body::MessageBody};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactory, fn_factory, fn_service};
use actix_web::{Error, dev::AppConfig};
use socket2::{Domain, SockRef, Socket, Type};
use tls::ServerTls;
use tokio::net::TcpStream;

use crate::{
    gate::Gate,
    http1::{Client, HttpFaults, Limits, serve_connection},
    secure::secure,
    stream::Stream,
};

/// Unsent bytes that the kernel holds for one socket. Without this limit a stalled socket holds
/// megabytes.
const UNSENT_LIMIT: u32 = 128 * 1024;
/// How long sent bytes may stay unacknowledged before the kernel closes the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The options of a server.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Worker threads; each runs its own `App`.
    pub workers: usize,
    /// TLS; `None`: without TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// How long a client may take for the TLS handshake, and again to send the head of its request.
    pub handshake_timeout: Duration,
    /// How long a client may take to send a whole request; also the grace period of a client that
    /// reads its answer more slowly than 4 KiB/s.
    pub request_timeout: Duration,
    /// HTTP connections and handshakes that a worker serves at once; more wait in the kernel's
    /// queue. Upgraded sockets and long answers ([`crate::long_answer()`]) do not count.
    pub max_in_flight: usize,
    /// Who is admitted.
    pub gate: Arc<Gate>,
    /// Counts and logs what clients do wrong.
    pub faults: Arc<HttpFaults>,
    /// How long a graceful stop waits for requests in progress.
    pub shutdown_timeout: Duration,
}

/// How many worker threads a setting asks for; 0: one for each processor.
pub fn workers(setting: usize) -> usize {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

/// Connections that may wait in the kernel to be accepted.
const BACKLOG: i32 = 4096;

/// A listener for [`serve`]. The standard library's would let only 128 connections wait.
///
/// # Errors
/// The address is taken, or is not of this machine.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts a server on `listener`. Signals are left to the caller.
///
/// # Errors
/// The server's threads cannot be started.
pub fn serve<F, I, S, B>(listener: TcpListener, options: &ServeOptions, factory: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let ServeOptions { workers, max_in_flight, shutdown_timeout, .. } = *options;
    let name = format!("http-{}", listener.local_addr()?.port());
    let options = options.clone();
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(max_in_flight)
        .shutdown_timeout(shutdown_timeout.as_secs())
        .disable_signals()
        .listen(name, listener, move || worker(options.clone(), factory.clone()))?;
    Ok(server.run())
}

/// What each worker thread does with a connection: passes it through the gate, makes the TLS
/// handshake if the listener has TLS, and speaks HTTP.
fn worker<F, I, S, B>(
    options: ServeOptions,
    factory: F,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = io::Error, InitError = ()>
where
    F: Fn() -> I + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let options = Rc::new(options);
    fn_factory(move || {
        let (options, app) = (Rc::clone(&options), factory().into_factory().new_service(AppConfig::default()));
        async move {
            let app = Rc::new(app.await.map_err(|error| tracing::error!(?error, "the application could not be built"))?);
            // It caches the text of the `Date` header for all connections of the thread.
            let config = ServiceConfig::default();
            Ok(fn_service(move |mut socket: TcpStream| {
                let (options, app, config) = (Rc::clone(&options), Rc::clone(&app), config.clone());
                async move {
                    let Some((address, _place)) = Arc::clone(&options.gate).enter(&mut socket).await else { return Ok(()) };
                    tune(&socket);
                    let stream = secure(socket, options.tls.clone(), options.handshake_timeout).await?;
                    let under_tls = matches!(stream, Stream::Tls(_));
                    let certificate = match &stream {
                        Stream::Tls(stream) => ServerTls::client_certificate(stream),
                        Stream::Plain(_) => None,
                    };
                    let limits = Limits { head: options.handshake_timeout, request: options.request_timeout };
                    serve_connection(stream, Client { address, under_tls, certificate }, &*app, config, limits, &options.faults)
                        .await;
                    Ok(())
                }
            }))
        }
    })
}

/// Sets the options for a long-lived socket of messages. A kernel without one of them still serves.
pub(crate) fn tune(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let options = SockRef::from(socket);
    let _ = options.set_tcp_notsent_lowat(UNSENT_LIMIT);
    let _ = options.set_tcp_user_timeout(Some(USER_TIMEOUT));
}
