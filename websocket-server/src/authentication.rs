//! How the broker checks who connects: agents by their keys, operators by their token, edges by
//! their assertions.

use std::sync::Arc;

use common::config::Settings;
use identity::limits::SharedPenalties;
use transport::operator::Operators;

use crate::{keys::Keys, refused_edges::RefusedEdges, revocations::SharedRevocations};

/// See the module.
#[derive(Debug)]
pub struct Authentication {
    /// The keys of agents.
    pub keys: Arc<Keys>,
    /// The revocations of the edges.
    pub revocations: Arc<SharedRevocations>,
    /// Who may operate the broker over HTTP.
    pub operators: Operators,
    /// Addresses that presented wrong agent keys.
    pub wrong_keys: SharedPenalties,
    /// Addresses that presented a wrong operator's token. They are kept apart from those with a
    /// wrong key, so that a right key does not clear a guess at the token.
    pub wrong_tokens: SharedPenalties,
    /// Edges whose assertions were refused.
    pub refused_edges: RefusedEdges,
}

impl Authentication {
    /// Uses these keys and revocations. No address has failed yet.
    pub fn new(settings: &Settings, keys: Keys, revocations: SharedRevocations) -> Self {
        Self {
            keys: Arc::new(keys),
            revocations: Arc::new(revocations),
            operators: Operators::new(
                &settings.broker.operator_token,
                settings.broker.addr,
                &settings.proxies,
                settings.proxies.broker_protocol,
            ),
            wrong_keys: SharedPenalties::of(&settings.limits),
            wrong_tokens: SharedPenalties::of(&settings.limits),
            refused_edges: RefusedEdges::default(),
        }
    }
}
