//! `POST /api/v1/request`: asks a peer, and answers with its answer.
//!
//! Without an idempotency key the request ends with the call. With one it outlives the call: who
//! calls again with the same key and the same request waits for the same answer, or gets it at
//! once.

use std::{rc::Rc, sync::Arc, time::Duration};

use common::{
    address::Address,
    envelope::Family,
    error::{ClientError, ErrorCode},
};
use tokio::time::timeout;
use transport::clock::now_ms;

use super::{
    body::{RequestBody, check_key},
    caller::{Caller, Line},
    outcome::Told,
};
use crate::{
    answers::{Begun, Input, KEPT_MS, outcome},
    holders::Table,
    routing::{CallerAnswer, CallerOutcome, CallerTicket, StampedMessage},
    services::AckAsk,
    shard::{Asked, Work},
};

/// Asks a peer, and returns the envelope of its answer. Steps of a streamed answer are passed over.
///
/// # Errors
/// `reply_timeout` if no answer came within `wait_ms`; `agent_not_found`, `no_agent`, `peer_gone`
/// and the other errors of a request on a socket; `idempotency_key_reused`; `rate_limited`;
/// `service_restart` if the broker drains meanwhile.
pub async fn request(caller: Caller, body: &[u8], key: Option<String>) -> Result<String, ClientError> {
    caller.charge(body.len())?;
    if let Some(key) = &key {
        check_key(key)?;
    }
    let request = RequestBody::read(body, key.as_deref())?;
    let wait = Duration::from_millis(request.wait_ms.into());
    let mut message = caller.read(&request.text)?;
    // The wait is counted here, not by the router.
    message.deadline_ms = None;
    let line = &caller.line;
    let waiting = async {
        let Some(key) = key else { return ask(line, &request.id, message).await };
        let (who, sender) = (line.peer.address(), line.peer.source().group);
        match line.broker.answers.begin(who, &key, Input::of(&request.input), sender, now_ms())? {
            Begun::Again(awaited) => outcome(awaited).await,
            Begun::First(task, awaited) => {
                let (line, id) = (Rc::clone(line), request.id.clone());
                // It goes on if this call ends.
                actix_rt::spawn(async move {
                    let asked = tokio::select! {
                        asked = timeout(Duration::from_millis(KEPT_MS), ask(&line, &id, message)) => asked,
                        () = task.forgotten() => return,
                    };
                    task.end(asked.unwrap_or_else(|_| Err(ErrorCode::ReplyTimeout.into())));
                });
                outcome(awaited).await
            }
        }
    };
    let too_late = || {
        let message = "No answer arrived within wait_ms.";
        ClientError::with_message(ErrorCode::ReplyTimeout, message)
    };
    let answered = tokio::select! {
        answered = timeout(wait, waiting) => answered.unwrap_or_else(|_| Err(too_late())),
        () = line.broker.lifecycle.drains() => Err(ErrorCode::ServiceRestart.into()),
    };
    let CallerAnswer { text, stored } = answered?;
    caller.check_again()?;
    if let Some((channel, seq)) = stored {
        // Its receiver has it. Otherwise it would wait for the session's next socket.
        let ask = AckAsk { channel: Some(channel.to_string()), through: None, seqs: vec![seq] };
        let asked = Asked { peer: Arc::clone(&line.peer), ask: Box::new(ask), id: None, family: Family::Message, bytes: 0 };
        line.hand_over(Work::Ask(asked)).await;
    }
    Ok(text)
}

/// Asks, and waits for the answer.
async fn ask(line: &Line, id: &str, message: StampedMessage) -> CallerOutcome {
    let mut ticket = wait_for_answer(line, id, &message)?;
    let _routed = line.submit(message).await;
    loop {
        tokio::select! {
            biased;
            outcome = ticket.outcome() => return outcome,
            frames = line.frames() => {
                let told = frames.iter().filter_map(|frame| Told::about(frame, id));
                if let Some(error) = told.filter_map(|told| told.error()).next() {
                    return Err(error);
                }
                if frames.is_empty() {
                    return Err(ErrorCode::NotReady.into());
                }
            }
        }
    }
}

/// Takes a place among those who wait, before the request can be answered.
fn wait_for_answer(line: &Line, id: &str, message: &StampedMessage) -> Result<CallerTicket, ClientError> {
    let place = line.peer.take(Table::Requests, 1)?;
    let router = line.broker.router.read();
    let responder = router.resolve(&line.peer, message.target.as_ref())?;
    if !matches!(&*responder, Address::Agent(_) | Address::Session(_)) {
        return Err(ClientError::new(ErrorCode::RequestTargetInvalid).about(responder.to_string()));
    }
    Ok(router.callers().wait(&line.peer, id, responder.to_string(), place)?)
}
