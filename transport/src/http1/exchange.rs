//! The exchanges on a connection: a request, its answer, and then the next request.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use actix_http::{
    ConnectionType, HttpMessage, Method, Payload, Request, Response, ServiceConfig, StatusCode, Version,
    body::{BodySize, BoxBody, MessageBody},
    header,
};
use actix_service::Service;
use actix_web::Error;
use bytes::Bytes;
use common::error::{ClientError, ErrorCode};
use futures_util::FutureExt;
use tls::ClientCertificate;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{
    KEEP_ALIVE, LINGER, Limits,
    body::RequestBody,
    faults::{HttpFault, HttpFaults},
    patience::Patience,
    wire::{NoRequest, Wire},
};
use crate::{accept::Handover, handshake, later_answer::Later, long_answer::LastsLong, site::UnderTls, stream::Stream};

/// Bytes of an answer's body that are encoded at once.
const PORTION: usize = 16 * 1024;

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Client {
    pub address: SocketAddr,
    pub under_tls: bool,
    pub certificate: Option<ClientCertificate>,
}

/// Serves one connection to its end, or until a handler takes the socket.
pub(crate) async fn serve_connection<S, B>(
    stream: Stream,
    client: Client,
    app: &S,
    config: ServiceConfig,
    limits: Limits,
    faults: &Arc<HttpFaults>,
) where
    S: Service<Request, Error = Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let wire = Rc::new(RefCell::new(Wire::new(stream, config)));
    let connection = Connection { wire, limits, address: client.address.ip(), faults: Arc::clone(faults) };
    match connection.converse(&client, app).await {
        Ok(Leave::Handover(handover)) => {
            if let Ok(wire) = Rc::try_unwrap(connection.wire) {
                handover.start(wire.into_inner().into_upgraded());
            }
        }
        Ok(Leave::LongAnswer(body, patience)) => {
            // In a task of its own, so that the place of this connection is free for others.
            actix_rt::spawn(async move {
                let end = connection.answer_at_length(body, patience).await;
                connection.end(&end).await;
            });
        }
        Ok(Leave::LaterAnswer(later, response, of_request)) => {
            actix_rt::spawn(async move {
                let end = connection.answer_later(later, response, of_request).await;
                connection.end(&end).await;
            });
        }
        Err(end) => connection.end(&end).await,
    }
}

/// What continues after the exchanges of a connection, without its place.
enum Leave {
    /// A handler took the socket.
    Handover(Handover),
    /// The last answer is a long one; its head was sent.
    LongAnswer(BoxBody, Patience),
    /// The last answer comes later. What the response has is added to it.
    LaterAnswer(Later, Response<BoxBody>, (bool, Version)),
}

/// Why a connection ends.
enum End {
    /// In order, or because the client has gone.
    Done,
    /// The bytes are not a request.
    Fault(super::head::HeadFault),
    /// A request took too long.
    TooSlow,
    /// An answer was not read.
    NotRead,
    /// The socket or the body of an answer failed.
    Broken,
}

impl End {
    /// What the client did, if it is to blame.
    fn of_client(&self) -> Option<(HttpFault, ClientError)> {
        match self {
            Self::Done | Self::Broken => None,
            Self::Fault(fault) => Some((HttpFault::of(*fault), (*fault).into())),
            Self::TooSlow => Some((HttpFault::TooSlow, ErrorCode::RequestTimeout.into())),
            Self::NotRead => Some((HttpFault::NotRead, ErrorCode::SlowConsumer.into())),
        }
    }

    /// Whether the client still reads.
    const fn can_be_told(&self) -> bool {
        !matches!(self, Self::NotRead | Self::Broken)
    }
}

struct Connection {
    wire: Rc<RefCell<Wire>>,
    limits: Limits,
    address: IpAddr,
    faults: Arc<HttpFaults>,
}

