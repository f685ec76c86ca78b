//! The HTTP server: an actix-web `App` whose handlers may take the socket.

use std::{
    convert::Infallible,
    fmt, io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_codec::Framed;
use actix_http::{
    HttpService, Request, Response,
    body::{BodySize, MessageBody, to_bytes},
    h1,
};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt,
    boxed::{self, BoxServiceFactory},
    fn_factory, fn_service, map_config,
};
use actix_web::{Error, dev::AppConfig};
use futures_util::SinkExt;
use socket2::{Domain, SockRef, Socket, Type};
use tls::ServerTls;
use tokio::net::TcpStream;

use crate::{
    accept::{Handover, Upgraded},
    gate::Gate,
    secure::secure,
    stream::Stream,
};

/// Unsent bytes the kernel holds for one socket before it takes no more; without it, a stalled socket holds megabytes.
const UNSENT_LIMIT: u32 = 128 * 1024;
/// How long sent bytes may stay unacknowledged before the kernel gives the peer up.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Worker threads; each runs its own `App`.
    pub workers: usize,
    /// TLS; `None`: in the clear.
    pub tls: Option<Arc<ServerTls>>,
    /// How long a client may take for the TLS handshake, and again to send its request head.
    pub handshake_timeout: Duration,
    /// HTTP connections and handshakes a worker serves at once; more wait in the kernel's queue. Upgraded sockets do not count.
    pub max_in_flight: usize,
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// How long a graceful stop waits for requests in flight.
    pub shutdown_timeout: Duration,
}

/// Connections that may wait in the kernel to be accepted.
const BACKLOG: i32 = 4096;

/// A listener for [`serve`]. The standard library's would let 128 connections wait.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts a server on `listener`. Signals are left to the caller.
pub fn serve<F, I, S, B>(listener: TcpListener, options: &ServeOptions, factory: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let ServeOptions { workers, tls, handshake_timeout, max_in_flight, shutdown_timeout, gate } = options.clone();
    let name = format!("http-{}", listener.local_addr()?.port());
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(max_in_flight)
        .shutdown_timeout(shutdown_timeout.as_secs())
        .disable_signals()
        .listen(name, listener, move || {
            let app = map_config(factory(), |()| AppConfig::default());
            let http = HttpService::build()
                .client_request_timeout(handshake_timeout)
                .client_disconnect_timeout(Duration::from_secs(1))
                .on_connect_ext(|stream, extensions| {
                    if let Stream::Tls(stream) = stream
                        && let Some(certificate) = ServerTls::client_certificate(stream)
                    {
                        extensions.insert(certificate);
                    }
                })
                .upgrade(upgrade_service(factory.clone()))
                .h1(app);
            let entrance = Entrance { gate: Arc::clone(&gate), tls: tls.clone(), limit: handshake_timeout };
            through(entrance, http)
        })?;
    Ok(server.run())
}

/// The way from the listener to HTTP.
#[derive(Clone)]
struct Entrance {
    gate: Arc<Gate>,
    tls: Option<Arc<ServerTls>>,
    /// Time for the TLS handshake.
    limit: Duration,
}

/// Lets in whom the gate lets in, under TLS if the listener has it, with the client's address.
fn through<H>(
    entrance: Entrance,
    http: H,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = H::Error, InitError = H::InitError>
where
    H: ServiceFactory<(Stream, Option<SocketAddr>), Config = (), Response = ()> + 'static,
    H::Service: 'static,
    H::Error: From<io::Error>,
{
    let http = Rc::new(http);
    fn_factory(move || {
        let (entrance, http) = (entrance.clone(), Rc::clone(&http));
        async move {
            let http = Rc::new(http.new_service(()).await?);
            Ok(fn_service(move |mut socket: TcpStream| {
                let (Entrance { gate, tls, limit }, http) = (entrance.clone(), Rc::clone(&http));
                async move {
                    let Some((client, _place)) = gate.enter(&mut socket).await else { return Ok(()) };
                    let stream = secure(socket, tls, limit).await?;
                    http.call((stream, Some(client))).await
                }
            }))
        }
    })
}

type Handshake = (Request, Framed<Stream, h1::Codec>);

/// The service for requests that ask for an upgrade: the same `App`, but if its handler answered with [`crate::accept`],
/// the socket goes to the handler's closure.
fn upgrade_service<F, I, S, B>(factory: F) -> BoxServiceFactory<(), Handshake, (), Infallible, &'static str>
where
    F: Fn() -> I + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let upgrade = fn_factory(move || {
        let app = factory().into_factory().new_service(AppConfig::default());
        async move {
            let app = Rc::new(app.await.map_err(|_| ())?);
            Ok::<_, ()>(fn_service(move |(request, framed): Handshake| {
                let app = Rc::clone(&app);
                async move {
                    let response = match app.call(request).await {
                        Ok(response) => response.into().map_into_boxed_body(),
                        Err(error) => error.error_response().into(),
                    };
                    if let Err(error) = answer(framed, response).await {
                        tracing::debug!(kind = %error, "handshake did not finish");
                    }
                    Ok::<_, Infallible>(())
                }
            }))
        }
    })
    .map_init_err(|()| "the application could not be built");
    boxed::factory(upgrade)
}

async fn answer(
    mut framed: Framed<Stream, h1::Codec>,
    mut response: Response<actix_http::body::BoxBody>,
) -> Result<(), AnswerError> {
    let handover = response.extensions_mut().remove::<Handover>();
    if let Some(handover) = handover {
        tune(framed.io_ref().tcp());
        framed.send(h1::Message::Item((response.drop_body(), BodySize::None))).await?;
        let parts = framed.into_parts();
        handover.start(Upgraded { socket: parts.io, leftover: parts.read_buf });
        return Ok(());
    }
    response.head_mut().set_connection_type(actix_http::ConnectionType::Close);
    let (response, body) = response.into_parts();
    let body = to_bytes(body).await.map_err(|_| AnswerError::Body)?;
    // One write for head and body: a client that has seen the status must not miss what it means.
    framed.feed(h1::Message::Item((response, BodySize::Sized(body.len() as u64)))).await?;
    framed.feed(h1::Message::Chunk(Some(body))).await?;
    framed.send(h1::Message::Chunk(None)).await?;
    framed.close().await?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the body could not be read")]
    Body,
}

/// Sets what a long-lived message socket needs. A kernel without one of the options still serves.
pub(crate) fn tune(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let options = SockRef::from(socket);
    let _ = options.set_tcp_notsent_lowat(UNSENT_LIMIT);
    let _ = options.set_tcp_user_timeout(Some(USER_TIMEOUT));
}
