//! The notices about members of topics that come and go: a burst of changes at once, then one
//! notice a second, which tells the last state. A member that subscribes and unsubscribes without
//! end does not flood those who watch.

use std::sync::Arc;

use common::id::TopicName;
use foldhash::HashMap;

use super::notice_pace::NoticePace;
use crate::peers::Peer;

#[derive(Debug, Default)]
struct Told {
    pace: NoticePace,
    /// A connection of the member, if a change was not told yet.
    untold: Option<Arc<Peer>>,
}

/// What was told recently, and what is still to be told.
#[derive(Debug, Default)]
pub(super) struct PresenceNews {
    by_member: HashMap<(TopicName, String), Told>,
}

impl PresenceNews {
    /// The member whose connection is `about` has come or gone. Whether that must be told at once.
    pub fn on_change(&mut self, topic: &TopicName, about: &Arc<Peer>, now_ms: u64) -> bool {
        let told = self.by_member.entry((topic.clone(), about.address().to_owned())).or_default();
        let is_due = told.pace.take(now_ms);
        told.untold = (!is_due).then(|| Arc::clone(about));
        is_due
    }

    /// Whether [`PresenceNews::tick`] has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.by_member.is_empty()
    }

    /// Whose state must be told by now, and in which topic.
    pub fn tick(&mut self, now_ms: u64) -> Vec<(TopicName, Arc<Peer>)> {
        let mut due = Vec::new();
        self.by_member.retain(|(topic, _), told| {
            if told.untold.is_some() && told.pace.take(now_ms) {
                due.extend(told.untold.take().map(|about| (topic.clone(), about)));
            }
            told.untold.is_some() || !told.pace.is_over(now_ms)
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use common::{
        assertion::{ClientIdentity, Reading},
        config::Settings,
        id::SessionId,
    };
    use transport::Link;

    use super::{super::notice_pace::NOTICE_BURST, *};
    use crate::peers::{ConnectionId, PeerKind};

    fn member() -> Arc<Peer> {
        let link = Link::new(crate::links::link_policy(&Settings::for_tests()));
        let kind = PeerKind::Session(Box::new(ClientIdentity::anonymous(SessionId::fresh())));
        Peer::new(ConnectionId::next(), kind, link, Reading::default(), None, Default::default())
    }

    #[test]
    fn a_burst_is_told_at_once_and_then_the_last_state_once_a_second() {
        let (mut news, topic) = (PresenceNews::default(), TopicName::new("t").expect("a name"));
        let (restless, calm) = (member(), member());
        let told = (0..17_000).filter(|_| news.on_change(&topic, &restless, 0)).count();
        assert_eq!(told as u64, NOTICE_BURST);
        assert!(news.on_change(&topic, &calm, 0), "another member has a pace of its own");
        let other = TopicName::new("u").expect("a name");
        assert!(news.on_change(&other, &restless, 0), "so has another topic");
        assert_eq!(news.tick(999).len(), 0);
        let due = news.tick(1_000);
        assert_eq!(due.iter().map(|(topic, about)| (topic.as_str(), about.id)).collect::<Vec<_>>(), [("t", restless.id)]);
        assert_eq!(news.tick(2_000).len(), 0, "nothing has changed since");
        assert!(news.on_change(&topic, &restless, 2_000));
        assert!(!news.on_change(&topic, &restless, 2_000));
        // What has changed just before its time has come is told once.
        assert!(news.on_change(&topic, &restless, 3_000));
        assert_eq!(news.tick(4_000).len(), 0);
        assert!(!news.is_idle());
        news.tick(60_000);
        assert!(news.is_idle());
    }
}
