use std::sync::Arc;

use common::{assertion::Reading, config::Settings, id::AgentId, message::AgentDescription, rate::Rate};
use identity::policy::Policy;
use transport::Link;

use super::{ConnectionId, Peer, PeerKind, Router, RouterLimits};

#[test]
fn what_an_agent_that_was_taken_over_had_queued_is_not_done() {
    let limits = RouterLimits { max_subscriptions: 10, max_requests: 10, answers: Rate::UNLIMITED };
    let mut router = Router::new(limits, Policy::open());
    let policy = crate::broker::link_policy(&Settings::for_tests());
    let [older, newer] = ["a", "a"].map(|name| {
        let kind = PeerKind::Agent(AgentId::new(name).expect("a name"));
        let link = Link::new(Arc::clone(&policy));
        let peer = Peer::new(ConnectionId::next(), kind, link, Reading::default(), None, Default::default());
        router.attach(&peer, AgentDescription::default());
        peer
    });
    // The router drops what came from a connection that is cut.
    assert!(older.is_cut() && !newer.is_cut());
}