impl Connection {
    /// Exchange after exchange, until something else continues.
    async fn converse<S, B>(&self, client: &Client, app: &S) -> Result<Leave, End>
    where
        S: Service<Request, Error = Error>,
        S::Response: Into<Response<B>>,
        B: MessageBody + 'static,
    {
        // The first request may take as long as its head may take; later ones may begin as long as
        // a connection may be idle.
        let (mut begin_by, mut head_by) = (Instant::now() + self.limits.head, Some(Instant::now() + self.limits.head));
        loop {
            let begins = timeout_at(begin_by, poll_fn(|task| self.wire.borrow_mut().poll_begin(task)));
            if !begins.await.unwrap_or(false) {
                return Err(End::Done);
            }
            let begun = Instant::now();
            let head_by = head_by.take().unwrap_or(begun + self.limits.head);
            let mut request = match timeout_at(head_by, poll_fn(|task| self.wire.borrow_mut().poll_head(task))).await {
                Ok(Ok(request)) => request,
                Ok(Err(NoRequest::Fault(fault))) => return Err(End::Fault(fault)),
                Ok(Err(NoRequest::Gone)) => return Err(End::Done),
                Err(_) => return Err(End::TooSlow),
            };
            self.introduce(&mut request, client);
            let of_request = (request.method() == Method::HEAD, request.version());
            let mut response = self.call(app, request, begun + self.limits.request).await?;
            let handover = response.extensions_mut().remove::<Handover>();
            if let Some(handover) = handover {
                self.switch(response).await?;
                return Ok(Leave::Handover(handover));
            }
            let later = response.extensions_mut().remove::<Later>();
            if let Some(later) = later {
                return Ok(Leave::LaterAnswer(later, response, of_request));
            }
            if response.extensions_mut().remove::<LastsLong>().is_some() {
                response.head_mut().set_connection_type(ConnectionType::Close);
                let mut patience = Patience::new(self.limits.request);
                let body = self.answer_head(response, of_request)?;
                self.flush(&mut patience).await?;
                return body.map(|body| Leave::LongAnswer(body, patience)).ok_or(End::Done);
            }
            self.answer(response, of_request).await?;
            let wire = self.wire.borrow();
            if !wire.keeps_alive() || !wire.is_whole() {
                return Err(End::Done);
            }
            begin_by = Instant::now() + KEEP_ALIVE;
        }
    }

    /// Gives handlers the client's address, and the body if there is one.
    fn introduce(&self, request: &mut Request, client: &Client) {
        request.head_mut().peer_addr = Some(client.address);
        handshake::join_lines(request.head_mut().headers_mut());
        if client.under_tls {
            request.extensions_mut().insert(UnderTls);
        }
        if let Some(certificate) = &client.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        *request.payload() = match self.wire.borrow().has_body() {
            true => Payload::Stream { payload: Box::pin(RequestBody::new(&self.wire)) },
            false => Payload::None,
        };
    }

    /// Calls the application. Its time is unlimited once the body has arrived.
    async fn call<S, B>(&self, app: &S, request: Request, whole_by: Instant) -> Result<Response<BoxBody>, End>
    where
        S: Service<Request, Error = Error>,
        S::Response: Into<Response<B>>,
        B: MessageBody + 'static,
    {
        let mut late = pin!(sleep_until(whole_by));
        let mut answer = pin!(app.call(request));
        poll_fn(|task| {
            if let Poll::Ready(answer) = answer.as_mut().poll(task) {
                return Poll::Ready(Ok(match answer {
                    Ok(response) => response.into().map_into_boxed_body(),
                    Err(error) => error.error_response().into(),
                }));
            }
            if self.wire.borrow().has_body() && late.as_mut().poll(task).is_ready() {
                return Poll::Ready(Err(End::TooSlow));
            }
            Poll::Pending
        })
        .await
    }

    /// Sends the answer after which the socket speaks another protocol.
    async fn switch(&self, response: Response<BoxBody>) -> Result<(), End> {
        self.wire.borrow_mut().encode_head(response.drop_body(), BodySize::None).map_err(|_| End::Broken)?;
        self.flush(&mut Patience::new(self.limits.request)).await
    }

    async fn answer(&self, response: Response<BoxBody>, of_request: (bool, Version)) -> Result<(), End> {
        let mut patience = Patience::new(self.limits.request);
        if let Some(body) = self.answer_head(response, of_request)? {
            self.send_body(body, &mut patience).await?;
        }
        self.flush(&mut patience).await
    }

    /// Encodes the head of an answer. Returns its body, if one follows.
    fn answer_head(&self, mut response: Response<BoxBody>, (is_head, version): (bool, Version)) -> Result<Option<BoxBody>, End> {
        let size = response.body().size();
        let has_no_end = size == BodySize::Stream && version < Version::HTTP_11;
        if !self.wire.borrow().is_whole() || has_no_end {
            response.head_mut().set_connection_type(ConnectionType::Close);
            // HTTP/1.0 has no chunks: such a body ends with the connection.
            response.head_mut().no_chunking(has_no_end);
        }
        let (response, body) = response.into_parts();
        self.wire.borrow_mut().encode_head(response, size).map_err(|_| End::Broken)?;
        Ok((!is_head && !matches!(size, BodySize::None | BodySize::Sized(0))).then_some(body))
    }

