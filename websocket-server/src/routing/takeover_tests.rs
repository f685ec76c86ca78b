use std::sync::Arc;

use common::{
    assertion::{ClientIdentity, Reading},
    close::CloseCode,
    config::Settings,
    id::{AgentId, ClientName, SessionId},
    message::AgentDescription,
    rate::Rate,
};
use identity::policy::Policy;
use transport::Link;

use super::{Attached, Router, RouterLimits};
use crate::peers::{ConnectionId, Peer, PeerKind};

#[test]
fn work_queued_by_an_agent_that_was_taken_over_is_dropped() {
    let limits = RouterLimits { max_subscriptions: 10, max_requests: 10, answers: Rate::UNLIMITED };
    let mut router = Router::new(limits, Policy::open());
    let policy = crate::links::link_policy(&Settings::for_tests());
    let [older, newer] = ["a", "a"].map(|name| {
        let kind = PeerKind::Agent(AgentId::new(name).expect("a name"));
        let link = Link::new(Arc::clone(&policy));
        let peer = Peer::new(ConnectionId::next(), kind, link, Reading::default(), None, Default::default());
        router.attach(&peer, AgentDescription::default(), 0);
        peer
    });
    // The router drops what comes from a connection that is cut off.
    assert!(older.is_cut() && !newer.is_cut());
}

#[test]
fn a_client_name_has_the_newest_connection_of_its_session() {
    let limits = RouterLimits { max_subscriptions: 10, max_requests: 10, answers: Rate::UNLIMITED };
    let mut router = Router::new(limits, Policy::open());
    let policy = crate::links::link_policy(&Settings::for_tests());
    let (mine, others) = (SessionId::fresh(), SessionId::fresh());
    let peer = |session, client: Option<&str>| {
        let kind = PeerKind::Session(Box::new(ClientIdentity::anonymous(session)));
        let reading = Reading { client: client.and_then(|client| ClientName::new(client).ok()), ..Reading::default() };
        Peer::new(ConnectionId::next(), kind, Link::new(Arc::clone(&policy)), reading, None, Default::default())
    };
    let late = peer(mine, Some("tab"));
    let older = peer(mine, Some("tab"));
    let bystanders = [peer(mine, None), peer(mine, None), peer(mine, Some("tab-2")), peer(others, Some("tab"))];
    let newer = peer(mine, Some("tab"));
    for other in bystanders.iter().chain([&older]) {
        assert!(matches!(router.attach(other, AgentDescription::default(), 0), Attached::Here { older: None, .. }));
    }
    let attached = router.attach(&newer, AgentDescription::default(), 0);
    assert!(matches!(attached, Attached::Here { older: Some(gone), .. } if gone.id == older.id));
    let refused = router.attach(&late, AgentDescription::default(), 0);
    assert!(matches!(refused, Attached::Refused(CloseCode::NAME_TAKEN_OVER, _)), "it was dialled before the newer one");
    assert!(older.is_cut() && late.is_cut() && !newer.is_cut() && bystanders.iter().all(|other| !other.is_cut()));
    router.detach(&older, "taken over", 0);
    assert!(router.is_registered(&newer) && !router.is_registered(&older));
}
