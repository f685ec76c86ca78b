//! A call: what is asked, and how it is carried out.

use std::sync::Arc;

use bytes::Bytes;
use common::{assertion::ClientIdentity, error::ClientError};

use super::{caller::Who, publish::publish, request::request};
use crate::broker::Broker;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// `POST /api/v1/messages`.
    Publish,
    /// `POST /api/v1/request`.
    Request,
}

/// A call: its body, and the header `Idempotency-Key`.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is called.
    pub kind: CallKind,
    /// The body.
    pub body: Bytes,
    /// The idempotency key of a request.
    pub key: Option<String>,
}

/// Makes a call. Returns the JSON of the answer. Dropping the future ends the wait for an answer.
///
/// # Errors
/// See [`publish`] and [`request`].
pub async fn make(broker: &Arc<Broker>, who: Who, call: Call) -> Result<String, ClientError> {
    let caller = who.enter(broker)?;
    match call.kind {
        CallKind::Publish => publish(&caller, &call.body).await,
        CallKind::Request => request(caller, &call.body, call.key).await,
    }
}

/// [`make`] for a session that an edge in this process vouches for.
///
/// # Errors
/// Those of [`make`].
pub async fn make_for_session(broker: Arc<Broker>, identity: ClientIdentity, call: Call) -> Result<String, ClientError> {
    let made = make(&broker, Who::Session(Box::new(identity)), call).await;
    made.inspect_err(|error| broker.statistics.refusals.count(error.code))
}