    /// Sends an answer when it is ready, with the headers of `response` that it does not have,
    /// unless the client goes before.
    async fn answer_later(&self, later: Later, response: Response<BoxBody>, of_request: (bool, Version)) -> End {
        let gone = poll_fn(|task| self.wire.borrow_mut().poll_gone(task));
        let mut answer: Response<BoxBody> = tokio::select! {
            answer = later => answer.into(),
            () = gone => return End::Broken,
        };
        let missing = response.headers().iter().filter(|(name, _)| !answer.headers().contains_key(*name));
        let missing: Vec<_> = missing.map(|(name, value)| (name.clone(), value.clone())).collect();
        for (name, value) in missing {
            answer.headers_mut().append(name, value);
        }
        answer.head_mut().set_connection_type(ConnectionType::Close);
        self.answer(answer, of_request).await.err().unwrap_or(End::Done)
    }

    /// Sends a body that may never end, until it ends or the client has gone. Its reader is checked
    /// like any other.
    async fn answer_at_length(&self, body: BoxBody, mut patience: Patience) -> End {
        let sent = async {
            self.send_body(body, &mut patience).await?;
            self.flush(&mut patience).await
        };
        let gone = poll_fn(|task| self.wire.borrow_mut().poll_gone(task));
        tokio::select! {
            sent = sent => sent.err().unwrap_or(End::Done),
            () = gone => End::Broken,
        }
    }

    async fn send_body(&self, body: BoxBody, patience: &mut Patience) -> Result<(), End> {
        let mut body = pin!(body);
        let mut rest = Bytes::new();
        loop {
            if rest.is_empty() {
                let mut next = pin!(poll_fn(|task| body.as_mut().poll_next(task)));
                let next = match next.as_mut().now_or_never() {
                    Some(next) => next,
                    // A reader that waits for more has had everything.
                    None => {
                        self.flush(patience).await?;
                        next.await
                    }
                };
                match next {
                    Some(Ok(bytes)) => rest = bytes,
                    Some(Err(error)) => {
                        tracing::warn!(%error, "the body of an answer broke off");
                        return Err(End::Broken);
                    }
                    None => return self.wire.borrow_mut().encode_body(None).map_err(|_| End::Broken),
                }
            }
            let portion = rest.split_to(rest.len().min(PORTION));
            let is_full = {
                let mut wire = self.wire.borrow_mut();
                wire.encode_body(Some(portion)).map_err(|_| End::Broken)?;
                wire.is_full()
            };
            if is_full {
                self.flush(patience).await?;
            }
        }
    }

    /// Hands everything that is encoded to the kernel.
    async fn flush(&self, patience: &mut Patience) -> Result<(), End> {
        loop {
            let before = Instant::now();
            let write = poll_fn(|task| self.wire.borrow_mut().poll_write(task));
            match timeout(patience.left(), write).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(written)) => patience.on_sent(written, before.elapsed()),
                Ok(Err(_)) => return Err(End::Broken),
                Err(_) => return Err(End::NotRead),
            }
        }
    }

    /// Ends the connection: tells the client why if it is to blame, and closes in order if it still
    /// reads.
    async fn end(&self, end: &End) {
        if let Some((fault, error)) = end.of_client() {
            self.faults.note(fault, self.address, &error.message);
            if end.can_be_told() && self.refuse(&error).await.is_err() {
                return;
            }
        }
        if end.can_be_told() {
            self.farewell().await;
        }
    }

    /// Tells the client what was wrong with its request.
    async fn refuse(&self, error: &ClientError) -> Result<(), End> {
        let status = StatusCode::from_u16(error.code.row().status).unwrap_or(StatusCode::BAD_REQUEST);
        let response = Response::build(status)
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
            .force_close()
            .finish();
        let body = Bytes::from(error.to_http_body());
        self.wire.borrow_mut().encode_refusal(response.drop_body(), body).map_err(|_| End::Broken)?;
        self.flush(&mut Patience::new(LINGER)).await
    }

    /// Ends the connection so that the last answer arrives. If it were closed with unread bytes,
    /// the kernel would discard the answer.
    async fn farewell(&self) {
        let goodbye = async {
            // An error means that the client has gone.
            let _ = poll_fn(|task| self.wire.borrow_mut().poll_shutdown(task)).await;
            poll_fn(|task| self.wire.borrow_mut().poll_discard(task)).await;
        };
        // A client that has not ended by then has had its answer long ago.
        let _: Result<(), tokio::time::error::Elapsed> = timeout(LINGER, goodbye).await;
    }
}
