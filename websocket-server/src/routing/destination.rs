//! Where a message goes, and whether its sender may send it there.
//!
//! The one place that decides this, for ephemeral and durable messages alike.

use std::{borrow::Cow, sync::Arc};

use common::{
    address::Address,
    error::{ClientError, ErrorCode},
    id::AgentId,
};
use store::ChannelName;
use transport::clock::now_ms;

use super::{Route, Router, StampedMessage, chains::Between, router::AgentEntry};
use crate::{
    hashing::hash,
    peers::{Peer, PeerKind},
};

/// Where a message may go.
#[derive(Debug)]
pub struct Destination<'a> {
    /// Its target, or the agent that messages without a target go to.
    pub address: Cow<'a, Address>,
    /// The kinds of sender and receiver, for the counters.
    pub route: Route,
}

impl Router {
    /// Finds out where a message goes, and checks that its sender may send it there.
    ///
    /// # Errors
    /// The error for the sender: of the target (`target_required`, `no_agent`, `agent_ambiguous`,
    /// `request_target_invalid`, `durable_target_invalid`), of access (`not_allowed`,
    /// `login_required`, `scope_required`, `session_not_found`), `agent_not_found` for a session's
    /// durable message to an agent that was never connected, or `loop_stopped`.
    pub(crate) fn destination<'a>(&self, from: &Peer, message: &'a StampedMessage) -> Result<Destination<'a>, ClientError> {
        let address = self.resolve(from, message.target.as_ref()).map_err(|code| match &from.kind {
            PeerKind::Session(identity) => match &identity.agent {
                Some(agent_id) => ClientError::new(code).about(format!("agent:{agent_id}")),
                None => code.into(),
            },
            PeerKind::Agent(_) => ClientError::from(code),
        })?;
        let refused = |code: ErrorCode| ClientError::new(code).about(address.to_string());
        if message.deadline_ms.is_some() && !matches!(*address, Address::Agent(_) | Address::Session(_)) {
            return Err(refused(ErrorCode::RequestTargetInvalid));
        }
        self.check_send(from, &address, message.is_durable).map_err(refused)?;
        let is_agent = from.is_agent();
        let route = match &*address {
            Address::Agent(_) if is_agent => Route::AgentToAgent,
            Address::Agent(agent_id) => {
                // A durable message of a session waits only for agents that the bridge knows, so
                // that strangers cannot create inboxes.
                let is_known = || {
                    self.agents.contains_key(agent_id)
                        || self.has_seen(&ChannelName::agent(agent_id))
                        || (self.callers.count() > 0 && self.callers.expects(from, &address.to_string(), message))
                };
                if message.is_durable && !is_known() {
                    return Err(refused(ErrorCode::AgentNotFound));
                }
                Route::SessionToAgent
            }
            Address::Session(_) => Route::AgentToSession,
            Address::User(_) => Route::AgentToUser,
            Address::Topic(name) if is_agent || self.subscribes(from.id, name) => Route::Topic,
            // A caller over HTTP has no subscriptions: the right to subscribe is enough.
            Address::Topic(name) if !self.is_registered(from) && self.check_subscription(from, name).is_ok() => Route::Topic,
            // A session publishes only to topics that it subscribes to.
            Address::Topic(_) => return Err(refused(ErrorCode::NotAllowed)),
            Address::Broadcast(_) => Route::Broadcast,
            Address::Bridge | Address::Run(_) | Address::Thread(_) | Address::Pool(_) => {
                let code = if message.is_durable { ErrorCode::DurableTargetInvalid } else { ErrorCode::ReservedType };
                return Err(refused(code));
            }
        };
        self.check_loop(from, &address, message)?;
        Ok(Destination { address, route })
    }

    /// The address of a message: its target, or else the sender's default agent.
    pub(crate) fn resolve<'a>(&self, from: &Peer, target: Option<&'a Address>) -> Result<Cow<'a, Address>, ErrorCode> {
        match target {
            Some(target) => Ok(Cow::Borrowed(target)),
            None => self.default_agent(from).map(|agent_id| Cow::Owned(Address::Agent(agent_id.clone()))),
        }
    }

    /// The agent that receives a peer's messages without a target.
    ///
    /// # Errors
    /// `target_required` of an agent; `no_agent` or `agent_ambiguous` if not just one can be meant.
    pub fn default_agent<'a>(&'a self, from: &'a Peer) -> Result<&'a AgentId, ErrorCode> {
        let PeerKind::Session(identity) = &from.kind else { return Err(ErrorCode::TargetRequired) };
        if let Some(named) = &identity.agent {
            return Ok(named);
        }
        let seen = |(id, entry): &(&AgentId, &AgentEntry)| self.sees_agent(from, id, entry.peer.bounds());
        let mut ids = self.agents.iter().filter(seen).map(|(id, _)| id);
        match (ids.next(), ids.next()) {
            (None, _) => Err(ErrorCode::NoAgent),
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(ErrorCode::AgentAmbiguous),
        }
    }

    /// Stops a message whose chain of answers is a loop.
    ///
    /// # Errors
    /// `loop_stopped`, with the time after which one more may pass.
    fn check_loop(&self, from: &Peer, target: &Address, message: &StampedMessage) -> Result<(), ClientError> {
        let Some(trace) = message.trace else { return Ok(()) };
        let source = from.key();
        let peer_of = |peer: Option<&Arc<Peer>>| peer.map_or_else(|| hash(target.to_string()), |peer| peer.key());
        let between = match target {
            Address::Agent(id) => Between::Two { source, target: peer_of(self.agents.get(id).map(|entry| &entry.peer)) },
            Address::Session(id) => {
                Between::Two { source, target: peer_of(self.sessions.get(id).and_then(|entry| entry.peers.first())) }
            }
            Address::Topic(name) => Between::Many { source, place: hash(name.as_str()) },
            Address::User(user) => Between::Many { source, place: hash(user.as_str()) },
            Address::Broadcast(_) => Between::Many { source, place: 0 },
            Address::Bridge | Address::Run(_) | Address::Thread(_) | Address::Pool(_) => return Ok(()),
        };
        self.chains.follow(trace, between, now_ms).map_err(|wait| {
            tracing::debug!(from = from.address(), %target, "a loop was stopped");
            ClientError::new(ErrorCode::LoopStopped).about(target.to_string()).after(wait)
        })
    }
}
